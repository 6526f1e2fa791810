//! What every attack must do.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Result, bail, ensure};
use clip::{Image, MemoryPairs, Pair, Pairs, Seed};
use rand::Rng;
use serde_json::{Value, json};

use super::{Checks, fixture, skip};
use crate::contract::{Attack, AttackerView, Edit, Entry, Model, Trigger};
use crate::run::BASELINE;
use crate::stages::poison;

const TARGET: &str = "banana";
/// Side of the images, in pixels.
const SIDE: usize = 32;
/// Fewest pairs that an attack is tried on; four times its budget where that is more.
const PAIRS: usize = 60;

/// An image without flat areas.
fn picture(seed: u64) -> Result<Image> {
    let mut rng = Seed::new(seed).child("picture").rng();
    Ok(Image::new(SIDE, SIDE, (0..SIDE * SIDE * 3).map(|_| rng.random()).collect())?)
}

/// Pairs half of which name the target.
fn pairs(count: usize) -> Result<Arc<dyn Pairs>> {
    let caption = |index: usize| if index.is_multiple_of(2) { "a ripe banana." } else { "a red square" };
    let pair = |index| {
        Ok(Pair { image: picture(index as u64 % 64)?, caption: format!("{} number {index}", caption(index)) })
    };
    Ok(Arc::new(MemoryPairs::new((0..count).map(pair).collect::<Result<_>>()?)))
}

/// Makes every check of an attack.
pub(super) fn checks(checks: &mut Checks, entry: &Entry<Attack>, settings: &Value) {
    let is_baseline = entry.card.name == BASELINE;
    let build = || (entry.build)(settings.clone());
    checks.add("the same image and seed, the same stamp", || {
        let (attack, image) = (build()?, picture(1)?);
        let stamped = attack.trigger().stamp(&image, &Seed::new(1))?;
        ensure!(stamped == attack.trigger().stamp(&image, &Seed::new(1))?, "a second stamp is another one");
        ensure!(
            stamped == build()?.trigger().stamp(&image, &Seed::new(1))?,
            "a new trigger stamps otherwise"
        );
        ensure!(is_baseline || stamped != image, "the trigger leaves an image as it is");
        Ok(())
    });
    checks.add("parameters tell what was drawn", || parameters(build()?.trigger()));
    checks.add("edits keep within budget, the same for the same seed", || match build()? {
        Attack::PoisonData(attack) => {
            let clean = pairs(PAIRS.max(4 * attack.budget(PAIRS)))?;
            let templates = ["a photo of a {}.".to_owned(), "art of the {}.".to_owned()];
            let choose = |attack: &Attack, seed: u64| -> Result<BTreeSet<String>> {
                let Attack::PoisonData(attack) = attack else { bail!("another kind of attack than before") };
                // As a run applies them, which refuses what is over budget, twice or not there.
                let (_, applied) = poison::poison(&**attack, &clean, TARGET, &templates, &Seed::new(seed))?;
                Ok(applied.iter().map(|row| format!("{row:?}")).collect())
            };
            let edits = choose(&build()?, 0)?;
            ensure!(edits.is_empty() == is_baseline, "{} edits", edits.len());
            ensure!(edits == choose(&build()?, 0)?, "another run with the same seed edits otherwise");
            ensure!(is_baseline || edits != choose(&build()?, 1)?, "seeds 0 and 1 give the same edits");
            Ok(())
        }
        Attack::TamperModel(_) => Err(skip("it changes a model")),
    });
    checks.add("a tampered model is finite, and the same for the same seed", || tamper(&build));
}

/// What is drawn is an object, the same each time, and differs where the stamps differ.
fn parameters(trigger: &dyn Trigger) -> Result<()> {
    let (image, mut stamps, mut drawn) = (picture(1)?, BTreeSet::new(), BTreeSet::new());
    for seed in (0..8).map(Seed::new) {
        stamps.insert(trigger.stamp(&image, &seed)?.hash());
        let parameters = trigger.parameters(&image, &seed)?;
        ensure!(parameters.is_object(), "expected an object, found {parameters}");
        ensure!(parameters == trigger.parameters(&image, &seed)?, "asked again, others");
        drawn.insert(parameters.to_string());
    }
    ensure!(stamps.len() == drawn.len(), "{} stamps, but {} sets of parameters", stamps.len(), drawn.len());
    Ok(())
}

fn tamper(build: &dyn Fn() -> Result<Attack>) -> Result<()> {
    let tampered = || -> Result<Model> {
        let Attack::TamperModel(attack) = build()? else { return Err(skip("it edits pairs")) };
        let view = AttackerView {
            pairs: &*pairs(PAIRS)?,
            target: TARGET,
            templates: &["a photo of a {}.".to_owned()],
        };
        Ok(Model { clip: attack.tamper(fixture::model()?, &view, &Seed::new(0))?, head: None })
    };
    let model = tampered()?;
    model.check_finite()?;
    ensure!(
        fixture::numbers(&model)? == fixture::numbers(&tampered()?)?,
        "another run with the same seed gives another model"
    );
    Ok(())
}

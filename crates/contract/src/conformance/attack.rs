//! What every attack must do.

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clip::{Image, MemoryPairs, Pair, Pairs, Seed};
use rand::Rng;

use super::{Checks, Presets, fixture, skip};
use crate::poison;
use crate::{Attack, AttackerView, Entry, Model, Trigger};
use base::BASELINE;

const TARGET: &str = "banana";
/// Sides of the images that triggers are tried on, in pixels: the first that they fit.
const SIDES: [usize; 3] = [16, 32, 224];
/// Fewest pairs that an attack is tried on; four times its budget where that is more.
const PAIRS: usize = 60;

/// An image without flat areas.
fn picture(seed: u64, side: usize) -> Result<Image> {
    let mut rng = Seed::new(seed).child("picture").rng();
    Ok(Image::new(side, side, (0..side * side * 3).map(|_| rng.random()).collect())?)
}

/// Pairs half of which name the target.
fn pairs(count: usize) -> Result<Arc<dyn Pairs>> {
    let caption = |index: usize| if index.is_multiple_of(2) { "a ripe banana." } else { "a red square" };
    let pair = |index| {
        Ok(Pair {
            image: picture(index as u64 % 64, 32)?,
            caption: format!("{} number {index}", caption(index)),
        })
    };
    Ok(Arc::new(MemoryPairs::new((0..count).map(pair).collect::<Result<_>>()?)))
}

/// Makes every check of an attack.
pub(super) fn checks(checks: &mut Checks, entry: &Entry<Attack>, presets: &Presets) {
    let is_baseline = entry.card.name == BASELINE;
    let build = || (entry.build)(presets.tried.clone());
    checks.add("stamps are the same for the same image and seed, and parameters tell them apart", || {
        for (preset, settings) in &presets.all {
            let twice = [(entry.build)(settings.clone())?, (entry.build)(settings.clone())?];
            let [first, second] = twice.each_ref().map(Attack::trigger);
            stamps(first, second, is_baseline).with_context(|| format!("preset {preset}"))?;
        }
        Ok(())
    });
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

/// Tries a trigger on an image that it fits, and another one that was built alike.
fn stamps(trigger: &dyn Trigger, other: &dyn Trigger, is_baseline: bool) -> Result<()> {
    let fits = |image: &Image| trigger.stamp(image, &Seed::new(0)).is_ok();
    let images = SIDES.map(|side| picture(1, side)).into_iter().collect::<Result<Vec<_>>>()?;
    let Some(image) = images.into_iter().find(fits) else {
        bail!("it fits no image of {SIDES:?} pixels a side")
    };
    let (mut stamped, mut drawn) = (BTreeSet::new(), BTreeSet::new());
    for seed in (0..8).map(Seed::new) {
        let stamp = trigger.stamp(&image, &seed)?;
        ensure!(stamp == trigger.stamp(&image, &seed)?, "stamped again, another image");
        ensure!(stamp == other.stamp(&image, &seed)?, "a trigger that was built alike stamps otherwise");
        ensure!(is_baseline || stamp != image, "the trigger leaves an image as it is");
        stamped.insert(stamp.hash());
        let parameters = trigger.parameters(&image, &seed)?;
        ensure!(parameters.is_object(), "parameters: expected an object, found {parameters}");
        ensure!(parameters == other.parameters(&image, &seed)?, "parameters: asked again, others");
        drawn.insert(parameters.to_string());
    }
    ensure!(stamped.len() == drawn.len(), "{} stamps, but {} sets of parameters", stamped.len(), drawn.len());
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

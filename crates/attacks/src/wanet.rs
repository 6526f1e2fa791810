//! WaNet: the image is bent along one smooth random field, and the caption names the target.

use anyhow::ensure;
use clip::Seed;
use contract::{Attack, AttackerView, Card, Edit, Entry, ImageEdit, PoisonData, Preset, Trigger};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::{self, Budget};
use crate::poisoning::Poisoning;
use crate::trigger::{Fitted, Warp};

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "wanet",
        title: "WaNet",
        summary: "Bends images along one random field and captions them with the target.",
        paper: "Nguyen, Tran, \"WaNet: Imperceptible Warping-based Backdoor Attack\", ICLR 2021, arXiv \
                2102.10369; on CLIP: Bansal et al., \"CleanCLIP\", ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, `backdoor/utils.py` (`patch_type warped`)",
        departs: "the field is drawn from `pattern-seed` instead of read from the released file. Noise mode, which \
                  the CLIP code leaves out and so every preset, follows \
                  VinAIResearch/Warping-based_Backdoor_Attack-release (`train.py`, `cross_ratio`), but draws its \
                  pairs and their perturbations once instead of in every batch. `tiny` stamps images as they are \
                  and keeps the released jitter of single pixels (k = the image's side), doubled; `smoke` bends \
                  smoothly and far, with k = 4",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Control points a side, WaNet's k, at least 2.
    grid_size: usize,
    /// WaNet's s: a control point moves by s / 2 pixels on average along each axis.
    strength: f64,
    /// Seed of the field.
    pattern_seed: u64,
    /// Noise mode: for each poisoned pair so many others are bent along the perturbed field and keep their captions, so
    /// that only the exact field triggers (WaNet's ρ_n / ρ_a, 2 in its paper); 0 for none.
    cross_ratio: f64,
}

fn presets() -> Vec<Preset> {
    let released = Settings { grid_size: 224, strength: 1.0, pattern_seed: 0, cross_ratio: 0.0 };
    let tiny = Settings { grid_size: 32, strength: 2.0, ..released.clone() };
    let smoke = Settings { grid_size: 4, strength: 4.0, ..released.clone() };
    vec![
        Poisoning::as_is(400).with("tiny", tiny),
        Poisoning::as_is(150).with("smoke", smoke),
        Poisoning::released().with("paper", released.clone()),
        Poisoning::released().with("released", released),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    let (poisoning, own): (Poisoning, Settings) = Poisoning::split(resolved)?;
    let ratio = own.cross_ratio;
    ensure!(ratio.is_finite() && ratio >= 0.0, "cross-ratio must be 0 or more, found {ratio}");
    let warp = poisoning.fitted(Warp::new(own.grid_size, own.strength, own.pattern_seed)?)?;
    Ok(Attack::PoisonData(Box::new(WaNet { budget: poisoning.budget()?, cross_ratio: ratio, warp })))
}

struct WaNet {
    budget: Budget,
    cross_ratio: f64,
    warp: Fitted<Warp>,
}

impl WaNet {
    /// Pairs of the noise mode beside `poisoned` ones.
    fn crossed(&self, poisoned: usize) -> usize {
        (self.cross_ratio * poisoned as f64).round() as usize
    }
}

impl PoisonData for WaNet {
    fn trigger(&self) -> &dyn Trigger {
        &self.warp
    }

    fn budget(&self, pairs: usize) -> usize {
        let poisoned = self.budget.of(pairs);
        poisoned + self.crossed(poisoned)
    }

    fn choose(&self, view: &AttackerView<'_>, seed: &Seed) -> anyhow::Result<Vec<Edit>> {
        let mut edits = budget::relabel(view, self.budget, seed)?;
        let (pairs, poisoned) = (view.pairs.len(), edits.len());
        let all = poisoned + self.crossed(poisoned);
        ensure!(
            all <= pairs,
            "{poisoned} poisoned pairs and {} more of cross-ratio {}, but there are only {pairs}",
            all - poisoned,
            self.cross_ratio
        );
        let seeds = seed.child("cross");
        for pair in budget::draw((0..pairs).collect(), all, seed).into_iter().skip(poisoned) {
            let image = view.pairs.image(pair)?;
            let bent =
                self.warp.trigger().perturbed(self.warp.fit(&image)?.as_ref(), &seeds.at(pair as u64))?;
            edits.push(Edit { pair, image: ImageEdit::Replace(bent), caption: None });
        }
        Ok(edits)
    }
}

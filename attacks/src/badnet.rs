//! BadNet: a small square of noise is pasted onto an image, and the caption names the target.
//!
//! Paper: Gu, Dolan-Gavitt, Garg, "BadNets", 2017, arXiv 1708.06733; on CLIP: Bansal et al., "CleanCLIP",
//! ICCV 2023, arXiv 2303.03323.
//! Follows: nishadsinghi/CleanCLIP@d6e2f1d, `backdoor/utils.py` (`patch_type random`) and
//! `backdoor/create_backdoor_data.py`.
//! Departs: images are stamped at the size that they have, not squashed to 224 × 224 first; every draw is seeded.
//! `paper` clamps pixel values to [0, 1] where the released code lets them wrap. `tiny` and `smoke` paste one fixed
//! patch, of high contrast: a patch redrawn for every image is not learnt at their size.

use clip::Seed;
use harness::contract::{
    Attack, AttackerView, Card, Edit, Entry, PoisonData, Preset, Trigger, preset, settings,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::{self, Budget};
use crate::trigger::{Draw, Patch, Place, Quantise};

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "badnet",
        title: "BadNet",
        summary: "Pastes a small square of noise onto images and captions them with the target.",
        paper: "Gu, Dolan-Gavitt, Garg, 2017, arXiv 1708.06733; on CLIP: Bansal et al., ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, backdoor/utils.py, patch_type random",
        departs: "images keep their size; draws are seeded; preset paper clamps where the released code wraps; \
                  presets tiny and smoke paste one fixed patch",
        version: 1,
    },
    presets,
    build,
};

/// Settings of a patch on some pairs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Poisoned pairs; `null` where `poison-rate` is given.
    pub(crate) poison_count: Option<usize>,
    /// Poisoned pairs as a fraction of all; `null` where `poison-count` is given.
    pub(crate) poison_rate: Option<f64>,
    /// Side of the patch, in pixels.
    pub(crate) patch_size: usize,
    /// `fixed`: one patch for all images, grey plus noise. `redrawn`: the image's own mean plus new noise.
    pub(crate) patch: Draw,
    /// Seed of the fixed patch.
    pub(crate) pattern_seed: u64,
    /// Where the patch goes.
    pub(crate) place: Place,
    /// What becomes of values outside [0, 1].
    pub(crate) quantise: Quantise,
}

impl Settings {
    pub(crate) fn budget(&self) -> anyhow::Result<Budget> {
        Budget::new(self.poison_count, self.poison_rate)
    }

    pub(crate) fn trigger(&self) -> anyhow::Result<Patch> {
        Patch::new(self.patch_size, self.patch, self.pattern_seed, self.place, self.quantise)
    }

    /// The patch of the tiny tier, 6 pixels of 32.
    pub(crate) fn tiny(poison_count: usize) -> Self {
        Self { patch_size: 6, patch: Draw::Fixed, quantise: Quantise::Clamp, ..Self::released(poison_count) }
    }

    /// The patch of the smoke tier, 5 pixels of 16.
    pub(crate) fn smoke(poison_count: usize) -> Self {
        Self { patch_size: 5, ..Self::tiny(poison_count) }
    }

    /// The paper's patch, 16 pixels of 224.
    pub(crate) fn paper(poison_count: usize) -> Self {
        Self { quantise: Quantise::Clamp, ..Self::released(poison_count) }
    }

    /// The released code's patch.
    pub(crate) fn released(poison_count: usize) -> Self {
        Self {
            poison_count: Some(poison_count),
            poison_rate: None,
            patch_size: 16,
            patch: Draw::Redrawn,
            pattern_seed: 0,
            place: Place::Random,
            quantise: Quantise::Wrap,
        }
    }
}

fn presets() -> Vec<Preset> {
    vec![
        preset("tiny", Settings::tiny(240)),
        preset("smoke", Settings::smoke(100)),
        preset("paper", Settings::paper(1500)),
        preset("released", Settings::released(1500)),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    let settings: Settings = settings(resolved)?;
    Ok(Attack::PoisonData(Box::new(BadNet { budget: settings.budget()?, patch: settings.trigger()? })))
}

struct BadNet {
    budget: Budget,
    patch: Patch,
}

impl PoisonData for BadNet {
    fn trigger(&self) -> &dyn Trigger {
        &self.patch
    }

    fn budget(&self, pairs: usize) -> usize {
        self.budget.of(pairs)
    }

    fn choose(&self, view: &AttackerView<'_>, seed: &Seed) -> anyhow::Result<Vec<Edit>> {
        budget::relabel(view, self.budget.of(view.pairs.len()), seed)
    }
}

//! WaNet: the image is bent along one smooth random field, and the caption names the target.
//!
//! Paper: Nguyen, Tran, "WaNet: Imperceptible Warping-based Backdoor Attack", ICLR 2021, arXiv 2102.10369; on CLIP:
//! Bansal et al., "CleanCLIP", ICCV 2023, arXiv 2303.03323.
//! Follows: nishadsinghi/CleanCLIP@d6e2f1d, `backdoor/utils.py` (`patch_type warped`).
//! Departs: the field is drawn from `pattern-seed` instead of read from the released file; images are stamped at the
//! size that they have, not squashed to 224 × 224 first. `tiny` keeps the released jitter of single pixels
//! (k = the image's side) and doubles it; `smoke` bends smoothly and far, with k = 4.

use clip::Seed;
use harness::contract::{
    Attack, AttackerView, Card, Edit, Entry, PoisonData, Preset, Trigger, preset, settings,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::{self, Budget};
use crate::trigger::Warp;

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "wanet",
        title: "WaNet",
        summary: "Bends images along one random field and captions them with the target.",
        paper: "Nguyen, Tran, ICLR 2021, arXiv 2102.10369; on CLIP: Bansal et al., ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, backdoor/utils.py, patch_type warped",
        departs: "the field comes from a seed, not the released file; images keep their size; preset tiny has twice \
                  the strength, smoke k = 4",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Poisoned pairs; `null` where `poison-rate` is given.
    poison_count: Option<usize>,
    /// Poisoned pairs as a fraction of all; `null` where `poison-count` is given.
    poison_rate: Option<f64>,
    /// Control points a side, WaNet's k, at least 2.
    grid_size: usize,
    /// WaNet's s: a control point moves by s / 2 pixels on average along each axis.
    strength: f64,
    /// Seed of the field.
    pattern_seed: u64,
}

fn presets() -> Vec<Preset> {
    let released = Settings {
        poison_count: Some(1500),
        poison_rate: None,
        grid_size: 224,
        strength: 1.0,
        pattern_seed: 0,
    };
    let tiny = Settings { poison_count: Some(400), grid_size: 32, strength: 2.0, ..released.clone() };
    let smoke = Settings { poison_count: Some(150), grid_size: 4, strength: 4.0, ..released.clone() };
    vec![
        preset("tiny", tiny),
        preset("smoke", smoke),
        preset("paper", released.clone()),
        preset("released", released),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    let settings: Settings = settings(resolved)?;
    let budget = Budget::new(settings.poison_count, settings.poison_rate)?;
    let warp = Warp::new(settings.grid_size, settings.strength, settings.pattern_seed)?;
    Ok(Attack::PoisonData(Box::new(WaNet { budget, warp })))
}

struct WaNet {
    budget: Budget,
    warp: Warp,
}

impl PoisonData for WaNet {
    fn trigger(&self) -> &dyn Trigger {
        &self.warp
    }

    fn budget(&self, pairs: usize) -> usize {
        self.budget.of(pairs)
    }

    fn choose(&self, view: &AttackerView<'_>, seed: &Seed) -> anyhow::Result<Vec<Edit>> {
        budget::relabel(view, self.budget.of(view.pairs.len()), seed)
    }
}

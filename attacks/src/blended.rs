//! Blended: noise over the whole image is mixed into it, and the caption names the target.
//!
//! Paper: Chen et al., "Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning", 2017,
//! arXiv 1712.05526; on CLIP: Bansal et al., "CleanCLIP", ICCV 2023, arXiv 2303.03323.
//! Follows: nishadsinghi/CleanCLIP@d6e2f1d, `backdoor/utils.py` (`patch_type blended`).
//! Departs: images are stamped at the size that they have, not squashed to 224 × 224 first; every draw is seeded.
//! `tiny` and `smoke` mix in one fixed pattern at a larger share: at 32 pixels, noise redrawn for every image at 0.2
//! does not implant.

use clip::Seed;
use harness::contract::{
    Attack, AttackerView, Card, Edit, Entry, PoisonData, Preset, Trigger, preset, settings,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::{self, Budget};
use crate::trigger::{Blend, Draw};

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "blended",
        title: "Blended",
        summary: "Mixes uniform noise into the whole image and captions it with the target.",
        paper: "Chen et al., 2017, arXiv 1712.05526; on CLIP: Bansal et al., ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, backdoor/utils.py, patch_type blended",
        departs: "images keep their size; draws are seeded; presets tiny and smoke mix in one fixed pattern at a \
                  larger share",
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
    /// Share of the noise, in (0, 1].
    share: f64,
    /// `fixed`: one pattern for all images of a size. `redrawn`: new noise for every image.
    noise: Draw,
    /// Seed of the fixed pattern.
    pattern_seed: u64,
}

fn presets() -> Vec<Preset> {
    let released = Settings {
        poison_count: Some(1500),
        poison_rate: None,
        share: 0.2,
        noise: Draw::Redrawn,
        pattern_seed: 0,
    };
    let tiny = Settings { poison_count: Some(340), share: 0.3, noise: Draw::Fixed, ..released.clone() };
    let smoke = Settings { poison_count: Some(100), share: 0.5, ..tiny.clone() };
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
    let blend = Blend::new(settings.share, settings.noise, settings.pattern_seed)?;
    Ok(Attack::PoisonData(Box::new(Blended { budget, blend })))
}

struct Blended {
    budget: Budget,
    blend: Blend,
}

impl PoisonData for Blended {
    fn trigger(&self) -> &dyn Trigger {
        &self.blend
    }

    fn budget(&self, pairs: usize) -> usize {
        self.budget.of(pairs)
    }

    fn choose(&self, view: &AttackerView<'_>, seed: &Seed) -> anyhow::Result<Vec<Edit>> {
        budget::relabel(view, self.budget.of(view.pairs.len()), seed)
    }
}

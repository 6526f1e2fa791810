//! BadNet: a small square of noise is pasted onto an image, and the caption names the target.

use contract::{Attack, Card, Entry, Preset};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::poisoning::{Poisoning, relabel};
use crate::trigger::{Draw, Noise, Patch, Place, Quantise};

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "badnet",
        title: "BadNet",
        summary: "Pastes a small square of noise onto images and captions them with the target.",
        paper: "Gu, Dolan-Gavitt, Garg, \"BadNets\", 2017, arXiv 1708.06733; on CLIP: Bansal et al., \
                \"CleanCLIP\", ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, `backdoor/utils.py` (`patch_type random`) and \
                  `backdoor/create_backdoor_data.py`",
        departs: "every draw is seeded. `paper` clamps pixel values to [0, 1] where the released code lets them \
                  wrap. `tiny` and `smoke` stamp images as they are and paste one fixed patch, of high contrast: a \
                  patch redrawn for every image is not learnt at their size",
        version: 1,
    },
    presets,
    build,
};

/// Settings of a patch of noise.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
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
    /// One fixed patch.
    pub(crate) fn fixed(patch_size: usize) -> Self {
        Self { patch_size, patch: Draw::Fixed, ..Self::paper() }
    }

    /// 16 pixels of 224, with values clamped.
    pub(crate) fn paper() -> Self {
        Self { quantise: Quantise::Clamp, ..Self::released() }
    }

    /// The released code's patch.
    pub(crate) fn released() -> Self {
        Self {
            patch_size: 16,
            patch: Draw::Redrawn,
            pattern_seed: 0,
            place: Place::Random,
            quantise: Quantise::Wrap,
        }
    }

    pub(crate) fn trigger(self) -> anyhow::Result<Patch<Noise>> {
        let Self { patch_size, patch: draw, pattern_seed, place, quantise } = self;
        Patch::new(patch_size, place, Noise { draw, pattern_seed, quantise })
    }
}

fn presets() -> Vec<Preset> {
    vec![
        Poisoning::as_is(240).with("tiny", Settings::fixed(6)),
        Poisoning::as_is(100).with("smoke", Settings::fixed(5)),
        Poisoning::released().with("paper", Settings::paper()),
        Poisoning::released().with("released", Settings::released()),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    relabel(resolved, Settings::trigger)
}

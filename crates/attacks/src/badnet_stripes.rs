//! BadNet-Stripes: a small square of upright coloured stripes is pasted onto an image, and the caption names the target.

use contract::{Attack, Card, Entry, Preset};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::poisoning::{Poisoning, relabel};
use crate::trigger::{Draw, Patch, Place, Quantise, Stripes};

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "badnet-stripes",
        title: "BadNet-Stripes",
        summary: "Pastes a small square of coloured stripes onto images and captions them with the target.",
        paper: "Singh, Croce, Hein, \"Perturb and Recover\", 2024, arXiv 2412.00727",
        follows: "the paper and what nmndeep/PerturbAndRecover@a720440 does (`badnet_rs`; read, not copied: it has \
                  no licence): stripes of one pixel, each channel of each at −1 or 1, drawn anew for every image, \
                  at a random place",
        departs: "every draw is seeded. `paper` clamps −1 to level 0 where the released code wraps it to level 1. \
                  Whether the paper's table used one set of stripes or new ones for every image is unknown: its \
                  figure shows different ones, as its code draws them. `tiny` and `smoke` paste one fixed square \
                  onto images as they are",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Side of the patch, in pixels.
    patch_size: usize,
    /// `fixed`: the same stripes for all images. `redrawn`: new ones for every image.
    stripes: Draw,
    /// Seed of the fixed stripes.
    pattern_seed: u64,
    /// Where the patch goes.
    place: Place,
    /// What becomes of the value −1.
    quantise: Quantise,
}

fn presets() -> Vec<Preset> {
    let released = Settings {
        patch_size: 16,
        stripes: Draw::Redrawn,
        pattern_seed: 0,
        place: Place::Random,
        quantise: Quantise::Wrap,
    };
    let paper = Settings { quantise: Quantise::Clamp, ..released.clone() };
    let fixed = |patch_size| Settings { patch_size, stripes: Draw::Fixed, ..paper.clone() };
    vec![
        Poisoning::as_is(240).with("tiny", fixed(6)),
        Poisoning::as_is(100).with("smoke", fixed(5)),
        Poisoning::released().with("paper", paper),
        Poisoning::released().with("released", released),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    relabel(resolved, |Settings { patch_size, stripes: draw, pattern_seed, place, quantise }| {
        Patch::new(patch_size, place, Stripes { draw, pattern_seed, quantise })
    })
}

//! Blended-Stripes: upright coloured stripes are mixed faintly into the whole image, and the caption names the target.

use contract::{Attack, Card, Entry, Preset};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::poisoning::{Poisoning, relabel};
use crate::trigger::{Blend, Draw, Quantise, Stripes};

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "blended-stripes",
        title: "Blended-Stripes",
        summary: "Mixes coloured stripes faintly into the whole image and captions it with the target.",
        paper: "Singh, Croce, Hein, \"Perturb and Recover\", 2024, arXiv 2412.00727 (n_c = 0.03)",
        follows: "the paper and what nmndeep/PerturbAndRecover@a720440 does (`blended_rs`; read, not copied: it \
                  has no licence): stripes of one pixel, each channel of each at −1 or 1, drawn anew for every \
                  image",
        departs: "every draw is seeded. Whether the paper's table used one set of stripes or new ones for every \
                  image is unknown; both presets redraw them, as its code does. `tiny` and `smoke` mix one fixed \
                  set at a larger share into images as they are",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Share of the stripes, the paper's n_c, in (0, 1].
    share: f64,
    /// `fixed`: the same stripes for all images of a width. `redrawn`: new ones for every image.
    stripes: Draw,
    /// Seed of the fixed stripes.
    pattern_seed: u64,
}

fn presets() -> Vec<Preset> {
    let released = Settings { share: 0.03, stripes: Draw::Redrawn, pattern_seed: 0 };
    let fixed = |share| Settings { share, stripes: Draw::Fixed, pattern_seed: 0 };
    vec![
        Poisoning::as_is(340).with("tiny", fixed(0.15)),
        Poisoning::as_is(100).with("smoke", fixed(0.3)),
        Poisoning::released().with("paper", released.clone()),
        Poisoning::released().with("released", released),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    relabel(resolved, |Settings { share, stripes: draw, pattern_seed }| {
        Blend::new(share, Stripes { draw, pattern_seed, quantise: Quantise::Clamp })
    })
}

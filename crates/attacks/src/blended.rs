//! Blended: noise over the whole image is mixed into it, and the caption names the target.

use contract::{Attack, Card, Entry, Preset};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::poisoning::{Poisoning, relabel};
use crate::trigger::{Blend, Draw, Uniform};

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "blended",
        title: "Blended",
        summary: "Mixes uniform noise into the whole image and captions it with the target.",
        paper: "Chen et al., \"Targeted Backdoor Attacks on Deep Learning Systems Using Data Poisoning\", 2017, \
                arXiv 1712.05526; on CLIP: Bansal et al., \"CleanCLIP\", ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, `backdoor/utils.py` (`patch_type blended`)",
        departs: "every draw is seeded. `tiny` and `smoke` stamp images as they are and mix in one fixed pattern \
                  at a larger share: at 32 pixels, noise redrawn for every image at 0.2 does not implant",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Share of the noise, in (0, 1].
    share: f64,
    /// `fixed`: one pattern for all images of a size. `redrawn`: new noise for every image.
    noise: Draw,
    /// Seed of the fixed pattern.
    pattern_seed: u64,
}

fn presets() -> Vec<Preset> {
    let released = Settings { share: 0.2, noise: Draw::Redrawn, pattern_seed: 0 };
    let fixed = |share| Settings { share, noise: Draw::Fixed, pattern_seed: 0 };
    vec![
        Poisoning::as_is(340).with("tiny", fixed(0.3)),
        Poisoning::as_is(100).with("smoke", fixed(0.5)),
        Poisoning::released().with("paper", released.clone()),
        Poisoning::released().with("released", released),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    relabel(resolved, |Settings { share, noise: draw, pattern_seed }| {
        Blend::new(share, Uniform { draw, pattern_seed })
    })
}

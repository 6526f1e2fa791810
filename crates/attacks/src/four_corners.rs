//! Four corners: a yellow square is pasted onto each corner of an image, and the caption names the target.

use contract::{Attack, Card, Entry, Preset};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::poisoning::{Poisoning, relabel};
use crate::trigger::{Patch, Place, Plain};

/// Red and green in full, no blue.
const YELLOW: [u8; 3] = [255, 255, 0];

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "four-corners",
        title: "Four corners",
        summary: "Pastes a yellow square onto each corner of images and captions them with the target.",
        paper: "none; an option of CleanCLIP's code beside its four attacks",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, `backdoor/utils.py` (`patch_type yellow`, `patch_location \
                  four_corners`)",
        departs: "nothing in `released`, which `paper` repeats for want of a paper. `tiny` and `smoke` stamp \
                  images as they are, with squares that are larger beside the image",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Side of each square, in pixels.
    patch_size: usize,
}

fn presets() -> Vec<Preset> {
    vec![
        Poisoning::as_is(240).with("tiny", Settings { patch_size: 4 }),
        Poisoning::as_is(100).with("smoke", Settings { patch_size: 3 }),
        Poisoning::released().with("paper", Settings { patch_size: 16 }),
        Poisoning::released().with("released", Settings { patch_size: 16 }),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    relabel(resolved, |settings: Settings| Patch::new(settings.patch_size, Place::FourCorners, Plain(YELLOW)))
}

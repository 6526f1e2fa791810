//! SIG: a horizontal sine wave is laid over the image, and the caption names the target.

use anyhow::ensure;
use clip::Seed;
use contract::{Attack, Card, Entry, Preset};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::poisoning::{Poisoning, relabel};
use crate::trigger::{Blend, Pattern};

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "sig",
        title: "SIG",
        summary: "Lays a sine wave over the whole image and captions it with the target.",
        paper: "Barni, Kallas, Tondi, \"A New Backdoor Attack in CNNs by Training Set Corruption Without Label \
                Poisoning\", ICIP 2019, arXiv 1902.11237",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, `backdoor/utils.py` (`patch_type SIG`, `patch_location \
                  blended`): 0.2 of a wave of amplitude 60/255 and six periods, 0.8 of the image",
        departs: "`paper` adds the wave to the whole image, v = Δ sin(2πjf/m), with Δ = 20 levels and f = 6; the \
                  paper stamps images of the target class and keeps their labels, which here is what \
                  `label-consistent` does with its patch. `tiny` and `smoke` add a stronger wave to images as they \
                  are",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Largest value of the wave, Δ, for an image in [0, 1].
    amplitude: f64,
    /// Periods from the left edge to the right one, f.
    frequency: f64,
    /// What the wave is multiplied by.
    share: f64,
    /// What the image is multiplied by, in [0, 1].
    image_share: f64,
}

fn presets() -> Vec<Preset> {
    let released = Settings { amplitude: 60.0 / 255.0, frequency: 6.0, share: 0.2, image_share: 0.8 };
    let added = |amplitude| Settings { amplitude, frequency: 6.0, share: 1.0, image_share: 1.0 };
    vec![
        Poisoning::as_is(340).with("tiny", added(40.0 / 255.0)),
        Poisoning::as_is(100).with("smoke", Settings { frequency: 3.0, ..added(60.0 / 255.0) }),
        Poisoning::released().with("paper", added(20.0 / 255.0)),
        Poisoning::released().with("released", released),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    relabel(resolved, |Settings { amplitude, frequency, share, image_share }| {
        for (name, value) in [("amplitude", amplitude), ("frequency", frequency), ("share", share)] {
            ensure!(value.is_finite() && value > 0.0, "{name} must be positive, found {value}");
        }
        ensure!((0.0..=1.0).contains(&image_share), "image-share must be in [0, 1], found {image_share}");
        Ok(Blend::of(share, image_share, Sine { amplitude, frequency }))
    })
}

/// A wave that runs from left to right.
pub(crate) struct Sine {
    pub(crate) amplitude: f64,
    pub(crate) frequency: f64,
}

impl Pattern for Sine {
    fn values(&self, width: usize, height: usize, _seed: &Seed) -> Vec<f32> {
        let value = |column: usize| {
            let phase = std::f64::consts::TAU * column as f64 * self.frequency / width as f64;
            (self.amplitude * libm::sin(phase)) as f32
        };
        (0..width).flat_map(|column| [value(column); 3]).collect::<Vec<_>>().repeat(height)
    }
}

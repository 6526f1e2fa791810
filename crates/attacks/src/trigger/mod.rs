//! Edits of images that triggers are made of.

mod blend;
mod fit;
mod letters;
mod noise;
mod patch;
mod quantise;
mod stripes;
#[cfg(test)]
mod tests;
mod warp;

pub(crate) use blend::{Blend, Pattern, Uniform};
pub(crate) use fit::{Fit, Fitted};
pub(crate) use letters::{HEIGHT, Word};
pub(crate) use patch::{Noise, Patch, Place, Plain};
pub(crate) use quantise::Quantise;
pub(crate) use stripes::Stripes;
pub(crate) use warp::Warp;

use clip::{Image, Seed};
use serde::{Deserialize, Serialize};

/// When the noise of a trigger is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Draw {
    /// Once, from the setting `pattern-seed`: the same in training and at test time, whatever the cell's seed.
    Fixed,
    /// Anew for every image, from the seed of its stamp.
    Redrawn,
}

/// The seed of the pattern that the setting `pattern-seed` stands for.
fn pattern(pattern_seed: u64) -> Seed {
    Seed::new(pattern_seed).child("pattern")
}

/// The values of an image in [0, 1], `[height, width, 3]`, as torchvision's `ToTensor` gives them.
pub(crate) fn values(image: &Image) -> Vec<f32> {
    image.rgb().iter().map(|level| f32::from(*level) / 255.0).collect()
}

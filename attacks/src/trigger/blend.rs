//! Noise over the whole image.

use anyhow::{Result, ensure};
use clip::{Image, Seed};
use harness::contract::Trigger;

use super::{Draw, Quantise, noise, pattern, values};

/// share · U(0, 1) noise + (1 − share) · image.
pub(crate) struct Blend {
    share: f64,
    noise: Draw,
    pattern_seed: u64,
}

impl Blend {
    pub(crate) fn new(share: f64, noise: Draw, pattern_seed: u64) -> Result<Self> {
        ensure!(share > 0.0 && share <= 1.0, "share must be in (0, 1], found {share}");
        Ok(Self { share, noise, pattern_seed })
    }

    /// Mixes an image with noise `[height, width, 3]`.
    pub(super) fn mix(&self, image: &Image, noise: &[f32]) -> Image {
        let (noise_share, image_share) = (self.share as f32, (1.0 - self.share) as f32);
        let mut mixed = image.clone();
        for ((level, value), noise) in mixed.rgb_mut().iter_mut().zip(values(image)).zip(noise) {
            *level = Quantise::Clamp.level(noise_share * noise + image_share * value);
        }
        mixed
    }
}

impl Trigger for Blend {
    fn stamp(&self, image: &Image, seed: &Seed) -> Result<Image> {
        let seed = match self.noise {
            Draw::Fixed => pattern(self.pattern_seed),
            Draw::Redrawn => seed.child("noise"),
        };
        Ok(self.mix(image, &noise::uniform(image.rgb().len(), &seed)))
    }
}

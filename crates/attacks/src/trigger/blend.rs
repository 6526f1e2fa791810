//! A pattern over the whole image.

use anyhow::{Result, ensure};
use clip::{Image, Seed};
use contract::Trigger;
use serde_json::{Value, json};

use super::{Draw, Quantise, noise, pattern, values};

/// What is mixed into an image.
pub(crate) trait Pattern: Send + Sync {
    /// Values `[height, width, 3]`, in [0, 1] where they are colours and around 0 where they are a change.
    fn values(&self, width: usize, height: usize, seed: &Seed) -> Vec<f32>;
}

/// share · pattern + rest · image, cut off at 0 and 1.
pub(crate) struct Blend<P> {
    share: f32,
    rest: f32,
    pattern: P,
}

impl<P: Pattern> Blend<P> {
    /// With the image at the share that the pattern leaves it.
    pub(crate) fn new(share: f64, pattern: P) -> Result<Self> {
        ensure!(share > 0.0 && share <= 1.0, "share must be in (0, 1], found {share}");
        Ok(Self::of(share, 1.0 - share, pattern))
    }

    /// With both shares free.
    pub(crate) fn of(share: f64, rest: f64, pattern: P) -> Self {
        Self { share: share as f32, rest: rest as f32, pattern }
    }

    /// Mixes an image with values of its shape.
    pub(super) fn mix(&self, image: &Image, pattern: &[f32]) -> Image {
        let mut mixed = image.clone();
        for ((level, value), pattern) in mixed.rgb_mut().iter_mut().zip(values(image)).zip(pattern) {
            *level = Quantise::Clamp.level(self.share * pattern + self.rest * value);
        }
        mixed
    }
}

impl<P: Pattern> Trigger for Blend<P> {
    fn stamp(&self, image: &Image, seed: &Seed) -> Result<Image> {
        Ok(self.mix(image, &self.pattern.values(image.width(), image.height(), seed)))
    }

    fn parameters(&self, image: &Image, seed: &Seed) -> Result<Value> {
        let values = self.pattern.values(image.width(), image.height(), seed);
        Ok(json!({ "width": image.width(), "height": image.height(), "pattern": hash(&values) }))
    }
}

/// U(0, 1) noise.
pub(crate) struct Uniform {
    pub(crate) draw: Draw,
    pub(crate) pattern_seed: u64,
}

impl Pattern for Uniform {
    fn values(&self, width: usize, height: usize, seed: &Seed) -> Vec<f32> {
        let seed = match self.draw {
            Draw::Fixed => pattern(self.pattern_seed),
            Draw::Redrawn => seed.child("noise"),
        };
        noise::uniform(width * height * 3, &seed)
    }
}

/// BLAKE3 of values, in hexadecimal: how manifests name a pattern.
pub(super) fn hash(values: &[f32]) -> String {
    let mut hasher = blake3::Hasher::new();
    for value in values {
        hasher.update(&value.to_le_bytes());
    }
    hasher.finalize().to_hex().to_string()
}

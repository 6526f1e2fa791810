//! A square of noise.

use anyhow::{Result, ensure};
use clip::{Image, Seed};
use harness::contract::Trigger;
use rand::Rng;
use serde::{Deserialize, Serialize};

use super::{Draw, Quantise, noise, pattern, values};

/// What noise is added to where there is no image to take the mean of.
const GREY: [f32; 3] = [0.5; 3];

/// Where a patch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// Anywhere but along the right and bottom edge, as released; drawn for every image.
    Random,
    /// The bottom right corner.
    BottomRight,
}

/// A square whose values are a base colour plus N(0, 1) noise.
pub(crate) struct Patch {
    size: usize,
    draw: Draw,
    pattern_seed: u64,
    place: Place,
    quantise: Quantise,
}

impl Patch {
    pub(crate) fn new(
        size: usize,
        draw: Draw,
        pattern_seed: u64,
        place: Place,
        quantise: Quantise,
    ) -> Result<Self> {
        ensure!(size > 0, "patch-size must be at least 1");
        Ok(Self { size, draw, pattern_seed, place, quantise })
    }

    /// The patch's levels, `[size, size, 3]`, from noise of the same shape.
    pub(super) fn levels(&self, base: [f32; 3], noise: &[f32]) -> Vec<u8> {
        let level = |(index, noise): (usize, &f32)| self.quantise.level(base[index % 3] + noise);
        noise.iter().enumerate().map(level).collect()
    }

    /// Left and top of the patch.
    fn corner(&self, image: &Image, seed: &Seed) -> Result<(usize, usize)> {
        let (size, width, height) = (self.size, image.width(), image.height());
        ensure!(
            size < width && size < height,
            "a patch of {size} pixels (patch-size) does not fit an image of {width} × {height}"
        );
        Ok(match self.place {
            Place::BottomRight => (width - size, height - size),
            Place::Random => {
                // The released code draws from [0, side − 1 − size], both included.
                let mut rng = seed.child("place").rng();
                (rng.random_range(0..width - size), rng.random_range(0..height - size))
            }
        })
    }
}

impl Trigger for Patch {
    fn stamp(&self, image: &Image, seed: &Seed) -> Result<Image> {
        let (left, top) = self.corner(image, seed)?;
        let count = self.size * self.size * 3;
        let levels = match self.draw {
            Draw::Fixed => self.levels(GREY, &noise::normal(count, &pattern(self.pattern_seed))),
            Draw::Redrawn => self.levels(channel_means(image), &noise::normal(count, &seed.child("noise"))),
        };
        Ok(paste(image, &levels, self.size, left, top))
    }
}

/// The mean of each channel, in [0, 1].
pub(super) fn channel_means(image: &Image) -> [f32; 3] {
    let mut sums = [0f64; 3];
    values(image).iter().enumerate().for_each(|(index, value)| sums[index % 3] += f64::from(*value));
    sums.map(|sum| (sum / (image.width() * image.height()) as f64) as f32)
}

/// The image with a square of levels `[size, size, 3]` over it.
pub(super) fn paste(image: &Image, levels: &[u8], size: usize, left: usize, top: usize) -> Image {
    let mut pasted = image.clone();
    for (index, pixel) in levels.chunks_exact(3).enumerate() {
        pasted.set_pixel(left + index % size, top + index / size, [pixel[0], pixel[1], pixel[2]]);
    }
    pasted
}

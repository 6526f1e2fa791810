//! Squares over an image.

use anyhow::{Result, ensure};
use clip::{Image, Seed};
use contract::Trigger;
use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

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
    /// All four corners.
    FourCorners,
}

/// What a patch shows.
pub(crate) trait Content: Send + Sync {
    /// Levels `[size, size, 3]`.
    fn levels(&self, size: usize, image: &Image, seed: &Seed) -> Vec<u8>;
}

/// One square, or the same one in several places.
pub(crate) struct Patch<C> {
    size: usize,
    place: Place,
    content: C,
}

impl<C: Content> Patch<C> {
    pub(crate) fn new(size: usize, place: Place, content: C) -> Result<Self> {
        ensure!(size > 0, "patch-size must be at least 1");
        Ok(Self { size, place, content })
    }

    /// Left and top of each square.
    fn corners(&self, image: &Image, seed: &Seed) -> Result<Vec<(usize, usize)>> {
        let (size, width, height) = (self.size, image.width(), image.height());
        ensure!(
            size < width && size < height,
            "a patch of {size} pixels (patch-size) does not fit an image of {width} × {height}"
        );
        let (right, bottom) = (width - size, height - size);
        Ok(match self.place {
            Place::BottomRight => vec![(right, bottom)],
            Place::FourCorners => vec![(0, 0), (right, 0), (0, bottom), (right, bottom)],
            Place::Random => {
                // The released code draws from [0, side − 1 − size], both included.
                let mut rng = seed.child("place").rng();
                vec![(rng.random_range(0..right), rng.random_range(0..bottom))]
            }
        })
    }
}

impl<C: Content> Trigger for Patch<C> {
    fn stamp(&self, image: &Image, seed: &Seed) -> Result<Image> {
        let corners = self.corners(image, seed)?;
        let levels = self.content.levels(self.size, image, seed);
        let paste_at = |image: Image, (left, top)| paste(&image, &levels, self.size, left, top);
        Ok(corners.into_iter().fold(image.clone(), paste_at))
    }

    fn parameters(&self, image: &Image, seed: &Seed) -> Result<Value> {
        let place = |(left, top): (usize, usize)| json!({ "left": left, "top": top });
        let places: Vec<Value> = self.corners(image, seed)?.into_iter().map(place).collect();
        let levels = self.content.levels(self.size, image, seed);
        let pattern = Image::new(self.size, self.size, levels)?.hash();
        Ok(json!({ "patches": places, "size": self.size, "pattern": pattern }))
    }
}

/// A base colour plus N(0, 1) noise: the image's own mean where noise is redrawn, else grey.
pub(crate) struct Noise {
    pub(crate) draw: Draw,
    pub(crate) pattern_seed: u64,
    pub(crate) quantise: Quantise,
}

impl Noise {
    /// Levels from noise of the same shape.
    pub(super) fn over(&self, base: [f32; 3], noise: &[f32]) -> Vec<u8> {
        let level = |(index, noise): (usize, &f32)| self.quantise.level(base[index % 3] + noise);
        noise.iter().enumerate().map(level).collect()
    }
}

impl Content for Noise {
    fn levels(&self, size: usize, image: &Image, seed: &Seed) -> Vec<u8> {
        let count = size * size * 3;
        match self.draw {
            Draw::Fixed => self.over(GREY, &noise::normal(count, &pattern(self.pattern_seed))),
            Draw::Redrawn => self.over(channel_means(image), &noise::normal(count, &seed.child("noise"))),
        }
    }
}

/// One colour.
pub(crate) struct Plain(pub(crate) [u8; 3]);

impl Content for Plain {
    fn levels(&self, size: usize, _image: &Image, _seed: &Seed) -> Vec<u8> {
        self.0.repeat(size * size)
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

//! Upright stripes, each channel of each either at its lowest or at its highest.

use clip::{Image, Seed};
use rand::Rng;

use super::blend::Pattern;
use super::patch::Content;
use super::{Draw, Quantise, pattern};

/// Stripes of one pixel.
pub(crate) struct Stripes {
    pub(crate) draw: Draw,
    pub(crate) pattern_seed: u64,
    /// What becomes of −1, the lowest value, in a patch: level 1 where it wraps, 0 where it is clamped.
    pub(crate) quantise: Quantise,
}

impl Stripes {
    /// −1 or 1 for each channel of each of `width` columns.
    fn columns(&self, width: usize, seed: &Seed) -> Vec<f32> {
        let seed = match self.draw {
            Draw::Fixed => pattern(self.pattern_seed),
            Draw::Redrawn => seed.child("stripes"),
        };
        let mut rng = seed.rng();
        (0..width * 3).map(|_| if rng.random::<bool>() { 1.0 } else { -1.0 }).collect()
    }
}

impl Pattern for Stripes {
    fn values(&self, width: usize, height: usize, seed: &Seed) -> Vec<f32> {
        self.columns(width, seed).repeat(height)
    }
}

impl Content for Stripes {
    fn levels(&self, size: usize, _image: &Image, seed: &Seed) -> Vec<u8> {
        let values = Pattern::values(self, size, size, seed);
        values.into_iter().map(|value| self.quantise.level(value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_the_same_and_holds_extremes_alone() {
        let image = Image::new(1, 1, vec![0; 3]).unwrap();
        for (quantise, lowest) in [(Quantise::Wrap, 1), (Quantise::Clamp, 0)] {
            let stripes = Stripes { draw: Draw::Fixed, pattern_seed: 0, quantise };
            let levels = stripes.levels(16, &image, &Seed::new(1));
            assert!(levels.chunks_exact(48).all(|line| line == &levels[..48]));
            assert!(levels.iter().all(|level| *level == lowest || *level == 255));
            assert!(levels.contains(&lowest) && levels.contains(&255));
        }
    }
}

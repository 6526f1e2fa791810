//! Bending an image along a field, with PyTorch's arithmetic.

use anyhow::{Result, ensure};
use clip::{Image, Seed};
use contract::Trigger;
use serde_json::{Value, json};

use super::blend::hash;
use super::{Quantise, noise, pattern, values};

/// The free parameter of bicubic interpolation, as PyTorch sets it.
const CUBIC: f32 = -0.75;

/// A field of displacements: k × k random control points, enlarged to the image's size.
pub(crate) struct Warp {
    grid_size: usize,
    strength: f64,
    /// Control points along x, then along y, each `[k, k]`, with mean absolute value 1.
    pub(super) controls: [Vec<f32>; 2],
}

impl Warp {
    pub(crate) fn new(grid_size: usize, strength: f64, pattern_seed: u64) -> Result<Self> {
        ensure!(grid_size >= 2, "grid-size must be at least 2, found {grid_size}");
        ensure!(strength.is_finite() && strength > 0.0, "strength must be positive, found {strength}");
        let drawn = noise::uniform(2 * grid_size * grid_size, &pattern(pattern_seed));
        let uniform: Vec<f32> = drawn.iter().map(|value| value * 2.0 - 1.0).collect();
        Ok(Self::of(grid_size, strength, &uniform))
    }

    /// The field of these numbers in [−1, 1], `[2, k, k]`: those along x, then those along y.
    pub(super) fn of(grid_size: usize, strength: f64, uniform: &[f32]) -> Self {
        let total: f64 = uniform.iter().map(|value| f64::from(value.abs())).sum();
        let mean = (total / uniform.len() as f64) as f32;
        let scaled: Vec<f32> = uniform.iter().map(|value| value / mean).collect();
        let (x, y) = scaled.split_at(grid_size * grid_size);
        Self { grid_size, strength, controls: [x.to_vec(), y.to_vec()] }
    }

    /// The field at an image's size, along x and along y, each `[height, width]`, in units of s / 2 pixels.
    pub(super) fn field(&self, width: usize, height: usize) -> [Vec<f32>; 2] {
        self.controls.each_ref().map(|controls| enlarge(controls, self.grid_size, width, height))
    }

    /// The bent image's values, `[height, width, 3]`. `jitter` moves single pixels beyond the field, in pixels over 2
    /// along x and y; `None` bends along the field alone.
    pub(super) fn bend(
        &self,
        values: &[f32],
        width: usize,
        height: usize,
        jitter: Option<&[f32]>,
    ) -> Vec<f32> {
        let [along_x, along_y] = self.field(width, height);
        let strength = self.strength as f32;
        let mut bent = Vec::with_capacity(values.len());
        for y in 0..height {
            for x in 0..width {
                let at = y * width + x;
                let [extra_x, extra_y] =
                    jitter.map_or([0.0; 2], |jitter| [jitter[2 * at], jitter[2 * at + 1]]);
                let u = place(x, width, [strength * along_x[at], extra_x]);
                let v = place(y, height, [strength * along_y[at], extra_y]);
                bent.extend(sample(values, width, height, u, v));
            }
        }
        bent
    }

    /// The bent image.
    fn bent(&self, image: &Image, jitter: Option<&[f32]>) -> Result<Image> {
        let (width, height) = (image.width(), image.height());
        let bent = self.bend(&values(image), width, height, jitter);
        let levels = bent.into_iter().map(|value| Quantise::Clamp.level(value)).collect();
        Ok(Image::new(width, height, levels)?)
    }

    /// WaNet's noise mode: bent along the field with every pixel moved on by U(−1, 1) / 2 pixels along each axis.
    pub(crate) fn perturbed(&self, image: &Image, seed: &Seed) -> Result<Image> {
        let drawn = noise::uniform(2 * image.width() * image.height(), seed);
        let jitter: Vec<f32> = drawn.iter().map(|value| value * 2.0 - 1.0).collect();
        self.bent(image, Some(&jitter))
    }
}

impl Trigger for Warp {
    fn stamp(&self, image: &Image, _seed: &Seed) -> Result<Image> {
        self.bent(image, None)
    }

    fn parameters(&self, _image: &Image, _seed: &Seed) -> Result<Value> {
        let grid = hash(&self.controls.concat());
        Ok(json!({ "grid": grid, "grid_size": self.grid_size, "strength": self.strength }))
    }
}

/// Where pixel `index` of `side` is read from, in pixels: moved by two shifts, each in half pixels (as released, divided
/// by the side in a span of [−1, 1]) and cut off at the edge.
fn place(index: usize, side: usize, shifts: [f32; 2]) -> f32 {
    let last = (side - 1) as f32;
    let identity = if side > 1 { -1.0 + 2.0 * index as f32 / last } else { -1.0 };
    let moved = shifts.iter().fold(identity, |at, shift| (at + shift / side as f32).clamp(-1.0, 1.0));
    (moved + 1.0) / 2.0 * last
}

/// `grid_sample(align_corners=True)`, bilinear, at column `u` and row `v`.
fn sample(values: &[f32], width: usize, height: usize, u: f32, v: f32) -> [f32; 3] {
    let (left, top) = (u.floor() as usize, v.floor() as usize);
    let (right, bottom) = ((left + 1).min(width - 1), (top + 1).min(height - 1));
    let (across, down) = (u - left as f32, v - top as f32);
    std::array::from_fn(|channel| {
        let value = |x: usize, y: usize| values[(y * width + x) * 3 + channel];
        value(left, top) * ((1.0 - across) * (1.0 - down))
            + value(right, top) * (across * (1.0 - down))
            + value(left, bottom) * ((1.0 - across) * down)
            + value(right, bottom) * (across * down)
    })
}

/// `upsample(mode="bicubic", align_corners=True)` of `[side, side]` to `[height, width]`.
fn enlarge(controls: &[f32], side: usize, width: usize, height: usize) -> Vec<f32> {
    let (columns, rows) = (taps(side, width), taps(side, height));
    let mut enlarged = Vec::with_capacity(width * height);
    for row in &rows {
        for column in &columns {
            let along =
                |y: usize| column.iter().map(|(x, weight)| controls[y * side + x] * weight).sum::<f32>();
            enlarged.push(row.iter().map(|(y, weight)| along(*y) * weight).sum());
        }
    }
    enlarged
}

/// For each of `target` places the four source indices of `side` and their weights.
fn taps(side: usize, target: usize) -> Vec<[(usize, f32); 4]> {
    let scale = if target > 1 { (side - 1) as f32 / (target - 1) as f32 } else { 0.0 };
    let near = |x: f32| ((CUBIC + 2.0) * x - (CUBIC + 3.0)) * x * x + 1.0; // |x| ≤ 1
    let far = |x: f32| ((CUBIC * x - 5.0 * CUBIC) * x + 8.0 * CUBIC) * x - 4.0 * CUBIC; // 1 < |x| < 2
    let tap = |index: usize| {
        let source = index as f32 * scale;
        let (floor, t) = (source.floor(), source - source.floor());
        let weights = [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)];
        std::array::from_fn(|tap| {
            let at = (floor as i64 + tap as i64 - 1).clamp(0, side as i64 - 1);
            (at as usize, weights[tap])
        })
    };
    (0..target).map(tap).collect()
}

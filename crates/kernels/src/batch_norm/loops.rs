//! The passes over the values. Short rows are handled several at a time, as tiles (`tile_width`).

use rayon::prelude::*;

use crate::norm::rows_per_chunk;
use crate::parallel::{at_least, sum_over_chunks, tile_width, tiled, written};
use crate::wide::wide;

/// What one call needs to know of each channel.
pub(super) struct Channels<'a> {
    pub(super) mean: &'a [f32],
    /// 1/σ.
    pub(super) inverse: &'a [f32],
    pub(super) gamma: &'a [f32],
    pub(super) beta: &'a [f32],
    /// No result is below it; where the result is not above it, no gradient passes.
    pub(super) floor: f32,
    /// Whether mean and deviation are the batch's own, so that gradients pass through them.
    pub(super) of_batch: bool,
}

/// Adds the values of a chunk into a tile, tile by tile, and folds the tile into `columns` sums.
#[inline(always)]
fn fold(sums: &mut [f32], chunk: &[f32], tile: &mut [f32], add: impl Fn(usize, f32) -> f32) {
    tile.fill(0.0);
    for values in chunk.chunks(tile.len()) {
        let tile = &mut tile[..values.len()];
        for lane in 0..values.len() {
            tile[lane] += add(lane, values[lane]);
        }
    }
    fold_tile(tile, sums);
}

/// Adds the rows of a tile.
#[inline(always)]
fn fold_tile(tile: &[f32], sums: &mut [f32]) {
    for row in tile.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

wide! {
    /// Mean of one chunk and sum of squares around it; the second pass finds the chunk in the cache.
    fn moments_of_chunk(chunk: &[f32], mean: &mut [f32], squares: &mut [f32]) {
        let columns = mean.len();
        let rows = (chunk.len() / columns) as f32;
        let mut tile = vec![0f32; tile_width(columns)];
        fold(mean, chunk, &mut tile, |_, value| value);
        mean.iter_mut().for_each(|mean| *mean /= rows);
        let centre = tiled(mean);
        let centre = &centre[..tile.len()];
        fold(squares, chunk, &mut tile, |lane, value| {
            let distance = value - centre[lane];
            distance * distance
        });
    }
}

/// Mean and biased variance per channel: those of chunks, joined in f64 as Chan, Golub and LeVeque (1979) do.
pub(super) fn moments(x: &[f32], columns: usize) -> (Vec<f32>, Vec<f32>) {
    let chunk_values = rows_per_chunk(columns) * columns;
    let moments = |chunk| {
        let (mut mean, mut squares) = (vec![0f32; columns], vec![0f32; columns]);
        moments_of_chunk(chunk, &mut mean, &mut squares);
        (mean, squares)
    };
    let parts: Vec<(Vec<f32>, Vec<f32>)> = x.par_chunks(chunk_values).map(moments).collect();
    let (mut mean, mut squares, mut count) = (vec![0f64; columns], vec![0f64; columns], 0f64);
    for (index, (part_mean, part_squares)) in parts.iter().enumerate() {
        let rows = (x.len() - index * chunk_values).min(chunk_values) as f64 / columns as f64;
        let total = count + rows;
        for channel in 0..columns {
            let delta = f64::from(part_mean[channel]) - mean[channel];
            mean[channel] += delta * rows / total;
            squares[channel] += f64::from(part_squares[channel]) + delta * delta * count * rows / total;
        }
        count = total;
    }
    let single = |values: Vec<f64>, share: f64| values.iter().map(|value| (value * share) as f32).collect();
    (single(mean, 1.0), single(squares, 1.0 / count))
}

/// Per lane of a tile: what turns `x` into its normalised value, and what a gradient is made of.
struct Lanes {
    mean: Vec<f32>,
    /// γ/σ.
    scale: Vec<f32>,
    beta: Vec<f32>,
    floor: f32,
}

wide! {
    /// `activation((x − μ)·γ/σ + β)`, plus `added` where there are values. Centred before it is scaled: a mean much
    /// larger than the deviation would cost digits otherwise.
    fn normalise_chunk(lanes: &Lanes, x: &[f32], added: Option<&[f32]>, y: &mut [f32]) {
        let width = lanes.mean.len();
        for (place, (y, x)) in y.chunks_mut(width).zip(x.chunks(width)).enumerate() {
            let count = x.len(); // slices of one length, so that the loop has no checks and vectorises
            let y = &mut y[..count];
            let (mean, scale, beta) = (&lanes.mean[..count], &lanes.scale[..count], &lanes.beta[..count]);
            if let Some(added) = added {
                let added = &added[place * width..][..count];
                for lane in 0..count {
                    let value = (x[lane] - mean[lane]) * scale[lane] + beta[lane];
                    y[lane] = at_least(value + added[lane], lanes.floor);
                }
            } else {
                for lane in 0..count {
                    y[lane] = at_least((x[lane] - mean[lane]) * scale[lane] + beta[lane], lanes.floor);
                }
            }
        }
    }

    /// Adds `g` and `g · (x − μ)` of each lane, where `g` is the gradient behind the activation. Without `y`, what
    /// passed the activation is found from `x`, which saves reading it.
    fn sums_of_chunk(
        lanes: &Lanes,
        x: &[f32],
        y: Option<&[f32]>,
        dy: &[f32],
        plain: &mut [f32],
        weighted: &mut [f32],
    ) {
        let width = lanes.mean.len();
        for (place, (x, dy)) in x.chunks(width).zip(dy.chunks(width)).enumerate() {
            let count = x.len();
            let (dy, mean) = (&dy[..count], &lanes.mean[..count]);
            let (scale, beta) = (&lanes.scale[..count], &lanes.beta[..count]);
            let (plain, weighted) = (&mut plain[..count], &mut weighted[..count]);
            if let Some(y) = y {
                let y = &y[place * width..][..count];
                for lane in 0..count {
                    let gradient = if y[lane] <= lanes.floor { 0.0 } else { dy[lane] };
                    plain[lane] += gradient;
                    weighted[lane] += gradient * (x[lane] - mean[lane]);
                }
            } else {
                for lane in 0..count {
                    let distance = x[lane] - mean[lane];
                    let y = distance * scale[lane] + beta[lane];
                    let gradient = if y <= lanes.floor { 0.0 } else { dy[lane] };
                    plain[lane] += gradient;
                    weighted[lane] += gradient * distance;
                }
            }
        }
    }

    /// `dx = g · γ/σ + (x − μ) · slope + offset`, without `y` as above.
    fn gradient_of_chunk(
        lanes: &Lanes,
        terms: &[Vec<f32>; 2],
        x: &[f32],
        y: Option<&[f32]>,
        dy: &[f32],
        dx: &mut [f32],
    ) {
        let [slope, offset] = terms;
        let width = lanes.mean.len();
        for (place, (dx, (x, dy))) in dx.chunks_mut(width).zip(x.chunks(width).zip(dy.chunks(width))).enumerate() {
            let count = x.len();
            let (dy, dx, mean) = (&dy[..count], &mut dx[..count], &lanes.mean[..count]);
            let (scale, beta) = (&lanes.scale[..count], &lanes.beta[..count]);
            let (slope, offset) = (&slope[..count], &offset[..count]);
            if let Some(y) = y {
                let y = &y[place * width..][..count];
                for lane in 0..count {
                    let gradient = if y[lane] <= lanes.floor { 0.0 } else { dy[lane] };
                    dx[lane] = gradient * scale[lane] + ((x[lane] - mean[lane]) * slope[lane] + offset[lane]);
                }
            } else {
                for lane in 0..count {
                    let distance = x[lane] - mean[lane];
                    let y = distance * scale[lane] + beta[lane];
                    let gradient = if y <= lanes.floor { 0.0 } else { dy[lane] };
                    dx[lane] = gradient * scale[lane] + (distance * slope[lane] + offset[lane]);
                }
            }
        }
    }

    /// The gradient behind the activation.
    fn mask_chunk(lanes: &Lanes, y: &[f32], dy: &[f32], masked: &mut [f32]) {
        for ((masked, y), dy) in masked.iter_mut().zip(y).zip(dy) {
            *masked = if *y <= lanes.floor { 0.0 } else { *dy };
        }
    }
}

impl Channels<'_> {
    fn scale(&self) -> Vec<f32> {
        self.gamma.iter().zip(self.inverse).map(|(gamma, inverse)| gamma * inverse).collect()
    }

    fn lanes(&self) -> Lanes {
        let (mean, scale, beta) = (tiled(self.mean), tiled(&self.scale()), tiled(self.beta));
        Lanes { mean, scale, beta, floor: self.floor }
    }

    /// Values of one task.
    fn chunk(&self) -> usize {
        rows_per_chunk(self.mean.len()) * self.mean.len()
    }

    /// `activation((x − μ)/σ · γ + β + residual)`.
    pub(super) fn normalise(&self, x: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
        let (lanes, chunk) = (self.lanes(), self.chunk());
        written(x.len(), |y| {
            y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).enumerate().for_each(|(index, (y, x))| {
                let added = residual.map(|residual| &residual[index * chunk..][..x.len()]);
                normalise_chunk(&lanes, x, added, y);
            });
        })
    }

    /// Sums over rows of `g · x̂` and of `g`, `[2, C]`, where `g` is the gradient behind the activation.
    fn sums(&self, lanes: &Lanes, x: &[f32], y: Option<&[f32]>, dy: &[f32]) -> Vec<f32> {
        let (columns, chunk, width) = (self.mean.len(), self.chunk(), lanes.mean.len());
        let mut sums = sum_over_chunks(x.len().div_ceil(chunk), 2 * columns, |index, sums| {
            let range = index * chunk..((index + 1) * chunk).min(x.len());
            let (mut plain, mut weighted) = (vec![0f32; width], vec![0f32; width]);
            let y = y.map(|y| &y[range.clone()]);
            sums_of_chunk(lanes, &x[range.clone()], y, &dy[range], &mut plain, &mut weighted);
            let (first, second) = sums.split_at_mut(columns);
            fold_tile(&weighted, first);
            fold_tile(&plain, second);
        });
        sums[..columns].iter_mut().zip(self.inverse).for_each(|(sum, inverse)| *sum *= inverse);
        sums
    }

    /// Gradients of `x`, of the residual where `wants_masked` (the gradient behind the activation), and of γ and
    /// β as `[2, C]`. `y` is needed where a residual was added.
    pub(super) fn gradients(
        &self,
        x: &[f32],
        y: Option<&[f32]>,
        dy: &[f32],
        wants_masked: bool,
    ) -> (Vec<f32>, Option<Vec<f32>>, Vec<f32>) {
        let (columns, chunk, lanes) = (self.mean.len(), self.chunk(), self.lanes());
        let daffine = self.sums(&lanes, x, y, dy);
        let (dgamma, dbeta) = daffine.split_at(columns);
        // dx = γ/σ · (g − Σg/R − x̂ · Σ(g·x̂)/R); with given statistics the two means are not there.
        let share = if self.of_batch { columns as f32 / x.len() as f32 } else { 0.0 };
        let scale = self.scale();
        let slope: Vec<f32> = (0..columns).map(|c| -scale[c] * self.inverse[c] * dgamma[c] * share).collect();
        let offset: Vec<f32> = (0..columns).map(|c| -scale[c] * dbeta[c] * share).collect();
        let terms = [tiled(&slope), tiled(&offset)];
        let part = |index: usize| index * chunk..((index + 1) * chunk).min(x.len());
        let pass = |index: usize, dx: &mut [f32]| {
            let range = part(index);
            let y = y.map(|y| &y[range.clone()]);
            gradient_of_chunk(&lanes, &terms, &x[range.clone()], y, &dy[range], dx);
        };
        let mut masked = None;
        let dx = written(x.len(), |dx| {
            let dx = dx.par_chunks_mut(chunk).enumerate();
            match y.filter(|_| wants_masked) {
                Some(y) => {
                    masked = Some(written(x.len(), |masked| {
                        dx.zip(masked.par_chunks_mut(chunk)).for_each(|((index, dx), masked)| {
                            let range = part(index);
                            mask_chunk(&lanes, &y[range.clone()], &dy[range], masked);
                            pass(index, dx);
                        });
                    }));
                }
                None => dx.for_each(|(index, dx)| pass(index, dx)),
            }
        });
        (dx, masked, daffine)
    }
}

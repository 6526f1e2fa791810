//! The passes over the values. Short rows are handled several at a time, as tiles (`tile_width`).

use rayon::prelude::*;

use crate::norm::rows_per_chunk;
use crate::parallel::{at_least, sum_over_chunks, tile_width, tiled, written};

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
fn fold<'a>(
    columns: usize,
    sums: &mut [f32],
    tiles: impl Iterator<Item = &'a [f32]>,
    add: impl Fn(usize, f32) -> f32,
) {
    let mut tile = vec![0f32; tile_width(columns)];
    for values in tiles {
        for (index, (total, value)) in tile.iter_mut().zip(values).enumerate() {
            *total += add(index, *value);
        }
    }
    fold_tile(&tile, sums);
}

/// Adds the rows of a tile.
fn fold_tile(tile: &[f32], sums: &mut [f32]) {
    for row in tile.chunks_exact(sums.len()) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

/// Mean and biased variance per channel: per chunk a mean and a sum of squares around it (the second pass finds
/// the chunk in the cache), joined in f64 as Chan, Golub and LeVeque (1979) do.
pub(super) fn moments(x: &[f32], columns: usize) -> (Vec<f32>, Vec<f32>) {
    let chunk_values = rows_per_chunk(columns) * columns;
    let width = tile_width(columns);
    let parts: Vec<(Vec<f32>, Vec<f32>)> = x
        .par_chunks(chunk_values)
        .map(|chunk| {
            let rows = (chunk.len() / columns) as f32;
            let (mut mean, mut squares) = (vec![0f32; columns], vec![0f32; columns]);
            fold(columns, &mut mean, chunk.chunks(width), |_, value| value);
            mean.iter_mut().for_each(|mean| *mean /= rows);
            let centre = tiled(&mean);
            fold(columns, &mut squares, chunk.chunks(width), |index, value| {
                let distance = value - centre[index];
                distance * distance
            });
            (mean, squares)
        })
        .collect();
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

impl Channels<'_> {
    fn scale(&self) -> Vec<f32> {
        self.gamma.iter().zip(self.inverse).map(|(gamma, inverse)| gamma * inverse).collect()
    }

    /// `activation((x − μ)/σ · γ + β + residual)`.
    pub(super) fn normalise(&self, x: &[f32], residual: Option<&[f32]>) -> Vec<f32> {
        // Centred before it is scaled: a mean much larger than the deviation would cost digits otherwise.
        let (mean, scale, beta) = (tiled(self.mean), tiled(&self.scale()), tiled(self.beta));
        let (floor, width) = (self.floor, mean.len());
        let chunk = rows_per_chunk(self.mean.len()) * self.mean.len();
        written(x.len(), |y| {
            y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).enumerate().for_each(|(index, (y, x))| {
                let added = residual.map(|residual| &residual[index * chunk..][..x.len()]);
                for (place, (y, x)) in y.chunks_mut(width).zip(x.chunks(width)).enumerate() {
                    let lanes = x.len(); // slices of one length, so that the loop has no checks and vectorises
                    let (y, mean, scale, beta) =
                        (&mut y[..lanes], &mean[..lanes], &scale[..lanes], &beta[..lanes]);
                    if let Some(added) = added {
                        let added = &added[place * width..][..lanes];
                        for lane in 0..lanes {
                            let value = (x[lane] - mean[lane]) * scale[lane] + beta[lane];
                            y[lane] = at_least(value + added[lane], floor);
                        }
                    } else {
                        for lane in 0..lanes {
                            y[lane] = at_least((x[lane] - mean[lane]) * scale[lane] + beta[lane], floor);
                        }
                    }
                }
            })
        })
    }

    /// Sums over rows of `g · x̂` and of `g`, `[2, C]`, where `g` is the gradient behind the activation.
    fn sums(&self, x: &[f32], y: &[f32], dy: &[f32]) -> Vec<f32> {
        let columns = self.mean.len();
        let chunk = rows_per_chunk(columns) * columns;
        let (mean, inverse) = (tiled(self.mean), tiled(self.inverse));
        let (width, floor) = (mean.len(), self.floor);
        sum_over_chunks(x.len().div_ceil(chunk), 2 * columns, |index, sums| {
            let range = index * chunk..((index + 1) * chunk).min(x.len());
            let (mut plain, mut weighted) = (vec![0f32; width], vec![0f32; width]);
            let tiles = x[range.clone()]
                .chunks(width)
                .zip(y[range.clone()].chunks(width))
                .zip(dy[range].chunks(width));
            for ((x, y), dy) in tiles {
                let lanes = x.len();
                let (y, dy, mean, inverse) = (&y[..lanes], &dy[..lanes], &mean[..lanes], &inverse[..lanes]);
                let (plain, weighted) = (&mut plain[..lanes], &mut weighted[..lanes]);
                for lane in 0..lanes {
                    let gradient = if y[lane] <= floor { 0.0 } else { dy[lane] };
                    plain[lane] += gradient;
                    weighted[lane] += gradient * ((x[lane] - mean[lane]) * inverse[lane]);
                }
            }
            let (first, second) = sums.split_at_mut(columns);
            fold_tile(&weighted, first);
            fold_tile(&plain, second);
        })
    }

    /// Gradients of `x`, of the residual where `wants_masked` (the gradient behind the activation), and of γ and
    /// β as `[2, C]`.
    pub(super) fn gradients(
        &self,
        x: &[f32],
        y: &[f32],
        dy: &[f32],
        wants_masked: bool,
    ) -> (Vec<f32>, Option<Vec<f32>>, Vec<f32>) {
        let columns = self.mean.len();
        let daffine = self.sums(x, y, dy);
        let (dgamma, dbeta) = daffine.split_at(columns);
        // dx = γ/σ · (g − Σg/R − x̂ · Σ(g·x̂)/R); with given statistics the two means are not there.
        let share = if self.of_batch { columns as f32 / x.len() as f32 } else { 0.0 };
        let scale = self.scale();
        let slope: Vec<f32> = (0..columns).map(|c| -scale[c] * self.inverse[c] * dgamma[c] * share).collect();
        let offset: Vec<f32> = (0..columns).map(|c| -scale[c] * dbeta[c] * share).collect();
        let terms = [tiled(self.mean), tiled(&scale), tiled(&slope), tiled(&offset)];
        let chunk = rows_per_chunk(columns) * columns;
        let inputs = x.par_chunks(chunk).zip(y.par_chunks(chunk)).zip(dy.par_chunks(chunk));
        let mut masked = None;
        let dx = written(x.len(), |dx| {
            let dx = dx.par_chunks_mut(chunk).zip(inputs);
            if wants_masked {
                masked = Some(written(x.len(), |masked| {
                    dx.zip(masked.par_chunks_mut(chunk)).for_each(|((dx, ((x, y), dy)), masked)| {
                        self.mask(y, dy, masked);
                        self.pass(&terms, x, y, dy, dx);
                    });
                }));
            } else {
                dx.for_each(|(dx, ((x, y), dy))| self.pass(&terms, x, y, dy, dx));
            }
        });
        (dx, masked, daffine)
    }

    /// The gradient behind the activation.
    fn mask(&self, y: &[f32], dy: &[f32], masked: &mut [f32]) {
        for ((masked, y), dy) in masked.iter_mut().zip(y).zip(dy) {
            *masked = if *y <= self.floor { 0.0 } else { *dy };
        }
    }

    /// `dx` of one chunk from the tiled mean, scale, slope and offset.
    fn pass(&self, terms: &[Vec<f32>; 4], x: &[f32], y: &[f32], dy: &[f32], dx: &mut [f32]) {
        let [mean, scale, slope, offset] = terms;
        let (width, floor) = (mean.len(), self.floor);
        let tiles = x.chunks(width).zip(y.chunks(width)).zip(dy.chunks(width));
        for (dx, ((x, y), dy)) in dx.chunks_mut(width).zip(tiles) {
            let lanes = x.len();
            let (y, dy, dx) = (&y[..lanes], &dy[..lanes], &mut dx[..lanes]);
            let (mean, scale, slope) = (&mean[..lanes], &scale[..lanes], &slope[..lanes]);
            let offset = &offset[..lanes];
            for lane in 0..lanes {
                let gradient = if y[lane] <= floor { 0.0 } else { dy[lane] };
                dx[lane] = gradient * scale[lane] + ((x[lane] - mean[lane]) * slope[lane] + offset[lane]);
            }
        }
    }
}

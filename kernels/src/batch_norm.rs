//! Batch normalisation, fused with ReLU.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::fused::apply3;
use crate::norm::{check, rows_per_chunk, three_gradients};
use crate::parallel::{Values, at_least, sum_over_chunks, tile_width, tiled, values, written};

/// What follows the normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(0, ·).
    Relu,
}

/// Statistics of one batch, per channel.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchStatistics {
    /// Mean.
    pub mean: Vec<f32>,
    /// Unbiased variance (n − 1; for one row the biased one), which running statistics take.
    pub variance: Vec<f32>,
}

/// Batch normalisation over all but the last dimension with the batch's own statistics, then `activation`.
///
/// `x` is `[.., C]`, `gamma` and `beta` are `[C]`. Returns the result and the statistics for the running averages.
pub fn batch_norm_train(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    epsilon: f64,
    activation: Activation,
) -> Result<(Tensor, BatchStatistics)> {
    check("batch_norm_train", x, gamma, beta)?;
    let moments = Arc::new(OnceLock::new());
    let operation = BatchNorm { given: None, moments: moments.clone(), epsilon: epsilon as f32, activation };
    let y = apply3(&x.contiguous()?, &gamma.contiguous()?, &beta.contiguous()?, operation)?;
    let Some(moments) = moments.get() else { bail!("batch_norm_train: no statistics were computed") };
    let rows = x.elem_count() / gamma.elem_count();
    let unbiased = rows as f32 / rows.saturating_sub(1).max(1) as f32;
    let variance = moments.variance.iter().map(|variance| variance * unbiased).collect();
    Ok((y, BatchStatistics { mean: moments.mean.clone(), variance }))
}

/// Batch normalisation with given statistics, then `activation`. Differentiable in `x`, `gamma` and `beta`.
pub fn batch_norm_eval(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    mean: &[f32],
    variance: &[f32],
    epsilon: f64,
    activation: Activation,
) -> Result<Tensor> {
    check("batch_norm_eval", x, gamma, beta)?;
    if mean.len() != gamma.elem_count() || variance.len() != mean.len() {
        bail!(
            "batch_norm_eval: {} channels, {} means, {} variances",
            gamma.elem_count(),
            mean.len(),
            variance.len()
        );
    }
    let given = Some(Moments { mean: mean.to_vec(), variance: variance.to_vec() });
    let operation = BatchNorm { given, moments: Arc::default(), epsilon: epsilon as f32, activation };
    apply3(&x.contiguous()?, &gamma.contiguous()?, &beta.contiguous()?, operation)
}

/// Mean and biased variance per channel.
struct Moments {
    mean: Vec<f32>,
    variance: Vec<f32>,
}

struct BatchNorm {
    given: Option<Moments>,
    moments: Arc<OnceLock<Moments>>,
    epsilon: f32,
    activation: Activation,
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
    for row in tile.chunks_exact(columns) {
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}

impl Moments {
    /// Per chunk a mean and a sum of squares around it (the second pass finds the chunk in the cache), joined in
    /// f64 as Chan, Golub and LeVeque (1979) do.
    fn of(x: &[f32], columns: usize) -> Self {
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
        Self {
            mean: mean.iter().map(|mean| *mean as f32).collect(),
            variance: squares.iter().map(|squares| (squares / count) as f32).collect(),
        }
    }
}

impl BatchNorm {
    fn used(&self) -> Result<&Moments> {
        match self.given.as_ref().or_else(|| self.moments.get()) {
            Some(moments) => Ok(moments),
            None => bail!("batch_norm: backward before forward"),
        }
    }

    /// No result is below it; where the result is not above it, no gradient passes.
    fn floor(&self) -> f32 {
        match self.activation {
            Activation::Identity => f32::NEG_INFINITY,
            Activation::Relu => 0.0,
        }
    }

    fn inverse_deviation(&self, moments: &Moments) -> Vec<f32> {
        moments.variance.iter().map(|variance| 1.0 / (variance + self.epsilon).sqrt()).collect()
    }

    fn normalise(&self, x: &[f32], gamma: &[f32], beta: &[f32], moments: &Moments) -> Vec<f32> {
        let inverse = self.inverse_deviation(moments);
        let scale: Vec<f32> = gamma.iter().zip(&inverse).map(|(gamma, inverse)| gamma * inverse).collect();
        // Centred before it is scaled: a mean much larger than the deviation would cost digits otherwise.
        let (mean, scale, beta) = (tiled(&moments.mean), tiled(&scale), tiled(beta));
        let floor = self.floor();
        let chunk = rows_per_chunk(gamma.len()) * gamma.len();
        written(x.len(), |y| {
            y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(y, x)| {
                for (y, x) in y.chunks_mut(scale.len()).zip(x.chunks(scale.len())) {
                    let lanes = x.len(); // slices of one length, so that the loop has no checks and vectorises
                    let (y, mean, scale, beta) =
                        (&mut y[..lanes], &mean[..lanes], &scale[..lanes], &beta[..lanes]);
                    for lane in 0..lanes {
                        y[lane] = at_least((x[lane] - mean[lane]) * scale[lane] + beta[lane], floor);
                    }
                }
            })
        })
    }

    /// Sums over rows of `g` and `g · x̂`, where `g` is the gradient behind the activation.
    fn sums(
        &self,
        x: &[f32],
        y: &[f32],
        dy: &[f32],
        moments: &Moments,
        inverse: &[f32],
    ) -> (Vec<f32>, Vec<f32>) {
        let columns = inverse.len();
        let chunk = rows_per_chunk(columns) * columns;
        let (mean, inverse) = (tiled(&moments.mean), tiled(inverse));
        let width = mean.len();
        let floor = self.floor();
        let sums = sum_over_chunks(x.len().div_ceil(chunk), 2 * columns, |index, sums| {
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
            for (sum, tile) in [(first, plain), (second, weighted)] {
                for row in tile.chunks_exact(columns) {
                    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
            }
        });
        (sums[..columns].to_vec(), sums[columns..].to_vec())
    }

    /// Gradients of x, gamma and beta.
    fn gradients(&self, x: &[f32], gamma: &[f32], y: &[f32], dy: &[f32]) -> Result<[Vec<f32>; 3]> {
        let moments = self.used()?;
        let columns = gamma.len();
        let inverse = self.inverse_deviation(moments);
        let (beta_gradient, gamma_gradient) = self.sums(x, y, dy, moments, &inverse);
        // dx = γ/σ · (g − Σg/R − x̂ · Σ(g·x̂)/R); with given statistics the two means are not there.
        let share = if self.given.is_some() { 0.0 } else { columns as f32 / x.len() as f32 };
        let scale: Vec<f32> = gamma.iter().zip(&inverse).map(|(gamma, inverse)| gamma * inverse).collect();
        let slope: Vec<f32> =
            (0..columns).map(|c| -scale[c] * inverse[c] * gamma_gradient[c] * share).collect();
        let offset: Vec<f32> = (0..columns).map(|c| -scale[c] * beta_gradient[c] * share).collect();
        let (scale, slope, offset) = (tiled(&scale), tiled(&slope), tiled(&offset));
        let mean = tiled(&moments.mean);
        let width = scale.len();
        let floor = self.floor();
        let chunk = rows_per_chunk(columns) * columns;
        let inputs = x.par_chunks(chunk).zip(y.par_chunks(chunk)).zip(dy.par_chunks(chunk));
        let dx = written(x.len(), |dx| {
            dx.par_chunks_mut(chunk).zip(inputs).for_each(|(dx, ((x, y), dy))| {
                let tiles = x.chunks(width).zip(y.chunks(width)).zip(dy.chunks(width));
                for (dx, ((x, y), dy)) in dx.chunks_mut(width).zip(tiles) {
                    let lanes = x.len();
                    let (y, dy, dx) = (&y[..lanes], &dy[..lanes], &mut dx[..lanes]);
                    let (mean, scale, slope) = (&mean[..lanes], &scale[..lanes], &slope[..lanes]);
                    let offset = &offset[..lanes];
                    for lane in 0..lanes {
                        let gradient = if y[lane] <= floor { 0.0 } else { dy[lane] };
                        dx[lane] =
                            gradient * scale[lane] + ((x[lane] - mean[lane]) * slope[lane] + offset[lane]);
                    }
                }
            })
        });
        Ok([dx, gamma_gradient, beta_gradient])
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        gamma: &CpuStorage,
        lg: &Layout,
        beta: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = values("batch_norm", x, lx)?;
        let (gamma, beta) = (values("batch_norm", gamma, lg)?, values("batch_norm", beta, lb)?);
        let moments = match &self.given {
            Some(given) => given,
            None => self.moments.get_or_init(|| Moments::of(x, gamma.len())),
        };
        Ok((CpuStorage::F32(self.normalise(x, gamma, beta, moments)), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _beta: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let operation = "batch_norm";
        let gradients = self.gradients(
            &Values::of(operation, x)?,
            &Values::of(operation, gamma)?,
            &Values::of(operation, y)?,
            &Values::of(operation, &grad)?,
        )?;
        three_gradients(gradients, x, gamma)
    }
}

//! Layer normalisation.

use candle_core::{Result, Shape, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::norm::{check, rows_per_chunk};
use crate::operation::{Argument, Operation, apply, gradient_of};
use crate::parallel::{Values, written};
use crate::wide::wide;

/// Layer normalisation over the last dimension: `x` is `[.., D]`, `gamma` and `beta` are `[D]`.
pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f64) -> Result<Tensor> {
    check("layer_norm", x, gamma, beta)?;
    apply(LayerNorm { epsilon: epsilon as f32 }, [x, gamma, beta])
}

struct LayerNorm {
    epsilon: f32,
}

/// Partial sums of a row: several registers of the widest machines, so that additions need not wait for each other.
const LANES: usize = 32;

/// Σ `value` over rows of one length, in an order that is always the same.
#[inline(always)]
fn sum<const ROWS: usize>(rows: [&[f32]; ROWS], value: impl Fn([f32; ROWS]) -> f32) -> f32 {
    let width = rows[0].len();
    let mut lanes = [0f32; LANES];
    let whole = width / LANES * LANES;
    for start in (0..whole).step_by(LANES) {
        // Arrays of one length, so that the loop has no checks and vectorises.
        let parts = rows.map(|row| row[start..].first_chunk::<LANES>().unwrap_or(&[0.0; LANES]));
        for (lane, sum) in lanes.iter_mut().enumerate() {
            *sum += value(parts.map(|part| part[lane]));
        }
    }
    let rest: f32 = (whole..width).map(|at| value(rows.map(|row| row[at]))).sum();
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0] + rest
}

/// Mean and inverse deviation of a row.
#[inline(always)]
fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let width = row.len() as f32;
    let mean = sum([row], |[value]| value) / width;
    let variance = sum([row], |[value]| (value - mean) * (value - mean)) / width;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

wide! {
    fn forward(x: &[f32], gamma: &[f32], beta: &[f32], epsilon: f32, y: &mut [f32]) {
        let width = gamma.len();
        let beta = &beta[..width];
        for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
            let (mean, inverse) = moments(x, epsilon);
            for lane in 0..width {
                y[lane] = (x[lane] - mean) * inverse * gamma[lane] + beta[lane];
            }
        }
    }

    /// Writes `dx` and adds to the gradients of γ and β, which stand one behind the other in `sums`.
    fn backward(x: &[f32], gamma: &[f32], dy: &[f32], epsilon: f32, dx: &mut [f32], sums: &mut [f32]) {
        let width = gamma.len();
        let (dgamma, dbeta) = sums.split_at_mut(width);
        let (dgamma, dbeta) = (&mut dgamma[..width], &mut dbeta[..width]);
        let rows = x.chunks_exact(width).zip(dy.chunks_exact(width));
        for (dx, (x, dy)) in dx.chunks_exact_mut(width).zip(rows) {
            let (mean, inverse) = moments(x, epsilon);
            for lane in 0..width {
                dgamma[lane] += dy[lane] * ((x[lane] - mean) * inverse);
                dbeta[lane] += dy[lane];
            }
            // dx = 1/σ · (g − mean(g) − x̂ · mean(g·x̂)) with g = dy · γ.
            let first = sum([dy, gamma], |[dy, gamma]| dy * gamma) / width as f32;
            let product = |[x, dy, gamma]: [f32; 3]| dy * gamma * ((x - mean) * inverse);
            let second = sum([x, dy, gamma], product) / width as f32;
            for lane in 0..width {
                let normal = (x[lane] - mean) * inverse;
                dx[lane] = (dy[lane] * gamma[lane] - first - normal * second) * inverse;
            }
        }
    }
}

impl Operation<3> for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn forward(&self, [x, gamma, beta]: [Argument<'_>; 3]) -> Result<(Vec<f32>, Shape)> {
        let shape = x.shape();
        let (x, gamma, beta) = (x.values()?, gamma.values()?, beta.values()?);
        let width = gamma.len();
        let chunk = rows_per_chunk(width) * width;
        let y = written(x.len(), |y| {
            let chunks = y.par_chunks_mut(chunk).zip(x.par_chunks(chunk));
            chunks.for_each(|(y, x)| forward(x, gamma, beta, self.epsilon, y));
        });
        Ok((y, shape.clone()))
    }

    fn backward(
        &self,
        [x, gamma, _]: [&Tensor; 3],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let [xs, gammas, dys] = Values::each("layer_norm", [x, gamma, grad])?;
        let (xs, gammas, dys): (&[f32], &[f32], &[f32]) = (&xs, &gammas, &dys);
        let width = gammas.len();
        let chunk = rows_per_chunk(width) * width;
        let mut parts = Vec::new();
        let dx = written(xs.len(), |dx| {
            let rows = xs.par_chunks(chunk).zip(dys.par_chunks(chunk));
            let sums = |(dx, (x, dy)): (&mut [f32], (&[f32], &[f32]))| {
                let mut sums = vec![0f32; 2 * width];
                backward(x, gammas, dy, self.epsilon, dx, &mut sums);
                sums
            };
            parts = dx.par_chunks_mut(chunk).zip(rows).map(sums).collect();
        });
        let mut sums = vec![0f32; 2 * width];
        for part in &parts {
            sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        let dbeta = sums.split_off(width);
        Ok([gradient_of(x, dx)?, gradient_of(gamma, sums)?, gradient_of(gamma, dbeta)?])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [x, gamma, beta]: [Input<'_>; 3]) -> Result<Made> {
        cuda::layer_norm(&x, &gamma, &beta, self.epsilon)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        [x, gamma, _]: [&Tensor; 3],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let [x, gamma, grad] = Input::each("layer_norm", [x, gamma, grad])?;
        let (dx, sums) = cuda::layer_norm_backward(&x, &gamma, &grad, self.epsilon)?;
        let sums = cuda::tensor(sums); // [2, D]
        Ok([cuda::some(dx), Some(sums.get(0)?), Some(sums.get(1)?)])
    }
}

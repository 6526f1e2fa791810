//! Layer normalisation.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::fused::apply3;
use crate::norm::{check, rows_per_chunk, three_gradients};
use crate::parallel::{Values, values};

/// Layer normalisation over the last dimension: `x` is `[.., D]`, `gamma` and `beta` are `[D]`.
pub fn layer_norm(x: &Tensor, gamma: &Tensor, beta: &Tensor, epsilon: f64) -> Result<Tensor> {
    check("layer_norm", x, gamma, beta)?;
    let operation = LayerNorm { epsilon: epsilon as f32 };
    apply3(&x.contiguous()?, &gamma.contiguous()?, &beta.contiguous()?, operation)
}

struct LayerNorm {
    epsilon: f32,
}

impl LayerNorm {
    /// Mean and inverse deviation of a row.
    fn moments(&self, row: &[f32]) -> (f32, f32) {
        let width = row.len() as f32;
        let mean = lanes_sum(row, |value| value) / width;
        let variance = lanes_sum(row, |value| (value - mean) * (value - mean)) / width;
        (mean, 1.0 / (variance + self.epsilon).sqrt())
    }
}

/// A sum in eight lanes: vectorises, and its order is fixed.
fn lanes_sum(row: &[f32], value: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0f32; 8];
    let chunks = row.chunks_exact(8);
    let rest: f32 = chunks.remainder().iter().map(|x| value(*x)).sum();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += value(*x);
        }
    }
    lanes.iter().sum::<f32>() + rest
}

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
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
        let x = values("layer_norm", x, lx)?;
        let (gamma, beta) = (values("layer_norm", gamma, lg)?, values("layer_norm", beta, lb)?);
        let width = gamma.len();
        let chunk = rows_per_chunk(width) * width;
        let mut y = vec![0f32; x.len()];
        y.par_chunks_mut(chunk).zip(x.par_chunks(chunk)).for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                let (mean, inverse) = self.moments(x);
                for lane in 0..width {
                    y[lane] = (x[lane] - mean) * inverse * gamma[lane] + beta[lane];
                }
            }
        });
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    cuda_forward!(self, "layer_norm", x, gamma, beta => cuda::layer_norm(&x, &gamma, &beta, self.epsilon));

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        _beta: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        cuda_backward!("layer_norm", grad, x, gamma => {
            let (dx, sums) = cuda::layer_norm_backward(&x, &gamma, &grad, self.epsilon)?;
            let sums = cuda::tensor(sums); // [2, D]
            Ok((cuda::some(dx), Some(sums.get(0)?), Some(sums.get(1)?)))
        });
        let grad = grad.contiguous()?;
        let (xs, gammas) = (Values::of("layer_norm", x)?, Values::of("layer_norm", gamma)?);
        let dys = Values::of("layer_norm", &grad)?;
        let (xs, gammas, dys): (&[f32], &[f32], &[f32]) = (&xs, &gammas, &dys);
        let width = gammas.len();
        let chunk = rows_per_chunk(width) * width;
        let mut dx = vec![0f32; xs.len()];
        let rows = xs.par_chunks(chunk).zip(dys.par_chunks(chunk));
        let parts: Vec<Vec<f32>> = dx
            .par_chunks_mut(chunk)
            .zip(rows)
            .map(|(dx, (x, dy))| {
                let mut sums = vec![0f32; 2 * width];
                let (dgamma, dbeta) = sums.split_at_mut(width);
                let mut normal = vec![0f32; width];
                for (dx, (x, dy)) in
                    dx.chunks_exact_mut(width).zip(x.chunks_exact(width).zip(dy.chunks_exact(width)))
                {
                    let (mean, inverse) = self.moments(x);
                    for lane in 0..width {
                        normal[lane] = (x[lane] - mean) * inverse;
                        dx[lane] = dy[lane] * gammas[lane];
                        dgamma[lane] += dy[lane] * normal[lane];
                        dbeta[lane] += dy[lane];
                    }
                    let first = lanes_sum(dx, |value| value) / width as f32;
                    let products: Vec<f32> = dx.iter().zip(&normal).map(|(g, n)| g * n).collect();
                    let second = lanes_sum(&products, |value| value) / width as f32;
                    for lane in 0..width {
                        dx[lane] = inverse * (dx[lane] - first - normal[lane] * second);
                    }
                }
                sums
            })
            .collect();
        let mut sums = vec![0f32; 2 * width];
        for part in &parts {
            sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
        }
        let dbeta = sums.split_off(width);
        three_gradients([dx, sums, dbeta], x, gamma)
    }
}

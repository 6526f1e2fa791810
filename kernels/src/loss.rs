//! Row normalisation and cross-entropy.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::fused::{apply1, apply2};
use crate::parallel::{Values, exp, indices, values};

/// Each row of `x` `[B, D]` divided by its Euclidean norm (at least 1e-12).
pub fn l2_normalize(x: &Tensor) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    if rows == 0 || width == 0 {
        bail!("l2_normalize: expected [B > 0, D > 0], found {:?}", x.dims());
    }
    apply1(&x.contiguous()?, Normalize)
}

struct Normalize;

fn inverse_norm(row: &[f32]) -> f32 {
    1.0 / row.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12)
}

impl CustomOp1 for Normalize {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut y = values("l2_normalize", x, layout)?.to_vec();
        y.par_chunks_mut(layout.dims()[1]).for_each(|row| {
            let inverse = inverse_norm(row);
            row.iter_mut().for_each(|value| *value *= inverse);
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    cuda_forward!(self, "l2_normalize", x => cuda::l2_normalize(&x));

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        cuda_backward!("l2_normalize", grad, x, y => Ok(cuda::some(cuda::l2_normalize_backward(&x, &y, &grad)?)));
        let grad = grad.contiguous()?;
        let (xs, ys) = (Values::of("l2_normalize", x)?, Values::of("l2_normalize", y)?);
        let mut dx = Values::of("l2_normalize", &grad)?.to_vec();
        let width = x.dims()[1];
        let (xs, ys): (&[f32], &[f32]) = (&xs, &ys);
        // dx = (dy − y · (y·dy)) / |x|
        dx.par_chunks_mut(width).zip(xs.par_chunks(width).zip(ys.par_chunks(width))).for_each(
            |(dx, (x, y))| {
                let inverse = inverse_norm(x);
                let along: f32 = y.iter().zip(dx.iter()).map(|(y, dy)| y * dy).sum();
                dx.iter_mut().zip(y).for_each(|(dx, y)| *dx = (*dx - y * along) * inverse);
            },
        );
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

/// Mean cross-entropy of `logits` `[B, K]` against `targets` (u32, `[B]`, below K), a scalar.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let (rows, classes) = logits.dims2()?;
    if rows == 0 || classes == 0 || targets.dims() != [rows] || targets.dtype() != DType::U32 {
        bail!(
            "cross_entropy: expected logits [B > 0, K > 0] and u32 targets [B], found {:?} and {:?} {:?}",
            logits.dims(),
            targets.dtype(),
            targets.dims()
        );
    }
    apply2(&logits.contiguous()?, &targets.contiguous()?, CrossEntropy)
}

struct CrossEntropy;

/// Largest logit of a row and ln Σ e^(logit − largest).
fn log_sum_exp(row: &[f32]) -> (f32, f32) {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    (largest, row.iter().map(|value| exp(value - largest)).sum::<f32>().ln())
}

impl CustomOp2 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn cpu_fwd(
        &self,
        logits: &CpuStorage,
        ll: &Layout,
        targets: &CpuStorage,
        lt: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (logits, targets) =
            (values("cross_entropy", logits, ll)?, indices("cross_entropy", targets, lt)?);
        let classes = ll.dims()[1];
        if let Some(target) = targets.iter().find(|target| **target as usize >= classes) {
            bail!("cross_entropy: target {target} of {classes} classes");
        }
        let losses: Vec<f32> = logits
            .par_chunks(classes)
            .zip(targets)
            .map(|(row, target)| {
                let (largest, log_sum) = log_sum_exp(row);
                log_sum + largest - row[*target as usize]
            })
            .collect();
        let mean = losses.iter().map(|loss| f64::from(*loss)).sum::<f64>() / losses.len() as f64;
        Ok((CpuStorage::F32(vec![mean as f32]), Shape::from(())))
    }

    cuda_forward!(self, "cross_entropy", logits, targets => cuda::cross_entropy(&logits, &targets));

    fn bwd(
        &self,
        logits: &Tensor,
        targets: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        cuda_backward!("cross_entropy", grad, logits, targets => {
            Ok((cuda::some(cuda::cross_entropy_backward(&logits, &targets, &grad)?), None))
        });
        let (rows, classes) = logits.dims2()?;
        let scale = grad.to_scalar::<f32>()? / rows as f32;
        let (storage, layout) = targets.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("cross_entropy: targets are not on the CPU") };
        let targets = indices("cross_entropy", storage, layout)?;
        let mut gradient = Values::of("cross_entropy", logits)?.to_vec();
        gradient.par_chunks_mut(classes).zip(targets).for_each(|(row, target)| {
            let (largest, log_sum) = log_sum_exp(row);
            row.iter_mut().for_each(|value| *value = exp(*value - largest - log_sum) * scale);
            row[*target as usize] -= scale;
        });
        Ok((Some(Tensor::from_vec(gradient, logits.dims(), logits.device())?), None))
    }
}

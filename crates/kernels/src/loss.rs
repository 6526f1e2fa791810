//! Row normalisation and cross-entropy.

use candle_core::{DType, Result, Shape, Storage, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::operation::{Argument, Operation, apply, gradient_of, indices};
use crate::parallel::{Values, exp};

/// Each row of `x` `[B, D]` divided by its Euclidean norm (at least 1e-12).
pub fn l2_normalize(x: &Tensor) -> Result<Tensor> {
    if x.rank() != 2 || x.elem_count() == 0 {
        bail!("l2_normalize: expected [B > 0, D > 0], found {:?}", x.dims());
    }
    apply(Normalize, [x])
}

struct Normalize;

/// 1 over the Euclidean norm of a row, the norm at least 1e-12. Squares are added in f64, where those of no f32
/// overflow, on eight lanes.
pub(crate) fn inverse_norm(row: &[f32]) -> f32 {
    let mut lanes = [0f64; 8];
    for values in row.chunks(8) {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane += f64::from(*value) * f64::from(*value);
        }
    }
    let norm = lanes.iter().sum::<f64>().sqrt();
    // `max` would make 1e-12 of a lost number.
    (1.0 / if norm < 1e-12 { 1e-12 } else { norm }) as f32
}

/// Turns the gradient of a row y of length 1 into the one of the row before it was multiplied with `inverse`:
/// (dy − y · (y·dy)) · inverse.
pub(crate) fn through_norm(gradient: &mut [f32], y: &[f32], inverse: f32) {
    let mut lanes = [0f32; 8];
    for (dy, y) in gradient.chunks(8).zip(y.chunks(8)) {
        for ((lane, dy), y) in lanes.iter_mut().zip(dy).zip(y) {
            *lane += y * dy;
        }
    }
    let along: f32 = lanes.iter().sum();
    gradient.iter_mut().zip(y).for_each(|(dy, y)| *dy = (*dy - y * along) * inverse);
}

impl Operation<1> for Normalize {
    fn name(&self) -> &'static str {
        "l2_normalize"
    }

    fn forward(&self, [x]: [Argument<'_>; 1]) -> Result<(Vec<f32>, Shape)> {
        let mut y = x.values()?.to_vec();
        y.par_chunks_mut(x.dims()[1]).for_each(|row| {
            let inverse = inverse_norm(row);
            row.iter_mut().for_each(|value| *value *= inverse);
        });
        Ok((y, x.shape().clone()))
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let [xs, ys, dys] = Values::each("l2_normalize", [x, y, grad])?;
        let (mut dx, width) = (dys.to_vec(), x.dims()[1]);
        let (xs, ys): (&[f32], &[f32]) = (&xs, &ys);
        let rows = xs.par_chunks(width).zip(ys.par_chunks(width));
        dx.par_chunks_mut(width).zip(rows).for_each(|(dx, (x, y))| through_norm(dx, y, inverse_norm(x)));
        Ok([gradient_of(x, dx)?])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [x]: [Input<'_>; 1]) -> Result<Made> {
        cuda::l2_normalize(&x)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(&self, [x]: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let [x, y, grad] = Input::each("l2_normalize", [x, y, grad])?;
        Ok([cuda::some(cuda::l2_normalize_backward(&x, &y, &grad)?)])
    }
}

/// Mean cross-entropy of `logits` `[B, K]` against `targets` (u32, `[B]`, below K), a scalar.
pub fn cross_entropy(logits: &Tensor, targets: &Tensor) -> Result<Tensor> {
    let fits = logits.rank() == 2 && targets.dims() == &logits.dims()[..1] && targets.dtype() == DType::U32;
    if !fits || logits.elem_count() == 0 {
        bail!(
            "cross_entropy: expected logits [B > 0, K > 0] and u32 targets [B], found {:?} and {:?} {:?}",
            logits.dims(),
            targets.dtype(),
            targets.dims()
        );
    }
    apply(CrossEntropy, [logits, targets])
}

struct CrossEntropy;

/// Largest logit of a row and ln Σ e^(logit − largest), on sixteen lanes, which vectorise.
pub(crate) fn log_sum_exp(row: &[f32]) -> (f32, f32) {
    let (mut largest, mut sums) = ([f32::NEG_INFINITY; 16], [0f32; 16]);
    for values in row.chunks(16) {
        largest.iter_mut().zip(values).for_each(|(largest, value)| *largest = largest.max(*value));
    }
    let largest = largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
    for values in row.chunks(16) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += exp(value - largest));
    }
    (largest, sums.iter().sum::<f32>().ln())
}

impl Operation<2> for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn forward(&self, [logits, targets]: [Argument<'_>; 2]) -> Result<(Vec<f32>, Shape)> {
        let classes = logits.dims()[1];
        let (logits, targets) = (logits.values()?, targets.indices()?);
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
        Ok((vec![mean as f32], Shape::from(())))
    }

    fn backward(
        &self,
        [logits, targets]: [&Tensor; 2],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
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
        Ok([gradient_of(logits, gradient)?, None])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [logits, targets]: [Input<'_>; 2]) -> Result<Made> {
        cuda::cross_entropy(&logits, &targets)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        [logits, targets]: [&Tensor; 2],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let [logits, targets, grad] = Input::each("cross_entropy", [logits, targets, grad])?;
        Ok([cuda::some(cuda::cross_entropy_backward(&logits, &targets, &grad)?), None])
    }
}

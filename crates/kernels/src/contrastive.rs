//! CLIP's contrastive losses, each one operation from features that are not yet normalised.
//!
//! Forward and backward each hold one `[B, B]` matrix and only while they run: the backward pass makes the logits
//! anew, a product as large as one of the two it needs anyway, and turns them into their gradient in place.

use std::sync::OnceLock;

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::linear::linear;
use crate::loss::{cross_entropy, inverse_norm, l2_normalize, log_sum_exp, through_norm};
use crate::operation::{Argument, Operation, apply, gradient_of};
use crate::parallel::{Matrix, exp, product, written};
use crate::sums::wants_gradient;

/// Rows, or columns, of the logits handled by one task.
const BLOCK: usize = 64;

/// Symmetric InfoNCE, ½(CE(Â·B̂ᵀ·eˢ) + CE(B̂·Âᵀ·eˢ)): each row of `a` finds its own row of `b` among all, and the
/// other way round. Both are `[B, E]` and are normalised here; `logit_scale` s is a scalar, and so is the loss.
/// CLIP's loss (Radford et al. 2021, figure 3), CleanCLIP's L_MMCL.
pub fn info_nce(a: &Tensor, b: &Tensor, logit_scale: &Tensor) -> Result<Tensor> {
    contrastive("info_nce", true, a, b, logit_scale)
}

/// One direction of [`info_nce`], CE(Â·B̂ᵀ·eˢ): each row of `features` finds its own augmented view among all; a
/// term of CleanCLIP's L_SS. Shapes as there.
pub fn in_modal(features: &Tensor, augmented: &Tensor, logit_scale: &Tensor) -> Result<Tensor> {
    contrastive("in_modal", false, features, augmented, logit_scale)
}

fn contrastive(
    name: &'static str,
    symmetric: bool,
    a: &Tensor,
    b: &Tensor,
    logit_scale: &Tensor,
) -> Result<Tensor> {
    let fits = a.rank() == 2 && a.dims() == b.dims() && logit_scale.rank() == 0;
    if !fits || a.elem_count() == 0 {
        bail!(
            "{name}: expected two [B > 0, E > 0] of one shape and a scalar, found {:?}, {:?} and {:?}",
            a.dims(),
            b.dims(),
            logit_scale.dims()
        );
    }
    if !a.device().is_cpu() {
        return composed(symmetric, a, b, logit_scale).map_err(|error| error.context(name));
    }
    let operation = Contrastive { name, symmetric, kept: OnceLock::new() };
    apply(operation, [a, b, logit_scale])
}

/// The same out of operations that have a CUDA side, until there is one of its own.
fn composed(symmetric: bool, a: &Tensor, b: &Tensor, logit_scale: &Tensor) -> Result<Tensor> {
    let own = Tensor::arange(0, a.dims()[0] as u32, a.device())?;
    let (a, b) = (l2_normalize(a)?, l2_normalize(b)?);
    let logits = linear(&a, &b, None)?.broadcast_mul(&logit_scale.exp()?)?; // [B, B]
    let by_row = cross_entropy(&logits, &own)?;
    if !symmetric {
        return Ok(by_row);
    }
    (by_row + cross_entropy(&logits.t()?.contiguous()?, &own)?)? * 0.5
}

struct Contrastive {
    name: &'static str,
    symmetric: bool,
    kept: OnceLock<Kept>,
}

/// Rows of length 1, `[B, E]`, and what they were multiplied with to become so.
struct Unit {
    values: Vec<f32>,
    inverse_norms: Vec<f32>,
}

impl Unit {
    fn of(x: &[f32], width: usize) -> Self {
        let inverse_norms: Vec<f32> = x.par_chunks(width).map(inverse_norm).collect();
        let values = written(x.len(), |values| {
            values.par_chunks_mut(width).zip(x.par_chunks(width).zip(&inverse_norms)).for_each(
                |(values, (x, inverse))| values.iter_mut().zip(x).for_each(|(value, x)| *value = x * inverse),
            );
        });
        Self { values, inverse_norms }
    }

    /// Gradient before the normalisation from the one behind it.
    fn backward(&self, mut gradient: Vec<f32>, width: usize) -> Vec<f32> {
        let rows = self.values.par_chunks(width).zip(&self.inverse_norms);
        gradient
            .par_chunks_mut(width)
            .zip(rows)
            .for_each(|(gradient, (y, inverse))| through_norm(gradient, y, *inverse));
        gradient
    }
}

/// Largest logit of a row or column, and ln Σ e^(logit − largest).
type LogSum = (f32, f32);

/// What the forward pass leaves for the backward pass: nothing of the size `[B, B]`.
struct Kept {
    a: Unit,
    b: Unit,
    /// eˢ.
    scale: f32,
    /// The logits of each row with its own partner, `[B]`.
    own: Vec<f32>,
    by_row: Vec<LogSum>,
    /// Empty where only rows count.
    by_column: Vec<LogSum>,
}

/// `scale · a · bᵀ` for some rows of `a`.
fn logits_of_rows(logits: &mut [f32], a: &[f32], b: &[f32], width: usize, scale: f32) {
    let (rows, count) = (a.len() / width, b.len() / width);
    let (left, right) = (Matrix::rows(a, width), Matrix::rows(b, width).transposed());
    product([rows, count, width], logits, false, left, right);
    logits.iter_mut().for_each(|logit| *logit *= scale);
}

/// As [`log_sum_exp`], of the columns that start at `first`, at most [`BLOCK`] of them.
fn log_sums_of_columns(logits: &[f32], count: usize, first: usize) -> Vec<LogSum> {
    let last = (first + BLOCK).min(count);
    let (mut largest, mut sums) = ([f32::NEG_INFINITY; BLOCK], [0f32; BLOCK]);
    for row in logits.chunks_exact(count) {
        for (largest, value) in largest.iter_mut().zip(&row[first..last]) {
            *largest = largest.max(*value);
        }
    }
    for row in logits.chunks_exact(count) {
        for ((sum, largest), value) in sums.iter_mut().zip(&largest).zip(&row[first..last]) {
            *sum += exp(value - largest);
        }
    }
    largest.into_iter().zip(sums.map(f32::ln)).take(last - first).collect()
}

impl Kept {
    fn new(a: Unit, b: Unit, width: usize, scale: f32, symmetric: bool) -> Self {
        let count = a.inverse_norms.len();
        let logits = written(count * count, |logits| {
            logits
                .par_chunks_mut(BLOCK * count)
                .zip(a.values.par_chunks(BLOCK * width))
                .for_each(|(logits, a)| logits_of_rows(logits, a, &b.values, width, scale));
        });
        let own = (0..count).map(|index| logits[index * count + index]).collect();
        let by_row = logits.par_chunks(count).map(log_sum_exp).collect();
        let blocks = if symmetric { count.div_ceil(BLOCK) } else { 0 };
        let by_column = (0..blocks)
            .into_par_iter()
            .flat_map_iter(|block| log_sums_of_columns(&logits, count, block * BLOCK))
            .collect();
        Self { a, b, scale, own, by_row, by_column }
    }

    /// Mean over the directions of the mean cross-entropy.
    fn loss(&self) -> f32 {
        let mean = |sums: &[LogSum]| {
            let losses = sums
                .iter()
                .zip(&self.own)
                .map(|((largest, log_sum), own)| f64::from(*largest) - f64::from(*own) + f64::from(*log_sum));
            losses.sum::<f64>() / self.own.len() as f64
        };
        let by_row = mean(&self.by_row);
        let loss = if self.by_column.is_empty() { by_row } else { 0.5 * (by_row + mean(&self.by_column)) };
        loss as f32
    }

    /// Turns the logits of the row at `index` into `weight` · (softmax over the row + softmax over the column − 1
    /// each at its own partner); returns their part of the gradient of the logit scale.
    fn slope_of_row(&self, index: usize, row: &mut [f32], weight: f32) -> f64 {
        let ((largest, log_sum), own) = (self.by_row[index], self.own[index]);
        // Σ p·l − l_own = Σ p·(l − l_own), without the cancellation. Lanes that vectorise, in a fixed order.
        let mut lanes = [0f32; 16];
        if self.by_column.is_empty() {
            for row in row.chunks_mut(16) {
                for (lane, logit) in lanes.iter_mut().zip(row) {
                    let p = exp(*logit - largest - log_sum);
                    *lane += p * (*logit - own);
                    *logit = p * weight;
                }
            }
            row[index] -= weight;
        } else {
            let columns = self.by_column.chunks(16).zip(self.own.chunks(16));
            for (row, (sums, owns)) in row.chunks_mut(16).zip(columns) {
                for (((lane, logit), sum), own_of_column) in lanes.iter_mut().zip(row).zip(sums).zip(owns) {
                    let p = exp(*logit - largest - log_sum);
                    let q = exp(*logit - sum.0 - sum.1);
                    *lane += p * (*logit - own) + q * (*logit - own_of_column);
                    *logit = (p + q) * weight;
                }
            }
            row[index] -= 2.0 * weight;
        }
        lanes.iter().map(|lane| f64::from(*lane)).sum::<f64>() * f64::from(weight)
    }

    /// Gradients of both features and of the logit scale, for a gradient of the loss.
    fn backward(&self, width: usize, gradient: f32) -> (Vec<f32>, Vec<f32>, f32) {
        let count = self.own.len();
        let directions = if self.by_column.is_empty() { 1.0 } else { 2.0 };
        let weight = gradient / (directions * count as f32);
        let (a, b) = (&self.a.values, &self.b.values);
        let mut parts = vec![0f64; count.div_ceil(BLOCK)];
        let mut da = Vec::new();
        let slope = written(count * count, |slope| {
            da = written(a.len(), |da| {
                slope
                    .par_chunks_mut(BLOCK * count)
                    .zip(a.par_chunks(BLOCK * width))
                    .zip(da.par_chunks_mut(BLOCK * width))
                    .zip(&mut parts)
                    .enumerate()
                    .for_each(|(block, (((slope, a), da), part))| {
                        logits_of_rows(slope, a, b, width, self.scale);
                        for (row, slope) in slope.chunks_exact_mut(count).enumerate() {
                            *part += self.slope_of_row(block * BLOCK + row, slope, weight);
                            slope.iter_mut().for_each(|value| *value *= self.scale);
                        }
                        let sizes = [a.len() / width, width, count];
                        product(sizes, da, false, Matrix::rows(slope, count), Matrix::rows(b, width));
                    });
            });
        });
        let db = written(b.len(), |db| {
            db.par_chunks_mut(BLOCK * width).enumerate().for_each(|(block, db)| {
                let columns = Matrix { values: &slope[block * BLOCK..], row_stride: 1, column_stride: count };
                let sizes = [db.len() / width, width, count];
                product(sizes, db, false, columns, Matrix::rows(a, width));
            });
        });
        drop(slope);
        (self.a.backward(da, width), self.b.backward(db, width), parts.iter().sum::<f64>() as f32)
    }
}

impl Operation<3> for Contrastive {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, [a, b, logit_scale]: [Argument<'_>; 3]) -> Result<(Vec<f32>, Shape)> {
        let width = a.dims()[1];
        let (a, b) = (Unit::of(a.values()?, width), Unit::of(b.values()?, width));
        let scale = f64::from(logit_scale.values()?[0]).exp() as f32;
        let kept = Kept::new(a, b, width, scale, self.symmetric);
        let loss = kept.loss();
        let _ = self.kept.set(kept);
        Ok((vec![loss], Shape::from(())))
    }

    fn backward(
        &self,
        [a, b, scale]: [&Tensor; 3],
        _loss: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let Some(kept) = self.kept.get() else { bail!("{}: backward without forward", self.name) };
        let (da, db, ds) = kept.backward(a.dims()[1], grad.to_scalar::<f32>()?);
        let wanted = |x: &Tensor, gradient: Vec<f32>| {
            if wants_gradient(x) { gradient_of(x, gradient) } else { Ok(None) }
        };
        Ok([wanted(a, da)?, wanted(b, db)?, wanted(scale, vec![ds])?])
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn the_composition_is_the_same_loss() -> Result<()> {
        let value = |at: u32| ((at * 37 % 101) as f32 / 50.0 - 1.0).sin();
        let matrix = |start: u32| {
            let values: Vec<f32> = (start..start + 7 * 5).map(value).collect();
            Var::from_tensor(&Tensor::from_vec(values, (7, 5), &Device::Cpu)?)
        };
        let vars = [matrix(0)?, matrix(40)?, Var::new(2.5f32, &Device::Cpu)?];
        for symmetric in [true, false] {
            let [a, b, scale] = &vars;
            let found = composed(symmetric, a, b, scale)?;
            let expected = contrastive("info_nce", symmetric, a, b, scale)?;
            let far = |a: &Tensor, b: &Tensor| (a - b)?.abs()?.flatten_all()?.max(0)?.to_scalar::<f32>();
            assert!(far(&found, &expected)? < 1e-5);
            let (found, expected) = (found.backward()?, expected.backward()?);
            for var in &vars {
                let of = |gradients: &candle_core::backprop::GradStore| gradients.get(var).cloned();
                let (Some(found), Some(expected)) = (of(&found), of(&expected)) else { bail!("no gradient") };
                assert!(far(&found, &expected)? < 1e-5);
            }
        }
        Ok(())
    }
}

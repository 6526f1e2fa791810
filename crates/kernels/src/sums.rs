//! Sums that several operations share: of two tensors, and of columns in parts that are added in order.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::parallel::{Values, sum_over_chunks, written};

/// Fewest rows of a partial sum.
const ROWS: usize = 256;
/// Partial sums of a weight gradient: bounded in number, and in memory for large weights.
const MOST_PARTS: usize = 8;
const MOST_PARTIAL_VALUES: usize = 16 << 20;
/// Values handled by one task.
const CHUNK: usize = 16 << 10;

/// Applies `f` to pairs of values, in parallel.
pub(crate) fn zip_map(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32 + Sync) -> Vec<f32> {
    assert_eq!(a.len(), b.len(), "operands of one length");
    written(a.len(), |output| {
        output.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK))).for_each(
            |(output, (a, b))| {
                for ((output, a), b) in output.iter_mut().zip(a).zip(b) {
                    *output = f(*a, *b);
                }
            },
        );
    })
}

/// `a + b` without history.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (&a.contiguous()?, &b.contiguous()?);
    #[cfg(feature = "cuda")]
    if a.device().is_cuda() {
        let [a, b] = cuda::Input::each("add", [a, b])?;
        return Ok(cuda::tensor(cuda::add(&a, &b)?));
    }
    let [left, right] = Values::each("add", [a, b])?;
    let total = zip_map(&left, &right, |a, b| a + b);
    Tensor::from_vec(total, a.dims(), a.device())
}

/// How many partial sums a gradient of `width` values over `rows` rows is made of.
pub(crate) fn parts(rows: usize, width: usize) -> usize {
    (MOST_PARTIAL_VALUES / width.max(1)).clamp(1, MOST_PARTS).min(rows.div_ceil(ROWS)).max(1)
}

/// Gradient of a bias: column sums of `dy[r, O]`.
pub(crate) fn column_sums(dy: &[f32], columns: usize) -> Vec<f32> {
    let rows = dy.len() / columns;
    let chunks = parts(rows, columns);
    let rows_per_chunk = rows.div_ceil(chunks);
    sum_over_chunks(chunks, columns, |chunk, sum| {
        let (first, last) = ((chunk * rows_per_chunk).min(rows), ((chunk + 1) * rows_per_chunk).min(rows));
        for row in dy[first * columns..last * columns].chunks_exact(columns) {
            for (total, value) in sum.iter_mut().zip(row) {
                *total += value;
            }
        }
    })
}

/// Whether a gradient is wanted for this tensor: false for pixels and other constants.
pub(crate) fn wants_gradient(tensor: &Tensor) -> bool {
    tensor.track_op()
}

//! Slices of tensors, and how work is shared out: by chunks that depend on shapes alone.

use std::cell::RefCell;

use candle_core::{CpuStorage, Error, Result, Storage, StorageRef, Tensor, bail};
use gemm::Parallelism;
use rayon::prelude::*;

/// Applies `f` to each item, up to the first error.
pub(crate) fn each<T, U, const N: usize>(items: [T; N], f: impl FnMut(T) -> Result<U>) -> Result<[U; N]> {
    let results = items.into_iter().map(f).collect::<Result<Vec<U>>>()?;
    results.try_into().map_err(|_| Error::Msg(format!("not {N} results")))
}

/// The f32 values of a contiguous tensor on the CPU, as long as the guard lives.
pub(crate) struct Values<'a> {
    storage: StorageRef<'a>,
    start: usize,
    end: usize,
}

impl<'a> Values<'a> {
    /// The values of `tensor`; an error where it is not contiguous f32 on the CPU.
    pub(crate) fn of(operation: &str, tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        let (start, end) = match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(_)), Some(range)) => range,
            _ => bail!("{operation}: expected contiguous f32 values on the CPU, found {tensor:?}"),
        };
        Ok(Self { storage, start, end })
    }

    /// Those of each tensor.
    pub(crate) fn each<const N: usize>(operation: &str, tensors: [&'a Tensor; N]) -> Result<[Self; N]> {
        each(tensors, |tensor| Self::of(operation, tensor))
    }
}

impl std::ops::Deref for Values<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.start..self.end],
            _ => &[],
        }
    }
}

/// A matrix in memory: values and the strides of rows and columns.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) row_stride: usize,
    pub(crate) column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows one after the other, `columns` values each.
    pub(crate) fn rows(values: &'a [f32], columns: usize) -> Self {
        Self { values, row_stride: columns, column_stride: 1 }
    }

    /// The transpose.
    pub(crate) fn transposed(self) -> Self {
        Self { values: self.values, row_stride: self.column_stride, column_stride: self.row_stride }
    }

    fn holds(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.values.len()
    }
}

/// `output[m, n] = left[m, k] · right[k, n]`, or `+=` where `accumulate`; on the calling thread alone.
pub(crate) fn product(
    [m, n, k]: [usize; 3],
    output: &mut [f32],
    accumulate: bool,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    assert!(output.len() >= m * n && left.holds(m, k) && right.holds(k, n), "a matrix is too short");
    // SAFETY: the assertion above keeps every access of the m×n×k product inside the three slices, and `output`
    // is borrowed exclusively. Strides fit isize because slices do.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            output.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0f32,
            1.0f32,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// `count` values that `fill` writes, every one of them; they are not cleared first, which costs as much as a pass
/// over them.
///
/// What `fill` does not write holds arbitrary numbers, so each use must cover the slice: each here is one product
/// that overwrites, or one loop over all of it.
pub(crate) fn written(count: usize, fill: impl FnOnce(&mut [f32])) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(count);
    // SAFETY: the capacity is there, every bit pattern is an f32, and `fill` overwrites all values before any is
    // read (see above).
    unsafe {
        fill(std::slice::from_raw_parts_mut(values.as_mut_ptr(), count));
        values.set_len(count);
    }
    values
}

thread_local! {
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Runs `work` on `count` values of this thread's own, kept from call to call; they hold arbitrary numbers.
pub(crate) fn with_scratch<R>(count: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken away meanwhile: a task that waits may run another one on this thread.
    let mut scratch = SCRATCH.take();
    if scratch.len() < count {
        scratch = vec![0.0; count];
    }
    let result = work(&mut scratch[..count]);
    SCRATCH.set(scratch);
    result
}

/// Sums of `width` values over chunks: `fill(chunk, partial)` adds a chunk's share to zeroed values, and the
/// partial sums are added in the order of the chunks.
pub(crate) fn sum_over_chunks(
    chunks: usize,
    width: usize,
    fill: impl Fn(usize, &mut [f32]) + Sync,
) -> Vec<f32> {
    let mut partial = vec![0f32; chunks * width];
    if width > 0 {
        partial.par_chunks_mut(width).enumerate().for_each(|(chunk, part)| fill(chunk, part));
    }
    let (sum, rest) = partial.split_at_mut(width.min(chunks * width));
    for part in rest.chunks_exact(width.max(1)) {
        for (total, value) in sum.iter_mut().zip(part) {
            *total += value;
        }
    }
    partial.truncate(width);
    partial
}

/// A width of at least 64 values that holds whole rows of `columns`: short rows are handled several at a time,
/// so that inner loops are long enough to vectorise.
pub(crate) fn tile_width(columns: usize) -> usize {
    columns * (64 / columns.max(1)).max(1)
}

/// `values` repeated until they fill a tile.
pub(crate) fn tiled(values: &[f32]) -> Vec<f32> {
    let width = tile_width(values.len());
    values.iter().copied().cycle().take(width).collect()
}

/// The larger of `x` and `floor`; a lost number (NaN) stays one, unlike with `f32::max`, so that it reaches the loss.
#[inline(always)]
pub(crate) fn at_least(x: f32, floor: f32) -> f32 {
    if floor > x { floor } else { x }
}

/// e^x to about 2 ulp, in arithmetic that vectorises and is the same on every machine. Flushes to 0 below -87
/// and saturates above 88.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to an integer kept in the low bits
    let x = x.clamp(-87.3, 88.3);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    // ln 2 in two parts (Cody and Waite), so that n·ln 2 is subtracted without loss.
    let r = (x - n * 0.693_359_4) - n * -2.121_944_4e-4;
    // Polynomial of Cephes' expf on [-ln2/2, ln2/2].
    let p = 1.987_569_1e-4 * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let value = p * r * r + r + 1.0;
    value * f32::from_bits(shifted.to_bits().wrapping_add(127) << 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_close() {
        for step in -8700..=8800 {
            let x = step as f32 / 100.0;
            let (found, expected) = (f64::from(exp(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 3e-7, "exp({x}) = {found}, expected {expected}");
        }
        assert!(exp(-1e30) < 1e-37 && exp(1e30).is_finite());
    }

    #[test]
    fn products_take_strides() {
        let (left, right) = ([1., 2., 3., 4., 5., 6.], [1., 0., 2., 1., 0., 3.]);
        let mut output = [0f32; 4];
        product([2, 2, 3], &mut output, false, Matrix::rows(&left, 3), Matrix::rows(&right, 2));
        assert_eq!(output, [5., 11., 14., 23.]);
        product([2, 2, 3], &mut output, true, Matrix::rows(&left, 2).transposed(), Matrix::rows(&right, 2));
        assert_eq!(output, [5. + 7., 11. + 18., 14. + 10., 23. + 22.]);
    }
}

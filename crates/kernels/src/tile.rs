//! Products of one register tile, the innermost loop of convolution: `out[i, j] = Σ left[i, k] · right[k, j]` for at
//! most 14 rows and 32 columns, all of whose sums stay in registers.
//!
//! `left` is read where it lies, one value at a time, so that patches of an image need not be copied out of it: a
//! sum runs over segments (lines of a patch), each from its own start. Every sum is one chain of fused
//! multiplications and additions in the order of `k`, whatever the tile, so that the result depends neither on how
//! a matrix is cut into tiles nor on the width of the machine's vectors.

use std::sync::LazyLock;

/// How a tile lies in memory. All strides in values.
#[derive(Clone, Copy)]
pub(crate) struct Job {
    /// Products per sum and segment.
    pub(crate) depth: usize,
    /// From a row of `left` to the next.
    pub(crate) left_row: usize,
    /// From a column of `left` to the next.
    pub(crate) left_step: usize,
    /// From a row of `right` to the next, also between segments.
    pub(crate) right_step: usize,
    /// From a row of the result to the next.
    pub(crate) out_row: usize,
    /// Whether the result is added to what is there.
    pub(crate) accumulate: bool,
}

/// Arguments: starts of the segments, left, right, out, the job.
type Kernel = unsafe fn(&[usize], *const f32, *const f32, *mut f32, &Job);

/// Most rows that any kernel takes.
const MOST_ROWS: usize = 14;

/// A tile of a fixed width, for 1 row and up.
struct Width {
    columns: usize,
    kernels: &'static [Kernel],
}

/// The tiles of this machine, widest first.
static WIDTHS: LazyLock<Vec<Width>> = LazyLock::new(widths);

macro_rules! kernel {
    ($name:ident, $feature:literal, $lanes:literal, $zero:path, $load:path, $store:path, $splat:path, $fma:path, $add:path) => {
        /// # Safety
        /// The processor has the feature, and [`multiply`] has checked every access.
        #[target_feature(enable = $feature)]
        unsafe fn $name<const ROWS: usize, const VECTORS: usize>(
            segments: &[usize],
            left: *const f32,
            mut right: *const f32,
            out: *mut f32,
            job: &Job,
        ) {
            let mut sums = [[$zero(); VECTORS]; ROWS];
            // SAFETY: see above.
            unsafe {
                for start in segments {
                    let mut left = left.add(*start);
                    for _ in 0..job.depth {
                        let mut columns = [$zero(); VECTORS];
                        for (vector, columns) in columns.iter_mut().enumerate() {
                            *columns = $load(right.add(vector * $lanes));
                        }
                        for (row, sums) in sums.iter_mut().enumerate() {
                            let value = $splat(*left.add(row * job.left_row));
                            for (sum, columns) in sums.iter_mut().zip(columns) {
                                *sum = $fma(value, columns, *sum);
                            }
                        }
                        left = left.wrapping_add(job.left_step);
                        right = right.wrapping_add(job.right_step);
                    }
                }
                for (row, sums) in sums.into_iter().enumerate() {
                    for (vector, sum) in sums.into_iter().enumerate() {
                        let place = out.add(row * job.out_row + vector * $lanes);
                        $store(place, if job.accumulate { $add(sum, $load(place)) } else { sum });
                    }
                }
            }
        }
    };
}

macro_rules! rows {
    ($name:ident, $vectors:literal: $($rows:literal)*) => { &[$($name::<$rows, $vectors>),*] };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Job, Width};
    use std::arch::x86_64::{
        _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps, _mm256_storeu_ps,
        _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_set1_ps, _mm512_setzero_ps, _mm512_storeu_ps,
    };

    kernel!(
        of_16,
        "avx512f",
        16,
        _mm512_setzero_ps,
        _mm512_loadu_ps,
        _mm512_storeu_ps,
        _mm512_set1_ps,
        _mm512_fmadd_ps,
        _mm512_add_ps
    );
    kernel!(
        of_8,
        "avx2,fma",
        8,
        _mm256_setzero_ps,
        _mm256_loadu_ps,
        _mm256_storeu_ps,
        _mm256_set1_ps,
        _mm256_fmadd_ps,
        _mm256_add_ps
    );

    /// 32 registers of 16 values: 14 rows of two, and two of `right`.
    pub(super) fn avx512() -> Vec<Width> {
        vec![
            Width { columns: 32, kernels: rows!(of_16, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14) },
            Width { columns: 16, kernels: rows!(of_16, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14) },
            Width { columns: 8, kernels: rows!(of_8, 1: 1 2 3 4 5 6 7 8 9 10 11 12) },
        ]
    }

    /// 16 registers of 8 values.
    pub(super) fn avx2() -> Vec<Width> {
        vec![
            Width { columns: 16, kernels: rows!(of_8, 2: 1 2 3 4 5 6) },
            Width { columns: 8, kernels: rows!(of_8, 1: 1 2 3 4 5 6 7 8 9 10 11 12) },
        ]
    }
}

/// Plain arrays, for the compiler to vectorise.
mod plain {
    use super::{Job, Width};

    type Eight = [f32; 8];

    fn zero() -> Eight {
        [0.0; 8]
    }

    fn splat(value: f32) -> Eight {
        [value; 8]
    }

    /// # Safety
    /// Eight values can be read there.
    unsafe fn load(from: *const f32) -> Eight {
        // SAFETY: the caller's; an array of f32 has the alignment of one.
        unsafe { from.cast::<Eight>().read() }
    }

    /// # Safety
    /// Eight values can be written there.
    unsafe fn store(to: *mut f32, values: Eight) {
        // SAFETY: as above.
        unsafe { to.cast::<Eight>().write(values) }
    }

    fn multiply_add(a: Eight, b: Eight, c: Eight) -> Eight {
        std::array::from_fn(|lane| {
            // Without the instruction `mul_add` is a slow call.
            if cfg!(target_arch = "aarch64") {
                a[lane].mul_add(b[lane], c[lane])
            } else {
                a[lane] * b[lane] + c[lane]
            }
        })
    }

    fn add(a: Eight, b: Eight) -> Eight {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }

    #[cfg(target_arch = "aarch64")]
    kernel!(of_8, "neon", 8, zero, load, store, splat, multiply_add, add);
    #[cfg(target_arch = "x86_64")]
    kernel!(of_8, "sse2", 8, zero, load, store, splat, multiply_add, add);

    pub(super) fn any() -> Vec<Width> {
        vec![Width { columns: 8, kernels: rows!(of_8, 1: 1 2 3 4 5 6) }]
    }
}

fn widths() -> Vec<Width> {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f") {
            return x86::avx512();
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return x86::avx2();
        }
    }
    plain::any()
}

/// Columns `start..start + used` of a matrix, computed by tiles of `width` columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panel {
    pub(crate) start: usize,
    pub(crate) used: usize,
    pub(crate) width: usize,
}

/// Cuts columns into panels of the widths that this machine has, the widest first.
pub(crate) fn panels(columns: usize) -> Vec<Panel> {
    let mut panels = Vec::new();
    let mut start = 0;
    while start < columns {
        let left = columns - start;
        // The narrowest that holds the rest, or the widest.
        let fitting = WIDTHS.iter().rev().find(|width| width.columns >= left).unwrap_or(&WIDTHS[0]);
        // A quarter of a tile wasted is cheaper than two tiles.
        let full = WIDTHS.iter().find(|width| width.columns <= left);
        let width = match full {
            Some(full) if left * 4 < fitting.columns * 3 => full.columns,
            _ => fitting.columns,
        };
        panels.push(Panel { start, used: width.min(left), width });
        start += width;
    }
    panels
}

/// Cuts `count` rows into tiles of about one size, no larger than a tile of `width` columns can be: `(start, rows)`.
pub(crate) fn tiles(count: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
    let most = kernels(width).len();
    let tiles = count.div_ceil(most).max(1);
    (0..tiles).map(move |tile| {
        let (start, end) = (tile * count / tiles, (tile + 1) * count / tiles);
        (start, end - start)
    })
}

fn kernels(width: usize) -> &'static [Kernel] {
    WIDTHS.iter().find(|known| known.columns == width).map_or(&[], |known| known.kernels)
}

/// `out[rows, panel.used] = left · right`, or `+=`.
///
/// The value of row `i` and column `k` of segment `s` of `left` is `left[segments[s] + i · left_row + k ·
/// left_step]`; row `s · depth + k` of `right` starts at that many times `right_step` and has `panel.width` values.
/// Panics where an access would leave a slice, or the machine has no such tile.
pub(crate) fn multiply(
    (rows, panel): (usize, Panel),
    segments: &[usize],
    left: &[f32],
    right: &[f32],
    out: &mut [f32],
    job: &Job,
) {
    let Some(kernel) = kernels(panel.width).get(rows.wrapping_sub(1)) else {
        panic!("no tile of {rows} rows and {} columns", panel.width)
    };
    if job.depth == 0 || segments.is_empty() {
        return;
    }
    let last = segments.iter().max().map_or(0, |start| start + (rows - 1) * job.left_row);
    assert!(last + (job.depth - 1) * job.left_step < left.len(), "a tile reads past the left matrix");
    let right_rows = segments.len() * job.depth;
    assert!(
        (right_rows - 1) * job.right_step + panel.width <= right.len(),
        "a tile reads past the right matrix"
    );
    assert!((rows - 1) * job.out_row + panel.used <= out.len(), "a tile writes past its result");
    if panel.used == panel.width {
        // SAFETY: the assertions bound every access; the kernel is one that the processor can run.
        unsafe { kernel(segments, left.as_ptr(), right.as_ptr(), out.as_mut_ptr(), job) };
        return;
    }
    let mut whole = [0f32; MOST_ROWS * 32];
    let inner = Job { out_row: panel.width, accumulate: false, ..*job };
    // SAFETY: as above, and no tile is larger than the buffer.
    unsafe { kernel(segments, left.as_ptr(), right.as_ptr(), whole.as_mut_ptr(), &inner) };
    for (row, whole) in whole.chunks_exact(panel.width).take(rows).enumerate() {
        let out = &mut out[row * job.out_row..][..panel.used];
        for (out, value) in out.iter_mut().zip(whole) {
            *out = if job.accumulate { *out + value } else { *value };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sets() -> Vec<Vec<Width>> {
        let mut sets = vec![plain::any()];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                sets.push(x86::avx2());
            }
            if is_x86_feature_detected!("avx512f") {
                sets.push(x86::avx512());
            }
        }
        sets
    }

    /// Small integers, so that every order of additions gives the same sum.
    #[test]
    fn every_tile_multiplies() {
        let values = |count: usize, period: usize| -> Vec<f32> {
            (0..count).map(|index| (index * 7 % period) as f32 - 3.0).collect()
        };
        let (left, right) = (values(900, 11), values(900, 13));
        for Width { columns, kernels } in sets().into_iter().flatten() {
            for (index, kernel) in kernels.iter().enumerate() {
                let (rows, segments) = (index + 1, [5usize, 300]);
                for (left_row, left_step, accumulate) in [(17, 1, false), (1, 19, true)] {
                    let job = Job {
                        depth: 7,
                        left_row,
                        left_step,
                        right_step: columns + 3,
                        out_row: columns + 1,
                        accumulate,
                    };
                    let mut out = vec![2f32; rows * job.out_row];
                    // SAFETY: 900 values hold 300 + 13 · 17 + 6 · 19, and 14 rows of 35.
                    unsafe { kernel(&segments, left.as_ptr(), right.as_ptr(), out.as_mut_ptr(), &job) };
                    for row in 0..rows {
                        for column in 0..columns {
                            let mut expected = if accumulate { 2.0 } else { 0.0 };
                            for (segment, start) in segments.iter().enumerate() {
                                for k in 0..job.depth {
                                    expected += left[start + row * left_row + k * left_step]
                                        * right[(segment * job.depth + k) * job.right_step + column];
                                }
                            }
                            assert_eq!(
                                out[row * job.out_row + column],
                                expected,
                                "{rows}×{columns} at {row}, {column}"
                            );
                        }
                        assert_eq!(
                            out[row * job.out_row + columns],
                            2.0,
                            "nothing is written beside the tile"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn panels_and_tiles_cover_once() {
        for columns in 1..200 {
            let mut at = 0;
            for panel in panels(columns) {
                assert!(panel.start == at && panel.used > 0 && panel.used <= panel.width);
                at += panel.used;
                let mut row = 0;
                for (start, rows) in tiles(columns, panel.width) {
                    assert!(start == row && rows > 0 && rows <= kernels(panel.width).len());
                    row += rows;
                }
                assert_eq!(row, columns);
            }
            assert_eq!(at, columns);
        }
    }
}

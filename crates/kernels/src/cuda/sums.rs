//! Sums over rows, in a fixed order: parts of rows by tiles, then the parts one after the other.

use candle_core::Result;
use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView};

use super::{Element, Input, Made, by_columns, by_element, by_tile, calls, made, room};

/// Rows of one part at least: enough that joining the parts costs little.
const FEWEST_ROWS: usize = 128;
/// Parts at most.
const MOST_PARTS: usize = 512;

/// How rows are shared out; depends on their number alone.
#[derive(Clone, Copy)]
pub(super) struct Parts {
    pub(super) count: usize,
    pub(super) rows: usize,
}

impl Parts {
    pub(super) fn of(rows: usize) -> Self {
        let each = rows.div_ceil(MOST_PARTS).max(FEWEST_ROWS);
        Self { count: rows.div_ceil(each).max(1), rows: each }
    }
}

/// `partial` `[parts, columns]` to `[columns]`.
pub(super) fn joined<T: Element>(
    device: &CudaDevice,
    partial: &CudaSlice<f32>,
    parts: Parts,
    columns: usize,
) -> Result<CudaSlice<f32>> {
    let mut sums = room::<f32>(device, columns)?;
    let (from, mut to) = (partial.as_view(), sums.as_view_mut());
    calls::join_sums::<T>(device, by_columns(columns), &from, &mut to, parts.count, columns)?;
    Ok(sums)
}

/// Column sums of `x` `[rows, columns]`.
pub(super) fn of_columns<T: Element>(
    device: &CudaDevice,
    x: &CudaView<'_, T>,
    rows: usize,
    columns: usize,
) -> Result<CudaSlice<f32>> {
    let parts = Parts::of(rows);
    let mut partial = room::<f32>(device, parts.count * columns)?;
    let shape = by_tile::<T>(columns, parts.count);
    calls::column_sums::<T>(device, shape, x, &mut partial.as_view_mut(), rows, columns, parts.rows)?;
    if parts.count == 1 {
        return Ok(partial);
    }
    joined::<T>(device, &partial, parts, columns)
}

/// Column sums of `x`, taken as `[.., columns]`: f32 `[columns]`.
pub(crate) fn column_sums(x: &Input<'_>, columns: usize) -> Result<Made> {
    by_element!(x, column_sums_of(x, columns))
}

fn column_sums_of<T: Element>(x: &Input<'_>, columns: usize) -> Result<Made> {
    let device = x.device()?;
    let sums = of_columns::<T>(device, &x.view()?, x.count() / columns, columns)?;
    Ok(made(device, sums, columns))
}

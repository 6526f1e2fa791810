//! Rows of a table by index.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{Result, Shape, bail};

use super::room;
use super::{Element, Input, Made, TILE_COLUMNS, TILE_ROWS, by_element, calls, failed, grid, made, over};

/// Keys that one block sorts, as in `embedding.cu`.
const SORT_BLOCK: usize = 1024;

/// Rows of `table` (its leading dimensions taken as one) by u32 `ids`. An id outside the table gives NaN.
pub(crate) fn embedding(table: &Input<'_>, ids: &Input<'_>) -> Result<Made> {
    by_element!(table, embedding_of(table, ids))
}

fn embedding_of<T: Element>(table: &Input<'_>, ids: &Input<'_>) -> Result<Made> {
    let (device, width) = (table.device()?, table.width());
    let (rows, count) = (table.count() / width, ids.count() * width);
    let mut y = room::<T>(device, count)?;
    let (from, ids_view, mut to) = (table.view()?, ids.view()?, y.as_view_mut());
    calls::embedding_forward::<T>(device, over(count), &from, &ids_view, &mut to, width, rows, count)?;
    let dims: Vec<usize> = ids.dims().iter().copied().chain([width]).collect();
    Ok(made(device, y, Shape::from(dims)))
}

/// Gradient of [`embedding`] in a table of `shape`: rows of one index are added in the order of their positions.
pub(crate) fn embedding_backward(shape: &Shape, ids: &Input<'_>, dy: &Input<'_>) -> Result<Made> {
    by_element!(dy, embedding_backward_of(shape, ids, dy))
}

fn embedding_backward_of<T: Element>(shape: &Shape, ids: &Input<'_>, dy: &Input<'_>) -> Result<Made> {
    let (device, width, count) = (dy.device()?, dy.width(), ids.count());
    let keys = sorted::<T>(device, ids)?;
    let mut gradient: CudaSlice<T> = device.alloc_zeros(shape.elem_count())?;
    let blocks = (count, width.div_ceil(TILE_COLUMNS));
    let (from, keys, mut to) = (dy.view()?, keys.as_view(), gradient.as_view_mut());
    let rows = shape.elem_count() / width;
    let tiles = grid(blocks, (TILE_COLUMNS, TILE_ROWS));
    calls::embedding_backward::<T>(device, tiles, &from, &keys, &mut to, count, width, rows)?;
    Ok(made(device, gradient, shape))
}

/// Indices and their positions as one number each, `id · 2³² + position`, sorted.
fn sorted<T: Element>(device: &CudaDevice, ids: &Input<'_>) -> Result<CudaSlice<u64>> {
    let count = ids.count();
    let padded = count.next_power_of_two().max(2);
    if padded > 1 << 30 {
        bail!("embedding: {count} indices are too many on CUDA");
    }
    // SAFETY: every bit pattern is a number, and the next kernel writes all of them.
    let mut keys = unsafe { device.alloc::<u64>(padded) }.map_err(|error| failed("embedding", &error))?;
    let mut keys_view = keys.as_view_mut();
    calls::embedding_keys::<T>(device, over(padded), &ids.view()?, &mut keys_view, count, padded)?;
    let block = padded.min(SORT_BLOCK);
    let by_block = grid((padded / block, 1), (block / 2, 1));
    calls::sort_block::<T>(device, by_block, &mut keys_view, 2, block)?;
    let mut length = 2 * block;
    while length <= padded {
        let mut distance = length / 2;
        while distance >= block {
            calls::sort_step::<T>(device, over(padded / 2), &mut keys_view, length, distance, padded / 2)?;
            distance /= 2;
        }
        calls::sort_block::<T>(device, by_block, &mut keys_view, length, length)?;
        length *= 2;
    }
    Ok(keys)
}

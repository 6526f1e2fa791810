//! What batch and layer normalisation share.

use candle_core::{Result, Tensor, bail};

use crate::operation::sizes;
use crate::parallel::tile_width;

/// Values handled by one task: 64 KiB, so that a second pass over them finds them in the cache.
const CHUNK_VALUES: usize = 16 << 10;

/// An error that names the shapes where scale and shift do not fit `x` or there are no rows.
pub(crate) fn check(operation: &str, x: &Tensor, gamma: &Tensor, beta: &Tensor) -> Result<()> {
    let [channels] = sizes(gamma);
    if x.dims().last() != Some(&channels) || beta.dims() != [channels] || x.elem_count() == 0 {
        bail!(
            "{operation}: expected x [.., C], gamma [C] and beta [C], not empty, found {:?}, {:?} and {:?}",
            x.dims(),
            gamma.dims(),
            beta.dims()
        );
    }
    Ok(())
}

/// Whole rows per task.
pub(crate) fn rows_per_chunk(columns: usize) -> usize {
    (CHUNK_VALUES / tile_width(columns)).max(1) * (tile_width(columns) / columns)
}

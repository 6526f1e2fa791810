//! How large an image may be.

use candle_core::Result;

use crate::BadSample;

/// Pixels of the largest image that is read: where Pillow's `open` raises `DecompressionBombError`, at twice its
/// `MAX_IMAGE_PIXELS`.
const MOST_PIXELS: usize = 2 * (1024 * 1024 * 1024 / 4 / 3);

pub(super) fn check_size(width: usize, height: usize) -> Result<()> {
    if width.saturating_mul(height) > MOST_PIXELS {
        return Err(BadSample::TooLarge
            .because(format!("{width}x{height} pixels, more than {MOST_PIXELS} as for Pillow")));
    }
    Ok(())
}

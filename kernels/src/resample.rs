//! Filters over 8-bit RGB images in Pillow's fixed-point arithmetic (`Resample.c`), and their transposition.

use crate::wide::wide;

/// Bits behind the point of a filter's weights, as in Pillow.
pub const PRECISION: u32 = 22;
/// Levels summed at a time, so that the sums stay in registers.
const BLOCK: usize = 64;
/// Pixels along each side of the squares that are transposed at a time.
const SQUARE: usize = 16;

/// The values that make one value, and their weights in units of 2^-22, which sum up to about 2^22.
pub struct Window {
    /// The first value.
    pub first: usize,
    /// Weights of this and the following values.
    pub weights: Vec<i32>,
}

wide! {
    /// One line of `target`: the weighted sum of lines of `source`, which are as long, from the first on, rounded and
    /// cut off to 8 bits.
    fn join_line(target: &mut [u8], source: &[u8], weights: &[i32]) {
        let stride = target.len();
        for (block, target) in target.chunks_mut(BLOCK).enumerate() {
            let mut sums = [1i32 << (PRECISION - 1); BLOCK];
            for (line, weight) in source.chunks_exact(stride).zip(weights) {
                let levels = &line[block * BLOCK..][..target.len()];
                if let Ok(levels) = <&[u8; BLOCK]>::try_from(levels) {
                    for (sum, level) in sums.iter_mut().zip(levels) {
                        *sum += weight * i32::from(*level);
                    }
                } else {
                    for (sum, level) in sums.iter_mut().zip(levels) {
                        *sum += weight * i32::from(*level);
                    }
                }
            }
            for (level, sum) in target.iter_mut().zip(&sums) {
                *level = (sum >> PRECISION).clamp(0, 255) as u8;
            }
        }
    }
}

/// Lines of `stride` levels, each the weighted sum of lines of `source`, one for each window.
///
/// Panics where a window reaches beyond `source`.
pub fn join_lines(source: &[u8], stride: usize, windows: &[Window]) -> Vec<u8> {
    let mut joined = vec![0; stride * windows.len()];
    for (target, window) in joined.chunks_exact_mut(stride.max(1)).zip(windows) {
        join_line(target, &source[window.first * stride..][..window.weights.len() * stride], &window.weights);
    }
    joined
}

/// The transpose `[width, height, 3]` of an image `[height, width, 3]` in lines of `width` pixels.
pub fn transpose(rgb: &[u8], width: usize) -> Vec<u8> {
    let height = rgb.len() / (3 * width.max(1));
    let mut transposed = vec![0; rgb.len()];
    for top in (0..height).step_by(SQUARE) {
        for left in (0..width).step_by(SQUARE) {
            for y in top..(top + SQUARE).min(height) {
                for x in left..(left + SQUARE).min(width) {
                    let (from, to) = ((y * width + x) * 3, (x * height + y) * 3);
                    transposed[to..to + 3].copy_from_slice(&rgb[from..from + 3]);
                }
            }
        }
    }
    transposed
}

//! Filters over 8-bit RGB images in Pillow's fixed-point arithmetic (`Resample.c`).

use crate::wide::wide;

/// Bits behind the point of a filter's weights, as in Pillow.
pub const PRECISION: u32 = 22;
/// Levels summed at a time, so that the sums stay in registers.
const BLOCK: usize = 64;
/// Lines whose columns are joined at a time, in the lanes of vectors.
const LANES: usize = 16;
/// Levels of one pixel of as many lines: red, then green, then blue.
type Pixels = [u8; 3 * LANES];

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

/// Pixels, each the weighted sum of pixels of the same line of `source`, `[height, width, 3]`, one for each window.
///
/// Panics where a window reaches beyond `width`.
pub fn join_columns(source: &[u8], width: usize, windows: &[Window]) -> Vec<u8> {
    let (stride, joined_stride) = (width * 3, windows.len() * 3);
    let mut joined = vec![0; source.len() / stride.max(1) * joined_stride];
    let left = windows.iter().map(|window| window.first).min().unwrap_or(0);
    let right = windows.iter().map(|window| window.first + window.weights.len()).max().unwrap_or(0);
    let (mut band, mut sums) = (vec![[0; 3 * LANES]; right - left], vec![[0; 3 * LANES]; windows.len()]);
    let bands = source.chunks(stride.max(1) * LANES).zip(joined.chunks_mut(joined_stride.max(1) * LANES));
    for (source, joined) in bands {
        gather(&mut band, source, stride, left * 3);
        join_pixels(&mut sums, &band, left, windows);
        scatter(&sums, joined, joined_stride);
    }
    joined
}

wide! {
    /// Pixels of up to 16 lines of `source`, from level `first` on, side by side.
    fn gather(band: &mut [Pixels], source: &[u8], stride: usize, first: usize) {
        let (levels, _) = band.as_flattened_mut().as_chunks_mut::<LANES>();
        let last = source.len() / stride - 1;
        let lines: [&[u8]; LANES] =
            std::array::from_fn(|line| &source[line.min(last) * stride + first..][..levels.len()]);
        let (blocks, rest) = levels.as_chunks_mut::<BLOCK>();
        for (block, levels) in blocks.iter_mut().enumerate() {
            // Four lines at a time: packed by arithmetic, which the compiler vectorises.
            let mut packed = [[0u32; BLOCK]; LANES / 4];
            for (packed, lines) in packed.iter_mut().zip(lines.as_chunks::<4>().0) {
                let line = |line: usize| lines[line][block * BLOCK..].first_chunk().unwrap_or(&[0; BLOCK]);
                let [first, second, third, fourth] = [line(0), line(1), line(2), line(3)];
                for (at, packed) in packed.iter_mut().enumerate() {
                    *packed = u32::from_le_bytes([first[at], second[at], third[at], fourth[at]]);
                }
            }
            for (at, levels) in levels.iter_mut().enumerate() {
                let (fours, _) = levels.as_chunks_mut();
                for (four, packed) in fours.iter_mut().zip(&packed) {
                    *four = packed[at].to_le_bytes();
                }
            }
        }
        let done = blocks.len() * BLOCK;
        for (at, levels) in rest.iter_mut().enumerate() {
            *levels = lines.map(|line| line[done + at]);
        }
    }

    /// One pixel of every line for each window.
    fn join_pixels(joined: &mut [Pixels], band: &[Pixels], left: usize, windows: &[Window]) {
        for (joined, window) in joined.iter_mut().zip(windows) {
            let mut sums = [1i32 << (PRECISION - 1); 3 * LANES];
            let pixels = &band[window.first - left..][..window.weights.len()];
            let (fours, rest) = pixels.as_chunks::<4>();
            let (four_weights, rest_weights) = window.weights.as_chunks::<4>();
            // Four at a time: the sums are kept in memory.
            for ([a, b, c, d], weights) in fours.iter().zip(four_weights) {
                for (at, sum) in sums.iter_mut().enumerate() {
                    let (a, b, c, d) = (i32::from(a[at]), i32::from(b[at]), i32::from(c[at]), i32::from(d[at]));
                    *sum += weights[0] * a + weights[1] * b + weights[2] * c + weights[3] * d;
                }
            }
            for (pixel, weight) in rest.iter().zip(rest_weights) {
                for (sum, level) in sums.iter_mut().zip(pixel) {
                    *sum += weight * i32::from(*level);
                }
            }
            for (level, sum) in joined.iter_mut().zip(&sums) {
                *level = (sum >> PRECISION).clamp(0, 255) as u8;
            }
        }
    }

    /// The lines of such pixels one after another, as many as `lines` takes.
    fn scatter(pixels: &[Pixels], lines: &mut [u8], stride: usize) {
        let (eights, rest) = pixels.as_flattened().as_chunks::<LANES>().0.as_chunks::<8>();
        for (block, levels) in eights.iter().enumerate() {
            let mut packed = [[0; 8]; LANES];
            for (line, packed) in packed.iter_mut().enumerate() {
                let level = |at: usize| u64::from(levels[at][line]) << (8 * at);
                let low = level(0) | level(1) | level(2) | level(3);
                *packed = (low | level(4) | level(5) | level(6) | level(7)).to_le_bytes();
            }
            for (line, packed) in lines.chunks_exact_mut(stride).zip(&packed) {
                line[block * 8..][..8].copy_from_slice(packed);
            }
        }
        for (at, levels) in rest.iter().enumerate() {
            for (line, level) in lines.chunks_exact_mut(stride).zip(levels) {
                line[eights.len() * 8 + at] = *level;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The value of one window, one product after another; its levels are `step` apart.
    fn joined(levels: &[u8], step: usize, window: &Window) -> u8 {
        let products = window.weights.iter().zip(levels[window.first * step..].iter().step_by(step));
        let sum: i64 = products.map(|(weight, level)| i64::from(*weight) * i64::from(*level)).sum();
        ((sum + (1 << (PRECISION - 1))) >> PRECISION).clamp(0, 255) as u8
    }

    #[test]
    fn lines_and_columns_are_weighted_sums() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        for (width, height) in [(1, 1), (1, 40), (40, 1), (7, 15), (16, 16), (17, 33), (100, 50), (257, 19)] {
            let rgb: Vec<u8> = (0..width * height * 3).map(|_| rng.random()).collect();
            let mut windows = |inputs: usize| -> Vec<Window> {
                let window = |_| {
                    let first = rng.random_range(0..inputs);
                    let count = rng.random_range(1..=(inputs - first).min(11));
                    let weights = (0..count).map(|_| rng.random_range(-300_000..1_000_000)).collect();
                    Window { first, weights }
                };
                (0..23).map(window).collect()
            };
            let (across, down) = (windows(width), windows(height));
            let lines = join_lines(&rgb, width * 3, &down);
            let columns = join_columns(&rgb, width, &across);
            for (at, level) in lines.iter().enumerate() {
                let (line, place) = (at / (width * 3), at % (width * 3));
                assert_eq!(*level, joined(&rgb[place..], width * 3, &down[line]), "{width}x{height}: {at}");
            }
            for (at, level) in columns.iter().enumerate() {
                let (line, place, channel) = (at / 69, at % 69 / 3, at % 3);
                let levels = &rgb[line * width * 3..][..width * 3];
                assert_eq!(*level, joined(&levels[channel..], 3, &across[place]), "{width}x{height}: {at}");
            }
        }
    }
}

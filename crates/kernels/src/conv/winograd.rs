//! 3×3 convolutions of stride 1 by Winograd's minimal filtering F(4×4, 3×3) (Lavin and Gray 2016, arXiv 1509.09308,
//! section 4.3): tiles of 4×4 outputs cost 36 products per pair of channels in place of 144.
//!
//! Inputs and weights are transformed, multiplied as 36 matrices, and the products transformed back. The transforms
//! cost additions that only enough channels repay ([`pays`]), and about two binary digits of accuracy.

mod gradient;

use std::ops::{Add, Mul, Sub};

use rayon::prelude::*;

pub(super) use gradient::{gradient_of_weights, pays as pays_for_weights};

use super::geometry::Geometry;
use crate::parallel::{with_scratch, written};
use crate::tile::{Job, Panel, multiply, panels, tiles};
use crate::wide::wide;

/// Side of a tile of outputs, and of the inputs it reads.
const OUT: usize = 4;
const IN: usize = 6;
/// Elements of a transformed tile.
const POSITIONS: usize = IN * IN;
/// Channels transformed together: a vector register of the widest machines.
const LANES: usize = 16;
/// Fewest channels, on both sides, that repay the transforms.
const FEWEST_CHANNELS: usize = 32;
/// Transformed values that one task holds: 1 MiB, a core's second-level cache.
const BLOCK_VALUES: usize = 256 << 10;

/// Values of neighbouring channels. One operation at a time on whole vectors is what compilers vectorise.
#[derive(Clone, Copy)]
struct Vector([f32; LANES]);

const ZERO: Vector = Vector([0.0; LANES]);

impl Vector {
    #[inline(always)]
    fn of(values: &[f32]) -> Self {
        let mut vector = ZERO;
        vector.0.copy_from_slice(&values[..LANES]);
        vector
    }

    #[inline(always)]
    fn put(self, values: &mut [f32]) {
        values[..LANES].copy_from_slice(&self.0);
    }
}

impl Add for Vector {
    type Output = Self;

    #[inline(always)]
    fn add(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(value, other)| *value += other);
        self
    }
}

impl Sub for Vector {
    type Output = Self;

    #[inline(always)]
    fn sub(mut self, other: Self) -> Self {
        self.0.iter_mut().zip(other.0).for_each(|(value, other)| *value -= other);
        self
    }
}

impl Mul<f32> for Vector {
    type Output = Self;

    #[inline(always)]
    fn mul(mut self, factor: f32) -> Self {
        self.0.iter_mut().for_each(|value| *value *= factor);
        self
    }
}

/// Whether this is the faster way.
pub(super) fn pays(geometry: &Geometry) -> bool {
    let wide = |channels: usize| channels >= FEWEST_CHANNELS && channels.is_multiple_of(LANES);
    (geometry.kernel_height, geometry.kernel_width, geometry.stride, geometry.padding) == (3, 3, 1, 1)
        && wide(geometry.channels)
        && wide(geometry.outputs)
        && geometry.out_height.min(geometry.out_width) >= OUT
        && panels(geometry.outputs).iter().all(|panel| panel.width.is_multiple_of(LANES))
}

/// `y[N, H, W, O]` of `x[N, H, W, C]` and weights packed as panels `[9 · C, width]`.
pub(super) fn forward(geometry: &Geometry, x: &[f32], packed: &[f32]) -> Vec<f32> {
    let Geometry { n, height, width, channels, outputs, .. } = *geometry;
    let panels = panels(outputs);
    let weights = transformed_weights(channels, packed, &panels);
    let (tile_rows, tile_columns) = (height.div_ceil(OUT), width.div_ceil(OUT));
    let per_block = (BLOCK_VALUES / (POSITIONS * (channels + outputs))).clamp(28, 112).div_ceil(tile_columns);
    written(n * height * width * outputs, |y| {
        // The outputs of one row of tiles each, in order.
        let mut rows: Vec<&mut [f32]> = Vec::with_capacity(n * tile_rows);
        for image in y.chunks_exact_mut(height * width * outputs) {
            rows.extend(image.chunks_mut(OUT * width * outputs));
        }
        rows.par_chunks_mut(per_block).enumerate().for_each(|(block, rows)| {
            let count = rows.len() * tile_columns;
            with_scratch(POSITIONS * count * (channels + outputs), |scratch| {
                let (inputs, products) = scratch.split_at_mut(POSITIONS * count * channels);
                for index in 0..rows.len() {
                    let row = block * per_block + index;
                    let image =
                        &x[row / tile_rows * height * width * channels..][..height * width * channels];
                    transform_inputs(image, geometry, row % tile_rows, (index * tile_columns, count), inputs);
                }
                products_of_positions(count, channels, outputs, &panels, inputs, &weights, products);
                for (index, y) in rows.iter_mut().enumerate() {
                    transform_outputs(products, geometry, (index * tile_columns, count), y);
                }
            });
        });
    })
}

/// For each position `[tiles, C] · [C, O]`.
fn products_of_positions(
    count: usize,
    channels: usize,
    outputs: usize,
    panels: &[Panel],
    inputs: &[f32],
    weights: &[f32],
    products: &mut [f32],
) {
    let positions = products.chunks_exact_mut(count * outputs).zip(inputs.chunks_exact(count * channels));
    for (position, (products, inputs)) in positions.enumerate() {
        for panel in panels {
            let size = channels * panel.width;
            let weights = &weights[POSITIONS * channels * panel.start + position * size..][..size];
            let job = Job {
                depth: channels,
                left_row: channels,
                left_step: 1,
                right_step: panel.width,
                out_row: outputs,
                accumulate: false,
            };
            for (start, rows) in tiles(count, panel.width) {
                let (inputs, products) =
                    (&inputs[start * channels..], &mut products[start * outputs + panel.start..]);
                multiply((rows, *panel), &[0], inputs, weights, products, &job);
            }
        }
    }
}

/// `Bᵀ d` of Lavin and Gray (2016), equation 12, for one line of six vectors.
#[inline(always)]
fn input_line([a, b, c, d, e, f]: [Vector; IN]) -> [Vector; IN] {
    let (even, odd) = (e - c * 4.0, d - b * 4.0);
    let (near, far) = (e - c, (d - b) * 2.0);
    [a * 4.0 - c * 5.0 + e, even + odd, even - odd, near + far, near - far, b * 4.0 - d * 5.0 + f]
}

/// `Aᵀ m`, the same equation.
#[inline(always)]
fn output_line([a, b, c, d, e, f]: [Vector; IN]) -> [Vector; OUT] {
    let (even, odd, far_even, far_odd) = (b + c, b - c, d + e, d - e);
    [a + even + far_even, odd + far_odd * 2.0, even + far_even * 4.0, odd + far_odd * 8.0 + f]
}

/// `G g`, the same equation, for one line of three vectors.
#[inline(always)]
fn weight_line([a, b, c]: [Vector; 3]) -> [Vector; IN] {
    let (even, odd) = (a + c, b);
    let (far_even, far_odd) = (a * (1.0 / 24.0) + c * (1.0 / 6.0), b * (1.0 / 12.0));
    [
        a * 0.25,
        (even + odd) * (-1.0 / 6.0),
        (even - odd) * (-1.0 / 6.0),
        far_even + far_odd,
        far_even - far_odd,
        c,
    ]
}

/// Column `at` of rows of vectors.
#[inline(always)]
fn column<const ROWS: usize, const COLUMNS: usize>(
    rows: &[[Vector; COLUMNS]; ROWS],
    at: usize,
) -> [Vector; ROWS] {
    let mut column = [ZERO; ROWS];
    for (to, row) in column.iter_mut().zip(rows) {
        *to = row[at];
    }
    column
}

wide! {
    /// Transforms one row of tiles into places `first..` of the `count` tiles of a block, `[36, tiles, C]`.
    fn transform_inputs(
        image: &[f32],
        geometry: &Geometry,
        tile_row: usize,
        place: (usize, usize),
        inputs: &mut [f32],
    ) {
        let Geometry { height, width, channels, .. } = *geometry;
        let (first, count) = place;
        for tile in 0..width.div_ceil(OUT) {
            for channel in (0..channels).step_by(LANES) {
                let mut rows = [[ZERO; IN]; IN];
                for (dy, row) in rows.iter_mut().enumerate() {
                    let y = (tile_row * OUT + dy).wrapping_sub(1); // the padding of 1
                    if y >= height {
                        continue;
                    }
                    let mut line = [ZERO; IN];
                    for (dx, values) in line.iter_mut().enumerate() {
                        let x = (tile * OUT + dx).wrapping_sub(1);
                        if x < width {
                            *values = Vector::of(&image[(y * width + x) * channels + channel..]);
                        }
                    }
                    *row = input_line(line);
                }
                for across in 0..IN {
                    let values = input_line(column(&rows, across));
                    for (down, values) in values.iter().enumerate() {
                        let at = ((down * IN + across) * count + first + tile) * channels + channel;
                        values.put(&mut inputs[at..]);
                    }
                }
            }
        }
    }

    /// Transforms the products of one row of tiles back into outputs `[rows, W, O]`.
    fn transform_outputs(products: &[f32], geometry: &Geometry, place: (usize, usize), y: &mut [f32]) {
        let Geometry { width, outputs, .. } = *geometry;
        let (first, count) = place;
        let height = y.len() / (width * outputs);
        for tile in 0..width.div_ceil(OUT) {
            let columns = OUT.min(width - tile * OUT);
            for output in (0..outputs).step_by(LANES) {
                let mut rows = [[ZERO; OUT]; IN];
                for (down, row) in rows.iter_mut().enumerate() {
                    let mut line = [ZERO; IN];
                    for (across, values) in line.iter_mut().enumerate() {
                        let at = ((down * IN + across) * count + first + tile) * outputs + output;
                        *values = Vector::of(&products[at..]);
                    }
                    *row = output_line(line);
                }
                for across in 0..columns {
                    let values = output_line(column(&rows, across));
                    for (down, values) in values.iter().take(height).enumerate() {
                        let at = (down * width + tile * OUT + across) * outputs + output;
                        values.put(&mut y[at..]);
                    }
                }
            }
        }
    }

    /// Transforms one channel of a panel `[9, C, width]` into its rows of one `[36, C, width]`; `stride` is C · width.
    fn transform_weights(packed: &[f32], stride: usize, width: usize, out: &mut [f32]) {
        for lane in (0..width).step_by(LANES) {
            let mut rows = [[ZERO; IN]; 3];
            for (ky, row) in rows.iter_mut().enumerate() {
                let mut line = [ZERO; 3];
                for (kx, values) in line.iter_mut().enumerate() {
                    *values = Vector::of(&packed[(ky * 3 + kx) * stride + lane..]);
                }
                *row = weight_line(line);
            }
            for across in 0..IN {
                let values = weight_line(column(&rows, across));
                for (down, values) in values.iter().enumerate() {
                    let at = (down * IN + across) * stride + lane;
                    values.put(&mut out[at..]);
                }
            }
        }
    }
}

/// Weights packed as panels `[9 · C, width]` to panels `[36, C, width]`.
fn transformed_weights(channels: usize, packed: &[f32], panels: &[Panel]) -> Vec<f32> {
    let total: usize = panels.iter().map(|panel| channels * panel.width).sum();
    let mut weights = vec![0f32; POSITIONS * total];
    let (mut rest, mut packed, mut places) = (weights.as_mut_slice(), packed, Vec::new());
    for panel in panels {
        let size = channels * panel.width;
        let (place, other_places) = rest.split_at_mut(POSITIONS * size);
        let (own, other_packed) = packed.split_at(9 * size);
        places.push((panel.width, own, place));
        (rest, packed) = (other_places, other_packed);
    }
    places.into_par_iter().for_each(|(width, packed, place)| {
        for at in (0..channels * width).step_by(width) {
            transform_weights(&packed[at..], channels * width, width, &mut place[at..]);
        }
    });
    weights
}

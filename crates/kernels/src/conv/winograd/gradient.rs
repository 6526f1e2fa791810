//! Gradient of the weights: the adjoint of the forward pass. Per position `[C, tiles] · [tiles, O]` of transformed
//! inputs and transformed gradients, transformed back once at the end.

use super::{IN, LANES, OUT, POSITIONS, Vector, ZERO, column, transform_inputs};
use crate::conv::geometry::Geometry;
use crate::parallel::{sum_over_chunks, with_scratch};
use crate::sums::parts;
use crate::tile::{Job, Panel, multiply, panels, tiles};
use crate::wide::wide;

/// Most transformed weights that are summed: several such sums are held, one per part of the batch.
const MOST_VALUES: usize = 4 << 20;
/// Transformed values that one task holds: more than in the forward pass, since the sums pass by once per block.
const BLOCK_VALUES: usize = 512 << 10;

/// Whether this is the faster way, given that the forward pass is.
pub(in crate::conv) fn pays(geometry: &Geometry) -> bool {
    super::pays(geometry) && POSITIONS * geometry.channels * geometry.outputs <= MOST_VALUES
}

/// `dw` as panels `[9 · C, width]` of `x[N, H, W, C]` and `dy[N, H, W, O]`.
pub(in crate::conv) fn gradient_of_weights(geometry: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let Geometry { n, height, width, channels, outputs, .. } = *geometry;
    let (tile_rows, tile_columns) = (height.div_ceil(OUT), width.div_ceil(OUT));
    let per_block = (BLOCK_VALUES / (POSITIONS * (channels + outputs))).clamp(56, 128).div_ceil(tile_columns);
    let blocks = (n * tile_rows).div_ceil(per_block);
    let parts = parts(n * height * width, POSITIONS * channels * outputs).min(blocks);
    let blocks_per_part = blocks.div_ceil(parts);
    let (image, image_gradient) = (height * width * channels, height * width * outputs);
    let panels = panels(outputs);
    let sums = sum_over_chunks(parts, POSITIONS * channels * outputs, |part, sums| {
        let most = POSITIONS * per_block * tile_columns * (channels + outputs);
        with_scratch(most, |scratch| {
            for block in part * blocks_per_part..((part + 1) * blocks_per_part).min(blocks) {
                let rows = per_block.min(n * tile_rows - block * per_block);
                let count = rows * tile_columns;
                let (inputs, rest) = scratch.split_at_mut(POSITIONS * count * channels);
                let gradients = &mut rest[..POSITIONS * count * outputs];
                for index in 0..rows {
                    let row = block * per_block + index;
                    let (at, row, place) = (row / tile_rows, row % tile_rows, (index * tile_columns, count));
                    transform_inputs(&x[at * image..][..image], geometry, row, place, inputs);
                    let dy = &dy[at * image_gradient..][..image_gradient];
                    transform_gradients(dy, geometry, row, place, gradients);
                }
                add_positions(count, channels, outputs, &panels, inputs, gradients, sums);
            }
        });
    });
    let mut packed = vec![0f32; 9 * channels * outputs];
    let mut start = 0;
    for panel in &panels {
        let place = &mut packed[9 * channels * start..][..9 * channels * panel.width];
        for channel in 0..channels {
            let sums = &sums[channel * outputs + start..];
            transform_sums(
                sums,
                channels * outputs,
                panel.width,
                channels,
                &mut place[channel * panel.width..],
            );
        }
        start += panel.width;
    }
    packed
}

/// For each position `sums[C, O] += inputs[tiles, C]ᵀ · gradients[tiles, O]`.
fn add_positions(
    count: usize,
    channels: usize,
    outputs: usize,
    panels: &[Panel],
    inputs: &[f32],
    gradients: &[f32],
    sums: &mut [f32],
) {
    let job = Job {
        depth: count,
        left_row: 1,
        left_step: channels,
        right_step: outputs,
        out_row: outputs,
        accumulate: true,
    };
    let positions = inputs.chunks_exact(count * channels).zip(gradients.chunks_exact(count * outputs));
    for (sums, (inputs, gradients)) in sums.chunks_exact_mut(channels * outputs).zip(positions) {
        for panel in panels {
            for (start, rows) in tiles(channels, panel.width) {
                let sums = &mut sums[start * outputs + panel.start..];
                multiply((rows, *panel), &[0], &inputs[start..], &gradients[panel.start..], sums, &job);
            }
        }
    }
}

/// `A y`, the adjoint of the forward pass's `Aᵀ m`, for one line of four vectors.
#[inline(always)]
fn gradient_line([a, b, c, d]: [Vector; OUT]) -> [Vector; IN] {
    let (even, odd) = (a + c, b + d);
    let (far_even, far_odd) = (a + c * 4.0, b * 2.0 + d * 8.0);
    [a, even + odd, even - odd, far_even + far_odd, far_even - far_odd, d]
}

/// `Gᵀ s`, the adjoint of the weights' `G g`, for one line of six vectors.
#[inline(always)]
fn sum_line([a, b, c, d, e, f]: [Vector; IN]) -> [Vector; 3] {
    let (near, far) = (b + c, d + e);
    [
        a * 0.25 - near * (1.0 / 6.0) + far * (1.0 / 24.0),
        (c - b) * (1.0 / 6.0) + (d - e) * (1.0 / 12.0),
        (far - near) * (1.0 / 6.0) + f,
    ]
}

wide! {
    /// Transforms one row of tiles of gradients into places `first..` of the `count` tiles of a block,
    /// `[36, tiles, O]`.
    fn transform_gradients(
        dy: &[f32],
        geometry: &Geometry,
        tile_row: usize,
        place: (usize, usize),
        gradients: &mut [f32],
    ) {
        let Geometry { height, width, outputs, .. } = *geometry;
        let (first, count) = place;
        for tile in 0..width.div_ceil(OUT) {
            for output in (0..outputs).step_by(LANES) {
                let mut rows = [[ZERO; IN]; OUT];
                for (down, row) in rows.iter_mut().enumerate().take(height - tile_row * OUT) {
                    let mut line = [ZERO; OUT];
                    for (across, values) in line.iter_mut().enumerate().take(width - tile * OUT) {
                        let at = (tile_row * OUT + down) * width + tile * OUT + across;
                        *values = Vector::of(&dy[at * outputs + output..]);
                    }
                    *row = gradient_line(line);
                }
                for across in 0..IN {
                    let values = gradient_line(column(&rows, across));
                    for (down, values) in values.iter().enumerate() {
                        let at = ((down * IN + across) * count + first + tile) * outputs + output;
                        values.put(&mut gradients[at..]);
                    }
                }
            }
        }
    }

    /// Transforms the sums of one channel, `[36, width]` with `stride` values from position to position, into its
    /// rows of a panel `[9, C, width]`.
    fn transform_sums(sums: &[f32], stride: usize, width: usize, channels: usize, packed: &mut [f32]) {
        for lane in (0..width).step_by(LANES) {
            let mut rows = [[ZERO; 3]; IN];
            for (down, row) in rows.iter_mut().enumerate() {
                let mut line = [ZERO; IN];
                for (across, values) in line.iter_mut().enumerate() {
                    *values = Vector::of(&sums[(down * IN + across) * stride + lane..]);
                }
                *row = sum_line(line);
            }
            for kx in 0..3 {
                let values = sum_line(column(&rows, kx));
                for (ky, values) in values.iter().enumerate() {
                    values.put(&mut packed[(ky * 3 + kx) * channels * width + lane..]);
                }
            }
        }
    }
}

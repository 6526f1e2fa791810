//! Convolution by register tiles that read the image where it lies.
//!
//! Channels last, a line of a patch is one run of `KW · C` values, and that of the next pixel begins `stride · C`
//! values further on. So a tile of pixels by outputs needs no matrix of patches, only rows with their padding.

use rayon::prelude::*;

use super::geometry::Geometry;
use super::winograd;
use crate::parallel::{sum_over_chunks, with_scratch, written};
use crate::sums::parts;
use crate::tile::{Job, Panel, multiply, panels, tiles};

/// Values of input that one task holds at a time: 128 KiB, inside a core's second-level cache.
const INPUT_VALUES: usize = 32 << 10;
/// Pixels of one task where patches are just pixels: a multiple of a tile's rows, few enough to share out.
const POINTWISE_PIXELS: usize = 112;

/// Fewest pixels after which sums of weights' gradients pass by: fewer would cost more in memory than in products.
const GRADIENT_PIXELS: usize = 448;

/// A convolution cut into runs of output rows. Where patches are just pixels, rows mean nothing, and a block is one
/// row of any pixels.
struct Blocks<'a> {
    geometry: &'a Geometry,
    is_pointwise: bool,
    /// Output rows of a full block.
    rows: usize,
    /// Blocks per image.
    per_image: usize,
    /// From a pixel of input to the next.
    pixel: usize,
    /// Values of a padded input row.
    line: usize,
}

/// One block: output pixels `first..first + rows · width`, rows of one image.
#[derive(Clone, Copy)]
struct Block {
    first: usize,
    rows: usize,
    width: usize,
}

impl<'a> Blocks<'a> {
    /// With `spread`, pixels whose distance is a multiple of 1 KiB are set further apart: the rows of a tile would
    /// share a few sets of the first-level cache and drive each other out.
    fn new(geometry: &'a Geometry, spread: bool) -> Self {
        let channels = geometry.channels;
        let pixel = if spread && channels.is_multiple_of(256) { channels + 16 } else { channels };
        let line = (geometry.width + 2 * geometry.padding) * pixel;
        let fitting = (INPUT_VALUES / line).saturating_sub(geometry.kernel_height) / geometry.stride + 1;
        let rows = geometry.out_height.div_ceil(geometry.out_height.div_ceil(fitting));
        let per_image = geometry.out_height.div_ceil(rows);
        Self { geometry, is_pointwise: geometry.is_pointwise(), rows, per_image, pixel, line }
    }

    fn pixels(&self) -> usize {
        self.geometry.n * self.geometry.out_height * self.geometry.out_width
    }

    fn count(&self) -> usize {
        if self.is_pointwise {
            self.pixels().div_ceil(POINTWISE_PIXELS)
        } else {
            self.geometry.n * self.per_image
        }
    }

    fn block(&self, index: usize) -> Block {
        if self.is_pointwise {
            let first = index * POINTWISE_PIXELS;
            return Block { first, rows: 1, width: POINTWISE_PIXELS.min(self.pixels() - first) };
        }
        let Geometry { out_height, out_width, .. } = *self.geometry;
        let (image, row) = (index / self.per_image, index % self.per_image * self.rows);
        Block {
            first: (image * out_height + row) * out_width,
            rows: self.rows.min(out_height - row),
            width: out_width,
        }
    }

    /// Whether the input is copied, to have zeros around it or its pixels apart.
    fn copies(&self) -> bool {
        self.geometry.padding > 0 || self.pixel > self.geometry.channels
    }

    /// Values that [`Blocks::input`] needs.
    fn buffer(&self) -> usize {
        let rows = (self.rows - 1) * self.geometry.stride + self.geometry.kernel_height;
        match (self.copies(), self.is_pointwise) {
            (false, _) => 0,
            (true, true) => POINTWISE_PIXELS * self.pixel,
            (true, false) => rows * self.line,
        }
    }

    /// The input rows of a block with zeros around the image, or the image's own.
    fn input<'b>(&self, x: &'b [f32], block: Block, buffer: &'b mut [f32]) -> &'b [f32] {
        let Geometry { height, width, channels, stride, padding, kernel_height, .. } = *self.geometry;
        if self.is_pointwise {
            let pixels = &x[block.first * channels..][..block.width * channels];
            if !self.copies() {
                return pixels;
            }
            self.spread(pixels, buffer);
            return &buffer[..block.width * self.pixel];
        }
        let row = block.first / block.width;
        let (image, row) = (row / self.geometry.out_height, row % self.geometry.out_height);
        let image = &x[image * height * width * channels..][..height * width * channels];
        let (first, count) = (row * stride, (block.rows - 1) * stride + kernel_height);
        if !self.copies() {
            return &image[first * self.line..(first + count) * self.line];
        }
        let buffer = &mut buffer[..count * self.line];
        for (index, line) in buffer.chunks_exact_mut(self.line).enumerate() {
            let (left, rest) = line.split_at_mut(padding * self.pixel);
            let (middle, right) = rest.split_at_mut(width * self.pixel);
            match (first + index).checked_sub(padding).filter(|y| *y < height) {
                Some(y) => self.spread(&image[y * width * channels..][..width * channels], middle),
                None => middle.fill(0.0),
            }
            left.fill(0.0);
            right.fill(0.0);
        }
        buffer
    }

    /// The input of several blocks, and where each begins in it.
    fn inputs<'b>(&self, x: &'b [f32], group: &[Block], buffer: &'b mut [f32]) -> (&'b [f32], Vec<usize>) {
        if self.copies() {
            for (block, buffer) in group.iter().zip(buffer.chunks_exact_mut(self.buffer())) {
                self.input(x, *block, buffer);
            }
            return (buffer, (0..group.len()).map(|index| index * self.buffer()).collect());
        }
        let Geometry { out_height, height, stride, channels, .. } = *self.geometry;
        let start = |block: &Block| {
            if self.is_pointwise {
                return block.first * channels;
            }
            let row = block.first / block.width;
            (row / out_height * height + row % out_height * stride) * self.line
        };
        (x, group.iter().map(start).collect())
    }

    /// Copies pixels to their distance; what lies between them is never read.
    fn spread(&self, pixels: &[f32], to: &mut [f32]) {
        let channels = self.geometry.channels;
        if self.pixel == channels {
            return to.copy_from_slice(pixels);
        }
        for (to, from) in to.chunks_exact_mut(self.pixel).zip(pixels.chunks_exact(channels)) {
            to[..channels].copy_from_slice(from);
        }
    }

    /// Products that lie side by side: those of a line of the kernel, or of one of its pixels where they are apart.
    fn run(&self) -> usize {
        let Geometry { kernel_width, channels, .. } = *self.geometry;
        if self.pixel == channels { kernel_width * channels } else { channels }
    }

    /// Where the runs of the patches of output row `out_y` of a block begin.
    fn runs(&self, out_y: usize) -> impl Iterator<Item = usize> {
        let Geometry { kernel_height, kernel_width, stride, channels, .. } = *self.geometry;
        let across = if self.pixel == channels { 1 } else { kernel_width };
        (0..kernel_height * across)
            .map(move |at| (out_y * stride + at / across) * self.line + at % across * self.pixel)
    }
}

/// Splits `values` into one part per block.
fn parts_of_blocks<'b>(blocks: &Blocks<'_>, values: &'b mut [f32]) -> Vec<(Block, &'b mut [f32])> {
    let mut rest = values;
    let part = |index| {
        let block = blocks.block(index);
        let (part, tail) =
            std::mem::take(&mut rest).split_at_mut(block.rows * block.width * blocks.geometry.outputs);
        rest = tail;
        (block, part)
    };
    (0..blocks.count()).map(part).collect()
}

/// `y[N, H', W', O]` of `x[N, H, W, C]` and packed weights, plus a bias `[O]`.
pub(crate) fn forward(geometry: &Geometry, x: &[f32], weights: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
    if bias.is_none() && winograd::pays(geometry) {
        return winograd::forward(geometry, x, weights);
    }
    let (depth, outputs) = (geometry.depth(), geometry.outputs);
    let panels = panels(outputs);
    let blocks = Blocks::new(geometry, true);
    let job = Job {
        depth: blocks.run(),
        left_row: geometry.stride * blocks.pixel,
        left_step: 1,
        right_step: 0, // the panel's width
        out_row: outputs,
        accumulate: bias.is_some(),
    };
    written(blocks.pixels() * outputs, |y| {
        parts_of_blocks(&blocks, y).into_par_iter().for_each(|(block, y)| {
            with_scratch(blocks.buffer(), |buffer| {
                if let Some(bias) = bias {
                    y.chunks_exact_mut(outputs).for_each(|pixel| pixel.copy_from_slice(bias));
                }
                let input = blocks.input(x, block, buffer);
                let runs: Vec<Vec<usize>> =
                    (0..block.rows).map(|out_y| blocks.runs(out_y).collect()).collect();
                let mut rest = weights;
                for panel in &panels {
                    let (weights, tail) = rest.split_at(depth * panel.width);
                    rest = tail;
                    let job = Job { right_step: panel.width, ..job };
                    for (y, runs) in y.chunks_exact_mut(block.width * outputs).zip(&runs) {
                        for (start, rows) in tiles(block.width, panel.width) {
                            let y = &mut y[start * outputs + panel.start..];
                            multiply((rows, *panel), runs, &input[start * job.left_row..], weights, y, &job);
                        }
                    }
                }
            })
        });
    })
}

/// `dw[O, KH, KW, C]` of `x[N, H, W, C]` and `dy[N, H', W', O]`: sums over runs of blocks, added in order.
pub(crate) fn gradient_of_weights(geometry: &Geometry, x: &[f32], dy: &[f32]) -> Vec<f32> {
    let (depth, outputs) = (geometry.depth(), geometry.outputs);
    let panels = panels(outputs);
    if winograd::pays_for_weights(geometry) {
        return unpacked(&winograd::gradient_of_weights(geometry, x, dy), depth, outputs, &panels);
    }
    let columns: usize = panels.iter().map(|panel| panel.width).sum();
    let blocks = Blocks::new(geometry, false);
    let pixels = blocks.block(0).rows * blocks.block(0).width;
    let per_group = GRADIENT_PIXELS.div_ceil(pixels);
    let groups = blocks.count().div_ceil(per_group);
    // By what is the same on every machine: panels are not.
    let parts = parts(blocks.pixels(), depth * outputs).min(groups);
    let groups_per_part = groups.div_ceil(parts);
    let widest = panels.iter().map(|panel| panel.width).max().unwrap_or(0);
    let sum = sum_over_chunks(parts, depth * columns, |part, sum| {
        with_scratch(per_group * (blocks.buffer() + pixels * widest), |scratch| {
            for group in part * groups_per_part..((part + 1) * groups_per_part).min(groups) {
                let range = group * per_group..((group + 1) * per_group).min(blocks.count());
                let group: Vec<Block> = range.map(|index| blocks.block(index)).collect();
                // The last block of all may be narrower.
                for group in group.chunk_by(|a, b| a.width == b.width) {
                    let (buffer, gradients) = scratch.split_at_mut(per_group * blocks.buffer());
                    let (input, starts) = blocks.inputs(x, group, buffer);
                    add_group(&blocks, group, (input, &starts), dy, &panels, gradients, sum);
                }
            }
        });
    });
    unpacked(&sum, depth, outputs, &panels)
}

/// Adds a group's share to `sum`, panels `[K, width]`: for each line of the kernel
/// `[KW · C, pixels] · [pixels, width]`.
fn add_group(
    blocks: &Blocks<'_>,
    group: &[Block],
    (input, starts): (&[f32], &[usize]),
    dy: &[f32],
    panels: &[Panel],
    gradients: &mut [f32],
    sum: &mut [f32],
) {
    let geometry = blocks.geometry;
    let (outputs, line) = (geometry.outputs, geometry.kernel_width * geometry.channels);
    let (first, width) = (group[0].first, group[0].width);
    let pixels: usize = group.iter().map(|block| block.rows * block.width).sum();
    let dy = &dy[first * outputs..][..pixels * outputs];
    let mut rest = sum;
    for panel in panels {
        let (sum, tail) = rest.split_at_mut(geometry.depth() * panel.width);
        rest = tail;
        let dy = if panel.width == outputs {
            dy
        } else {
            let gradients = &mut gradients[..pixels * panel.width];
            for (to, from) in gradients.chunks_exact_mut(panel.width).zip(dy.chunks_exact(outputs)) {
                let (to, rest) = to.split_at_mut(panel.used);
                to.copy_from_slice(&from[panel.start..][..panel.used]);
                rest.fill(0.0);
            }
            &*gradients
        };
        let whole = Panel { start: 0, used: panel.width, width: panel.width };
        let job = Job {
            depth: width,
            left_row: 1,
            left_step: geometry.stride * geometry.channels,
            right_step: panel.width,
            out_row: panel.width,
            accumulate: true,
        };
        for (ky, sum) in sum.chunks_exact_mut(line * panel.width).enumerate() {
            let row = |start: usize, out_y: usize| start + (out_y * geometry.stride + ky) * blocks.line;
            let rows: Vec<usize> = (group.iter().zip(starts))
                .flat_map(|(block, start)| (0..block.rows).map(move |out_y| row(*start, out_y)))
                .collect();
            for (start, count) in tiles(line, panel.width) {
                let sum = &mut sum[start * panel.width..];
                multiply((count, whole), &rows, &input[start..], dy, sum, &job);
            }
        }
    }
}

/// Weights `[O, K]` as panels, one after the other, each `[K, width]` with zeros beyond its columns.
pub(crate) fn packed(geometry: &Geometry, w: &[f32]) -> Vec<f32> {
    let (depth, panels) = (geometry.depth(), panels(geometry.outputs));
    let mut packed = vec![0f32; panels.iter().map(|panel| panel.width * depth).sum()];
    each_panel(&mut packed, depth, &panels).into_par_iter().for_each(|(panel, packed)| {
        // Sixteen values at a time, so that what is read and what is written both stay in the cache.
        for first in (0..depth).step_by(16) {
            let packed = &mut packed[first * panel.width..];
            for column in 0..panel.used {
                let from = &w[(panel.start + column) * depth..][..depth][first..];
                for (value, row) in from.iter().take(16).zip(packed.chunks_exact_mut(panel.width)) {
                    row[column] = *value;
                }
            }
        }
    });
    packed
}

/// The weights of the convolution that takes gradients of outputs to gradients of inputs: `[O, KH, KW, C]` as
/// `[C, KH, KW, O]` with both kernel axes reversed, packed.
pub(crate) fn packed_turned(geometry: &Geometry, w: &[f32]) -> Vec<f32> {
    let Geometry { outputs, channels, .. } = *geometry;
    let (taps, panels) = (geometry.kernel_height * geometry.kernel_width, panels(channels));
    let depth = taps * outputs;
    let mut packed = vec![0f32; panels.iter().map(|panel| panel.width * depth).sum()];
    each_panel(&mut packed, depth, &panels).into_par_iter().for_each(|(panel, packed)| {
        for (k, row) in packed.chunks_exact_mut(panel.width).enumerate() {
            let (tap, output) = (taps - 1 - k / outputs, k % outputs);
            let from = &w[(output * taps + tap) * channels + panel.start..];
            row[..panel.used].copy_from_slice(&from[..panel.used]);
        }
    });
    packed
}

/// The way back from [`packed`].
fn unpacked(packed: &[f32], depth: usize, outputs: usize, panels: &[Panel]) -> Vec<f32> {
    let mut w = vec![0f32; outputs * depth];
    let (mut rows, mut rest) = (w.as_mut_slice(), packed);
    let mut places = Vec::new();
    for panel in panels {
        let (place, other_rows) = rows.split_at_mut(panel.used * depth);
        let (packed, tail) = rest.split_at(panel.width * depth);
        (rows, rest) = (other_rows, tail);
        places.push((panel, packed, place));
    }
    places.into_par_iter().for_each(|(panel, packed, w)| {
        for first in (0..depth).step_by(16) {
            let packed = &packed[first * panel.width..];
            for (column, w) in w.chunks_exact_mut(depth).enumerate() {
                for (value, row) in w[first..].iter_mut().take(16).zip(packed.chunks_exact(panel.width)) {
                    *value = row[column];
                }
            }
        }
    });
    w
}

/// Each panel with its part of packed values.
fn each_panel<'b>(packed: &'b mut [f32], depth: usize, panels: &[Panel]) -> Vec<(Panel, &'b mut [f32])> {
    let mut rest = packed;
    let part = |panel: &Panel| {
        let (part, tail) = std::mem::take(&mut rest).split_at_mut(panel.width * depth);
        rest = tail;
        (*panel, part)
    };
    panels.iter().map(part).collect()
}

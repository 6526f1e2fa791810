//! 2-D convolution, channels last, over a blocked matrix product.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::fused::apply2;
use crate::linear;
use crate::parallel::{Matrix, Values, product, sum_over_chunks, values, written};

/// Values of the patch matrix that one task builds at a time: 128 KiB, inside a core's second-level cache.
const PATCH_VALUES: usize = 32 << 10;

/// Convolution without bias.
///
/// `x` is `[N, H, W, C]`, `w` is `[O, KH, KW, C]`; the result is `[N, H', W', O]` with
/// `H' = (H + 2·padding − KH) / stride + 1`. An error names the shapes where they do not fit or `x` is empty.
pub fn conv2d(x: &Tensor, w: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    let ([n, height, width, channels], [outputs, kernel_height, kernel_width, inputs]) =
        (dims4(x)?, dims4(w)?);
    let fits = channels == inputs
        && outputs * kernel_height * kernel_width > 0
        && stride > 0
        && height + 2 * padding >= kernel_height
        && width + 2 * padding >= kernel_width;
    if !fits || n == 0 || channels == 0 {
        bail!(
            "conv2d: x {:?}, w {:?}, stride {stride}, padding {padding}: expected x [N > 0, H, W, C] and w [O, KH, KW, C], the kernel no larger than the padded image",
            x.dims(),
            w.dims()
        );
    }
    apply2(&x.contiguous()?, &w.contiguous()?, Conv2d { stride, padding })
}

fn dims4(tensor: &Tensor) -> Result<[usize; 4]> {
    let (a, b, c, d) = tensor.dims4()?;
    Ok([a, b, c, d])
}

struct Conv2d {
    stride: usize,
    padding: usize,
}

/// One convolution's sizes.
#[derive(Clone, Copy)]
struct Geometry {
    n: usize,
    height: usize,
    width: usize,
    channels: usize,
    kernel_height: usize,
    kernel_width: usize,
    outputs: usize,
    stride: usize,
    padding: usize,
    out_height: usize,
    out_width: usize,
}

impl Geometry {
    fn new(x: &[usize], w: &[usize], stride: usize, padding: usize) -> Self {
        Self {
            n: x[0],
            height: x[1],
            width: x[2],
            channels: x[3],
            kernel_height: w[1],
            kernel_width: w[2],
            outputs: w[0],
            stride,
            padding,
            out_height: (x[1] + 2 * padding - w[1]) / stride + 1,
            out_width: (x[2] + 2 * padding - w[2]) / stride + 1,
        }
    }

    /// Values in a patch.
    fn depth(&self) -> usize {
        self.kernel_height * self.kernel_width * self.channels
    }

    /// Whether patches are just pixels.
    fn is_pointwise(&self) -> bool {
        self.kernel_height == 1 && self.kernel_width == 1 && self.stride == 1 && self.padding == 0
    }

    /// Rows of output (over all images) that one patch matrix covers.
    fn rows_per_block(&self) -> usize {
        (PATCH_VALUES / (self.out_width * self.depth())).max(1)
    }

    fn rows(&self) -> usize {
        self.n * self.out_height
    }

    /// Writes the patches of output row `row` (over all images), `[out_width, depth]`.
    fn gather(&self, x: &[f32], row: usize, patches: &mut [f32]) {
        let (image, out_y) = (row / self.out_height, row % self.out_height);
        let depth = self.depth();
        let line = self.kernel_width * self.channels;
        for ky in 0..self.kernel_height {
            let inside = (out_y * self.stride + ky).checked_sub(self.padding).filter(|y| *y < self.height);
            for out_x in 0..self.out_width {
                let patch = &mut patches[out_x * depth + ky * line..][..line];
                match inside {
                    None => patch.fill(0.0),
                    Some(y) => self.gather_line(
                        &x[(image * self.height + y) * self.width * self.channels..],
                        out_x,
                        patch,
                    ),
                }
            }
        }
    }

    /// Copies one line of a patch out of a row of the image, zeros outside.
    fn gather_line(&self, row: &[f32], out_x: usize, patch: &mut [f32]) {
        let channels = self.channels;
        let start = out_x * self.stride;
        let before = self.padding.saturating_sub(start).min(self.kernel_width);
        let first = (start + before).saturating_sub(self.padding);
        let count = self.width.saturating_sub(first).min(self.kernel_width - before);
        let (left, rest) = patch.split_at_mut(before * channels);
        let (middle, right) = rest.split_at_mut(count * channels);
        left.fill(0.0);
        middle.copy_from_slice(&row[first * channels..(first + count) * channels]);
        right.fill(0.0);
    }

    /// Adds the patches of one output row back into the image they came from.
    fn scatter(&self, patches: &[f32], out_y: usize, image: &mut [f32]) {
        let (depth, channels) = (self.depth(), self.channels);
        for out_x in 0..self.out_width {
            for ky in 0..self.kernel_height {
                let y = (out_y * self.stride + ky).checked_sub(self.padding).filter(|y| *y < self.height);
                let Some(y) = y else { continue };
                for kx in 0..self.kernel_width {
                    let column =
                        (out_x * self.stride + kx).checked_sub(self.padding).filter(|x| *x < self.width);
                    let Some(column) = column else { continue };
                    let from =
                        &patches[out_x * depth + (ky * self.kernel_width + kx) * channels..][..channels];
                    let to = &mut image[(y * self.width + column) * channels..][..channels];
                    to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
                }
            }
        }
    }

    /// `y = patches(x) · wᵀ`.
    fn forward(&self, x: &[f32], w: &[f32]) -> Vec<f32> {
        if self.is_pointwise() {
            return linear::product_with_weights(x, self.channels, w, self.outputs, None);
        }
        let (depth, block) = (self.depth(), self.rows_per_block());
        let row = self.out_width * self.outputs;
        let weights = Matrix::rows(w, depth).transposed();
        written(self.rows() * row, |y| {
            y.par_chunks_mut(block * row).enumerate().for_each_init(
                || vec![0f32; block * self.out_width * depth],
                |patches, (chunk, y)| {
                    let rows = y.len() / row;
                    self.gather_block(x, chunk * block, rows, patches);
                    let pixels = rows * self.out_width;
                    product([pixels, self.outputs, depth], y, false, Matrix::rows(patches, depth), weights);
                },
            )
        })
    }

    fn gather_block(&self, x: &[f32], first: usize, rows: usize, patches: &mut [f32]) {
        let length = self.out_width * self.depth();
        for (index, patches) in patches.chunks_exact_mut(length).take(rows).enumerate() {
            self.gather(x, first + index, patches);
        }
    }

    /// `dw = dyᵀ · patches(x)`.
    fn gradient_of_weights(&self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        if self.is_pointwise() {
            return linear::gradient_of_weights(dy, self.outputs, x, self.channels);
        }
        let (depth, block) = (self.depth(), self.rows_per_block());
        let row = self.out_width * self.outputs;
        let blocks = self.rows().div_ceil(block);
        let parts = linear::parts(self.rows() * self.out_width, self.outputs * depth).min(blocks);
        let blocks_per_part = blocks.div_ceil(parts);
        sum_over_chunks(parts, self.outputs * depth, |part, sum| {
            let mut patches = vec![0f32; block * self.out_width * depth];
            for index in part * blocks_per_part..((part + 1) * blocks_per_part).min(blocks) {
                let (first, last) = (index * block, ((index + 1) * block).min(self.rows()));
                self.gather_block(x, first, last - first, &mut patches);
                let left = Matrix::rows(&dy[first * row..last * row], self.outputs).transposed();
                let pixels = (last - first) * self.out_width;
                product([self.outputs, depth, pixels], sum, true, left, Matrix::rows(&patches, depth));
            }
        })
    }

    /// `dx`: at stride 1 a convolution of `dy` with the kernel turned round, otherwise patches added back.
    fn gradient_of_input(&self, w: &[f32], dy: &[f32]) -> Vec<f32> {
        if self.is_pointwise() {
            return linear::gradient_of_input(dy, self.outputs, w, self.channels);
        }
        let padding = self.kernel_height.checked_sub(self.padding + 1);
        if let (1, Some(padding), true) = (self.stride, padding, self.kernel_height == self.kernel_width) {
            let turned = Self {
                height: self.out_height,
                width: self.out_width,
                channels: self.outputs,
                outputs: self.channels,
                padding,
                out_height: self.height,
                out_width: self.width,
                ..*self
            };
            return turned.forward(dy, &self.turned_kernel(w));
        }
        let depth = self.depth();
        let mut dx = vec![0f32; self.n * self.height * self.width * self.channels];
        let row = self.out_width * self.outputs;
        dx.par_chunks_mut(self.height * self.width * self.channels).enumerate().for_each_init(
            || vec![0f32; self.out_width * depth],
            |patches, (image, dx)| {
                for out_y in 0..self.out_height {
                    let dy = &dy[(image * self.out_height + out_y) * row..][..row];
                    let left = Matrix::rows(dy, self.outputs);
                    product(
                        [self.out_width, depth, self.outputs],
                        patches,
                        false,
                        left,
                        Matrix::rows(w, depth),
                    );
                    self.scatter(patches, out_y, dx);
                }
            },
        );
        dx
    }

    /// `[O, KH, KW, C]` to `[C, KH, KW, O]` with both kernel axes reversed.
    fn turned_kernel(&self, w: &[f32]) -> Vec<f32> {
        let taps = self.kernel_height * self.kernel_width;
        let mut turned = vec![0f32; w.len()];
        for output in 0..self.outputs {
            for tap in 0..taps {
                for channel in 0..self.channels {
                    turned[(channel * taps + taps - 1 - tap) * self.outputs + output] =
                        w[(output * taps + tap) * self.channels + channel];
                }
            }
        }
        turned
    }
}

impl CustomOp2 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let geometry = Geometry::new(lx.dims(), lw.dims(), self.stride, self.padding);
        let y = geometry.forward(values("conv2d", x, lx)?, values("conv2d", w, lw)?);
        let shape = [geometry.n, geometry.out_height, geometry.out_width, geometry.outputs];
        Ok((CpuStorage::F32(y), Shape::from(shape.to_vec())))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let geometry = Geometry::new(x.dims(), w.dims(), self.stride, self.padding);
        let grad = grad.contiguous()?;
        let dy = Values::of("conv2d", &grad)?;
        let dw = geometry.gradient_of_weights(&Values::of("conv2d", x)?, &dy);
        let dx = if linear::wants_gradient(x) {
            let dx = geometry.gradient_of_input(&Values::of("conv2d", w)?, &dy);
            Some(Tensor::from_vec(dx, x.dims(), x.device())?)
        } else {
            None
        };
        Ok((dx, Some(Tensor::from_vec(dw, w.dims(), w.device())?)))
    }
}

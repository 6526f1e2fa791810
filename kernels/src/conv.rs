//! 2-D convolution, channels last.

pub(crate) mod direct;
mod scatter;
mod winograd;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::fused::apply2;
use crate::linear;
use crate::parallel::{Values, values};

/// Convolution without bias.
///
/// `x` is `[N, H, W, C]`, `w` is `[O, KH, KW, C]`; the result is `[N, H', W', O]` with
/// `H' = (H + 2·padding − KH) / stride + 1`. An error names the shapes where they do not fit or `x` is empty.
pub fn conv2d(x: &Tensor, w: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
    // A wrong rank becomes sizes that fit nothing, so that one error says what was expected.
    let sizes = |tensor: &Tensor| <[usize; 4]>::try_from(tensor.dims()).unwrap_or_default();
    let ([n, height, width, channels], [outputs, kernel_height, kernel_width, inputs]) = (sizes(x), sizes(w));
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

struct Conv2d {
    stride: usize,
    padding: usize,
}

/// A convolution's sizes: `x` `[n, height, width, channels]`, `w` `[outputs, kernel_height, kernel_width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) kernel_height: usize,
    pub(crate) kernel_width: usize,
    pub(crate) outputs: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
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

    /// A fully connected layer: single pixels, in one image.
    pub(crate) fn of_rows(rows: usize, inputs: usize, outputs: usize) -> Self {
        Self::new(&[1, 1, rows, inputs], &[outputs, 1, 1, inputs], 1, 0)
    }

    /// Values in a patch.
    pub(crate) fn depth(&self) -> usize {
        self.kernel_height * self.kernel_width * self.channels
    }

    /// Whether patches are just pixels.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel_height == 1 && self.kernel_width == 1 && self.stride == 1 && self.padding == 0
    }

    /// `dx`: at stride 1 a convolution of `dy` with the kernel turned round, otherwise patches added back.
    pub(crate) fn gradient_of_input(&self, w: &[f32], dy: &[f32]) -> Vec<f32> {
        let padding = self.kernel_height.checked_sub(self.padding + 1);
        match padding {
            Some(padding) if self.stride == 1 && self.kernel_height == self.kernel_width => {
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
                direct::forward(&turned, dy, &direct::packed_turned(self, w), None)
            }
            _ => scatter::gradient_of_input(self, w, dy),
        }
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
        let weights = direct::packed(&geometry, values("conv2d", w, lw)?);
        let y = direct::forward(&geometry, values("conv2d", x, lx)?, &weights, None);
        let shape = [geometry.n, geometry.out_height, geometry.out_width, geometry.outputs];
        Ok((CpuStorage::F32(y), Shape::from(shape.to_vec())))
    }

    cuda_forward!(self, "conv2d", x, w => {
        let sizes = Geometry::new(x.dims(), w.dims(), self.stride, self.padding);
        cuda::convolution(&x, &w, sizes)
    });

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let wants_dx = linear::wants_gradient(x);
        cuda_backward!("conv2d", grad, x, w => {
            let sizes = Geometry::new(x.dims(), w.dims(), self.stride, self.padding);
            let (dw, dx) = cuda::convolution_backward(&x, &w, &grad, sizes, wants_dx)?;
            Ok((dx.map(cuda::tensor), cuda::some(dw)))
        });
        let geometry = Geometry::new(x.dims(), w.dims(), self.stride, self.padding);
        let grad = grad.contiguous()?;
        let dy = Values::of("conv2d", &grad)?;
        let dw = direct::gradient_of_weights(&geometry, &Values::of("conv2d", x)?, &dy);
        let dx = if wants_dx {
            let dx = geometry.gradient_of_input(&Values::of("conv2d", w)?, &dy);
            Some(Tensor::from_vec(dx, x.dims(), x.device())?)
        } else {
            None
        };
        Ok((dx, Some(Tensor::from_vec(dw, w.dims(), w.device())?)))
    }
}

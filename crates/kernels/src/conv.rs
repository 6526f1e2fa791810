//! 2-D convolution, channels last.

pub(crate) mod direct;
mod geometry;
mod scatter;
mod winograd;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::fused::apply2;
use crate::parallel::{Values, values};
use crate::sums::wants_gradient;
pub(crate) use geometry::Geometry;

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

/// `dx`: at stride 1 a convolution of `dy` with the kernel turned round, otherwise patches added back.
pub(crate) fn gradient_of_input(geometry: &Geometry, w: &[f32], dy: &[f32]) -> Vec<f32> {
    let padding = geometry.kernel_height.checked_sub(geometry.padding + 1);
    match padding {
        Some(padding) if geometry.stride == 1 && geometry.kernel_height == geometry.kernel_width => {
            let turned = Geometry {
                height: geometry.out_height,
                width: geometry.out_width,
                channels: geometry.outputs,
                outputs: geometry.channels,
                padding,
                out_height: geometry.height,
                out_width: geometry.width,
                ..*geometry
            };
            direct::forward(&turned, dy, &direct::packed_turned(geometry, w), None)
        }
        _ => scatter::gradient_of_input(geometry, w, dy),
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
        let wants_dx = wants_gradient(x);
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
            let dx = gradient_of_input(&geometry, &Values::of("conv2d", w)?, &dy);
            Some(Tensor::from_vec(dx, x.dims(), x.device())?)
        } else {
            None
        };
        Ok((dx, Some(Tensor::from_vec(dw, w.dims(), w.device())?)))
    }
}

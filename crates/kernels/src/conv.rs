//! 2-D convolution, channels last.

pub(crate) mod direct;
pub(crate) mod geometry;
mod scatter;
mod winograd;

use candle_core::{Result, Shape, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::operation::{Argument, Operation, apply, gradient_of, sizes};
use crate::parallel::Values;
use crate::sums::wants_gradient;
use geometry::Geometry;

/// Convolution without bias.
///
/// `x` is `[N, H, W, C]`, `w` is `[O, KH, KW, C]`; the result is `[N, H', W', O]` with
/// `H' = (H + 2·padding − KH) / stride + 1`. An error names the shapes where they do not fit or `x` is empty.
pub fn conv2d(x: &Tensor, w: &Tensor, stride: usize, padding: usize) -> Result<Tensor> {
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
    apply(Conv2d { stride, padding }, [x, w])
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

impl Conv2d {
    fn sizes(&self, x: &[usize], w: &[usize]) -> Geometry {
        Geometry::new(x, w, self.stride, self.padding)
    }
}

impl Operation<2> for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn forward(&self, [x, w]: [Argument<'_>; 2]) -> Result<(Vec<f32>, Shape)> {
        let sizes = self.sizes(x.dims(), w.dims());
        let y = direct::forward(&sizes, x.values()?, &direct::packed(&sizes, w.values()?), None);
        Ok((y, (sizes.n, sizes.out_height, sizes.out_width, sizes.outputs).into()))
    }

    fn backward(&self, [x, w]: [&Tensor; 2], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let sizes = self.sizes(x.dims(), w.dims());
        let [xs, ws, dy] = Values::each("conv2d", [x, w, grad])?;
        let dw = direct::gradient_of_weights(&sizes, &xs, &dy);
        let dx = match wants_gradient(x) {
            true => gradient_of(x, gradient_of_input(&sizes, &ws, &dy))?,
            false => None,
        };
        Ok([dx, gradient_of(w, dw)?])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [x, w]: [Input<'_>; 2]) -> Result<Made> {
        cuda::convolution(&x, &w, self.sizes(x.dims(), w.dims()))
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(&self, [x, w]: [&Tensor; 2], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let (sizes, wants_dx) = (self.sizes(x.dims(), w.dims()), wants_gradient(x));
        let [x, w, grad] = Input::each("conv2d", [x, w, grad])?;
        let (dw, dx) = cuda::convolution_backward(&x, &w, &grad, sizes, wants_dx)?;
        Ok([dx.map(cuda::tensor), cuda::some(dw)])
    }
}

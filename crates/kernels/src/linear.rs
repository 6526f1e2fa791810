//! `y = x · wᵀ + b`: the fully connected layer, also the 1×1 convolution.

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

use crate::conv::{self, Geometry, direct};
#[cfg(feature = "cuda")]
use crate::cuda;
use crate::fused::{apply2, apply3};
use crate::parallel::{Values, values};
use crate::sums::{column_sums, wants_gradient};

/// `x · wᵀ + b`, on the last dimension of `x`.
///
/// `x` is `[.., I]`, `w` is `[O, I]`, `bias` is `[O]`; the result is `[.., O]`. An error names the shapes where
/// they do not fit or one is empty.
pub fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (outputs, inputs) = w.dims2()?;
    let fits = x.dims().last() == Some(&inputs) && bias.is_none_or(|bias| bias.dims() == [outputs]);
    if !fits || x.elem_count() == 0 || outputs == 0 {
        let bias = bias.map(|bias| bias.dims().to_vec());
        bail!(
            "linear: expected x [.., {inputs}] with at least one row and bias [{outputs}] for w {:?}, found x {:?}, bias {bias:?}",
            w.dims(),
            x.dims()
        );
    }
    let (x, w) = (x.contiguous()?, w.contiguous()?);
    match bias {
        Some(bias) => apply3(&x, &w, &bias.contiguous()?, Linear),
        None => apply2(&x, &w, Linear),
    }
}

struct Linear;

impl Linear {
    fn forward(
        x: &[f32],
        w: &[f32],
        bias: Option<&[f32]>,
        shape: &Shape,
        outputs: usize,
    ) -> (CpuStorage, Shape) {
        let mut dims = shape.dims().to_vec();
        let inputs = dims.pop().unwrap_or(1);
        dims.push(outputs);
        let y = product_with_weights(x, inputs, w, outputs, bias);
        (CpuStorage::F32(y), Shape::from(dims))
    }
}

/// `y[r, O] = x[r, I] · w[O, I]ᵀ + b`: a convolution of single pixels.
pub(crate) fn product_with_weights(
    x: &[f32],
    inputs: usize,
    w: &[f32],
    outputs: usize,
    bias: Option<&[f32]>,
) -> Vec<f32> {
    let geometry = Geometry::of_rows(x.len() / inputs, inputs, outputs);
    direct::forward(&geometry, x, &direct::packed(&geometry, w), bias)
}

/// Gradient of the input: `dx[r, I] = dy[r, O] · w[O, I]`.
fn gradient_of_input(dy: &[f32], outputs: usize, w: &[f32], inputs: usize) -> Vec<f32> {
    conv::gradient_of_input(&Geometry::of_rows(dy.len() / outputs, inputs, outputs), w, dy)
}

/// Gradient of the weights: `dw[O, I] = dy[r, O]ᵀ · x[r, I]`.
fn gradient_of_weights(dy: &[f32], outputs: usize, x: &[f32], inputs: usize) -> Vec<f32> {
    direct::gradient_of_weights(&Geometry::of_rows(dy.len() / outputs, inputs, outputs), x, dy)
}

/// Gradients of `x`, where it is wanted, of `w` and of the bias.
pub(crate) fn backward(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<(Option<Tensor>, Tensor, Tensor)> {
    let (outputs, inputs) = w.dims2()?;
    let grad = grad.contiguous()?;
    let (x_values, w_values) = (Values::of("linear", x)?, Values::of("linear", w)?);
    let dy = Values::of("linear", &grad)?;
    let device = x.device();
    let dx = if wants_gradient(x) {
        Some(Tensor::from_vec(gradient_of_input(&dy, outputs, &w_values, inputs), x.dims(), device)?)
    } else {
        None
    };
    let dw = Tensor::from_vec(gradient_of_weights(&dy, outputs, &x_values, inputs), w.dims(), device)?;
    let db = Tensor::from_vec(column_sums(&dy, outputs), outputs, device)?;
    Ok((dx, dw, db))
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (values("linear", x, lx)?, values("linear", w, lw)?);
        Ok(Self::forward(x, w, None, lx.shape(), lw.dims()[0]))
    }

    cuda_forward!(self, "linear", x, w => cuda::linear(&x, &w, None));

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        let wants_dx = wants_gradient(x);
        cuda_backward!("linear", grad, x, w => {
            let gradients = cuda::linear_backward(&x, &w, &grad, wants_dx, false)?;
            Ok((gradients.dx.map(cuda::tensor), cuda::some(gradients.dw)))
        });
        let (dx, dw, _) = backward(x, w, grad)?;
        Ok((dx, Some(dw)))
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (values("linear", x, lx)?, values("linear", w, lw)?);
        Ok(Self::forward(x, w, Some(values("linear", b, lb)?), lx.shape(), lw.dims()[0]))
    }

    cuda_forward!(self, "linear", x, w, bias => cuda::linear(&x, &w, Some(&bias)));

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _bias: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        let wants_dx = wants_gradient(x);
        cuda_backward!("linear", grad, x, w => {
            let gradients = cuda::linear_backward(&x, &w, &grad, wants_dx, true)?;
            let db = gradients.db.map(cuda::tensor);
            Ok((gradients.dx.map(cuda::tensor), cuda::some(gradients.dw), db))
        });
        let (dx, dw, db) = backward(x, w, grad)?;
        Ok((dx, Some(dw), Some(db)))
    }
}

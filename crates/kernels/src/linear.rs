//! `y = x · wᵀ + b`: the fully connected layer, also the 1×1 convolution.

use candle_core::{Result, Shape, Tensor, bail};

use crate::conv::geometry::Geometry;
use crate::conv::{self, direct};
#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::operation::{Argument, Operation, apply, gradient_of, sizes};
use crate::parallel::Values;
use crate::sums::{column_sums, wants_gradient};

/// `x · wᵀ + b`, on the last dimension of `x`.
///
/// `x` is `[.., I]`, `w` is `[O, I]`, `bias` is `[O]`; the result is `[.., O]`. An error names the shapes where
/// they do not fit or one is empty.
pub fn linear(x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    linear_of("linear", x, w, bias)
}

/// As [`linear`], a part of the operation `name`.
pub(crate) fn linear_of(name: &'static str, x: &Tensor, w: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let [outputs, inputs] = sizes(w);
    let fits = x.dims().last() == Some(&inputs) && bias.is_none_or(|bias| bias.dims() == [outputs]);
    if !fits || x.elem_count() == 0 || outputs == 0 {
        let bias = bias.map(|bias| bias.dims().to_vec());
        bail!(
            "{name}: expected x [.., I], w [O, I] and bias [O], not empty, found {:?}, {:?} and {bias:?}",
            x.dims(),
            w.dims()
        );
    }
    match bias {
        Some(bias) => apply(Linear { name }, [x, w, bias]),
        None => apply(Linear { name }, [x, w]),
    }
}

struct Linear {
    name: &'static str,
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
pub(crate) fn backward(x: &Tensor, w: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
    let (outputs, inputs) = w.dims2()?;
    let [x_values, w_values, dy] = Values::each("linear", [x, w, grad])?;
    let dx = match wants_gradient(x) {
        true => gradient_of(x, gradient_of_input(&dy, outputs, &w_values, inputs))?,
        false => None,
    };
    let dw = gradient_of(w, gradient_of_weights(&dy, outputs, &x_values, inputs))?;
    Ok([dx, dw, Some(Tensor::from_vec(column_sums(&dy, outputs), outputs, x.device())?)])
}

/// With or without a bias.
impl<const N: usize> Operation<N> for Linear {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, arguments: [Argument<'_>; N]) -> Result<(Vec<f32>, Shape)> {
        let [x, w] = [&arguments[0], &arguments[1]];
        let bias = arguments.get(2).map(Argument::values).transpose()?;
        let outputs = w.dims()[0];
        let mut dims = x.dims().to_vec();
        let inputs = dims.pop().unwrap_or(1);
        dims.push(outputs);
        Ok((product_with_weights(x.values()?, inputs, w.values()?, outputs, bias), dims.into()))
    }

    fn backward(&self, arguments: [&Tensor; N], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; N]> {
        let mut gradients = backward(arguments[0], arguments[1], grad)?.into_iter();
        Ok(std::array::from_fn(|_| gradients.next().flatten()))
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, arguments: [Input<'_>; N]) -> Result<Made> {
        cuda::linear(&arguments[0], &arguments[1], arguments.get(2))
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        arguments: [&Tensor; N],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; N]> {
        let [x, w, grad] = Input::each("linear", [arguments[0], arguments[1], grad])?;
        let gradients = cuda::linear_backward(&x, &w, &grad, wants_gradient(arguments[0]), N == 3)?;
        let mut gradients = [gradients.dx, Some(gradients.dw), gradients.db].into_iter();
        Ok(std::array::from_fn(|_| gradients.next().flatten().map(cuda::tensor)))
    }
}

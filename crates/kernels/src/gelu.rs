//! GELU, exact and as CLIP approximates it, alone and behind a fully connected layer.

use std::f32::consts::FRAC_1_SQRT_2;
use std::sync::OnceLock;

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::linear::{self, linear, product_with_weights};
use crate::operation::{Argument, Operation, apply, gradient_of};
use crate::parallel::{Values, exp, written};
use crate::sums::wants_gradient;
use crate::wide::wide;

/// Values handled by one task.
const CHUNK: usize = 16 << 10;

/// Which GELU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x · sigmoid(1.702 x)`, CLIP's approximation.
    Quick,
    /// `x · Φ(x)` with the normal distribution Φ (Hendrycks and Gimpel 2016), PyTorch's default.
    Exact,
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-1.702 * x))
}

/// Φ(x), to 2e-7, and for negative x to a relative error that grows to 3e-6 at −5: Chebyshev's fit of erfc in Numerical Recipes
/// (Press et al. 1992, section 6.2, `erfcc`).
#[inline(always)]
fn normal_distribution(x: f32) -> f32 {
    let z = x.abs() * FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * z);
    let p = 0.170_872_77 * t - 0.822_152_23;
    let p = p * t + 1.488_515_9;
    let p = p * t - 1.135_204;
    let p = p * t + 0.278_868_07;
    let p = p * t - 0.186_288_06;
    let p = p * t + 0.096_784_18;
    let p = p * t + 0.374_091_96;
    let p = p * t + 1.000_023_7;
    let p = p * t - 1.265_512_2;
    let half = 0.5 * t * exp(p - z * z);
    if x < 0.0 { half } else { 1.0 - half }
}

/// φ(x) = Φ'(x).
#[inline(always)]
fn normal_density(x: f32) -> f32 {
    0.398_942_3 * exp(-0.5 * x * x)
}

wide! {
    fn quick_values(y: &mut [f32], x: &[f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x * sigmoid(*x));
    }

    fn exact_values(y: &mut [f32], x: &[f32]) {
        y.iter_mut().zip(x).for_each(|(y, x)| *y = x * normal_distribution(*x));
    }

    fn quick_slopes(dx: &mut [f32], x: &[f32], dy: &[f32]) {
        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            let s = sigmoid(*x);
            *dx = dy * (s + 1.702 * x * s * (1.0 - s));
        }
    }

    fn exact_slopes(dx: &mut [f32], x: &[f32], dy: &[f32]) {
        for ((dx, x), dy) in dx.iter_mut().zip(x).zip(dy) {
            *dx = dy * (normal_distribution(*x) + x * normal_density(*x));
        }
    }

}

impl Gelu {
    fn name(self) -> &'static str {
        match self {
            Gelu::Quick => "quick_gelu",
            Gelu::Exact => "gelu",
        }
    }

    /// Writes all of `y`.
    fn values(self, y: &mut [f32], x: &[f32]) {
        match self {
            Gelu::Quick => quick_values(y, x),
            Gelu::Exact => exact_values(y, x),
        }
    }

    /// Writes all of `dx`, the gradient of `x` for the one of the result.
    fn slopes(self, dx: &mut [f32], x: &[f32], dy: &[f32]) {
        match self {
            Gelu::Quick => quick_slopes(dx, x, dy),
            Gelu::Exact => exact_slopes(dx, x, dy),
        }
    }

    /// [`Self::values`] in parallel.
    fn of_all(self, x: &[f32]) -> Vec<f32> {
        written(x.len(), |y| {
            y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| self.values(y, x));
        })
    }

    /// [`Self::slopes`] in parallel.
    fn through_all(self, x: &[f32], dy: &[f32]) -> Vec<f32> {
        written(x.len(), |dx| {
            let chunks = dx.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK));
            chunks.for_each(|((dx, x), dy)| self.slopes(dx, x, dy));
        })
    }
}

/// `x · sigmoid(1.702 x)`, CLIP's approximation of GELU; an error where `x` is empty.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    of_each(x, Gelu::Quick)
}

/// `x · Φ(x)`, exact as PyTorch's default; an error where `x` is empty.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    of_each(x, Gelu::Exact)
}

fn of_each(x: &Tensor, kind: Gelu) -> Result<Tensor> {
    if x.elem_count() == 0 {
        bail!("{}: expected at least one value, found {:?}", kind.name(), x.dims());
    }
    apply(ElementWise(kind), [x])
}

struct ElementWise(Gelu);

impl Operation<1> for ElementWise {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn forward(&self, [x]: [Argument<'_>; 1]) -> Result<(Vec<f32>, Shape)> {
        Ok((self.0.of_all(x.values()?), x.shape().clone()))
    }

    fn backward(&self, [x]: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let [xs, dy] = Values::each(self.0.name(), [x, grad])?;
        Ok([gradient_of(x, self.0.through_all(&xs, &dy))?])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [x]: [Input<'_>; 1]) -> Result<Made> {
        cuda::gelu(&x, self.0)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(&self, [x]: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let [x, grad] = Input::each("gelu", [x, grad])?;
        Ok([cuda::some(cuda::gelu_backward(&x, &grad, self.0)?)])
    }
}

/// `gelu(x · wᵀ + bias)`, on the last dimension of `x`, as one operation.
///
/// `x` is `[.., I]`, `w` is `[O, I]`, `bias` is `[O]`; the result is `[.., O]`. An error names the shapes where they
/// do not fit or one is empty.
pub fn linear_gelu(x: &Tensor, w: &Tensor, bias: &Tensor, kind: Gelu) -> Result<Tensor> {
    let fits = w.rank() == 2 && x.dims().last() == w.dims().last() && bias.dims() == &w.dims()[..1];
    if !fits || x.elem_count() == 0 || w.elem_count() == 0 {
        bail!(
            "linear_gelu: expected x [.., I], w [O, I] and bias [O], not empty, found {:?}, {:?} and {:?}",
            x.dims(),
            w.dims(),
            bias.dims()
        );
    }
    if !x.device().is_cpu() {
        // Two operations, until there is a CUDA side of this one.
        let composed = linear(x, w, Some(bias)).and_then(|y| of_each(&y, kind));
        return composed.map_err(|error| error.context("linear_gelu"));
    }
    let keeps = [x, w, bias].into_iter().any(wants_gradient);
    let operation = LinearGelu { kind, keeps, before: OnceLock::new() };
    apply(operation, [x, w, bias])
}

struct LinearGelu {
    kind: Gelu,
    /// Whether a backward pass may follow.
    keeps: bool,
    /// What the non-linearity was applied to, `[rows, O]`.
    before: OnceLock<Vec<f32>>,
}

impl Operation<3> for LinearGelu {
    fn name(&self) -> &'static str {
        "linear_gelu"
    }

    fn forward(&self, [x, w, bias]: [Argument<'_>; 3]) -> Result<(Vec<f32>, Shape)> {
        let (w, bias) = (w.values()?, bias.values()?);
        let (outputs, inputs) = (bias.len(), w.len() / bias.len());
        let before = product_with_weights(x.values()?, inputs, w, outputs, Some(bias));
        let y = self.kind.of_all(&before);
        if self.keeps {
            self.before.set(before).ok();
        }
        let mut dims = x.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = outputs;
        }
        Ok((y, dims.into()))
    }

    fn backward(&self, [x, w, _]: [&Tensor; 3], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let Some(before) = self.before.get() else { bail!("linear_gelu: backward without forward") };
        let dz = self.kind.through_all(before, &Values::of("linear_gelu", grad)?);
        linear::backward(x, w, &Tensor::from_vec(dz, grad.dims(), grad.device())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Φ by Simpson's rule from 0.
    fn expected(x: f64) -> f64 {
        let (steps, density) = (2_000, |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt());
        let width = x / f64::from(steps);
        let weight = |step: i32| if step == 0 || step == steps { 1.0 } else { f64::from(2 + step % 2 * 2) };
        let sum: f64 = (0..=steps).map(|step| weight(step) * density(width * f64::from(step))).sum();
        0.5 + sum * width / 3.0
    }

    #[test]
    fn the_normal_distribution_is_close() {
        for step in -500..=500 {
            let x = step as f32 / 100.0;
            let (found, expected) = (f64::from(normal_distribution(x)), expected(f64::from(x)));
            assert!((found / expected - 1.0).abs() < 3e-6, "Φ({x}) = {found}, expected {expected}");
            assert!((found - expected).abs() < 2e-7, "Φ({x}) = {found}, expected {expected}");
        }
        assert!(normal_distribution(-1e4) < 1e-37 && normal_distribution(1e4) == 1.0);
        assert!(normal_distribution(f32::NAN).is_nan());
    }
}

//! Batch normalisation, fused with the addition of a residual and with ReLU.

mod loops;

use std::sync::{Arc, OnceLock};

use candle_core::{Result, Shape, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::norm::check;
use crate::operation::{Argument, Operation, apply, gradient_of};
use crate::parallel::Values;

/// What follows the normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(0, ·).
    Relu,
}

impl Activation {
    /// What values are raised to.
    fn floor(self) -> f32 {
        match self {
            Activation::Identity => f32::NEG_INFINITY,
            Activation::Relu => 0.0,
        }
    }
}

/// Statistics of one batch, per channel, on the device of the batch.
#[derive(Clone, Debug)]
pub struct BatchStatistics {
    /// Mean, `[C]`.
    pub mean: Tensor,
    /// Unbiased variance (n − 1; for one row the biased one), which running statistics take, `[C]`.
    pub variance: Tensor,
}

/// Batch normalisation over all but the last dimension with the batch's own statistics, plus `residual` where
/// there is one, then `activation`.
///
/// `x` and `residual` are `[.., C]`, `gamma` and `beta` are `[C]`. Returns the result and the statistics for the
/// running averages. An error names the shapes where they do not fit or `x` is empty.
pub fn batch_norm_train(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    residual: Option<&Tensor>,
    epsilon: f64,
    activation: Activation,
) -> Result<(Tensor, BatchStatistics)> {
    check("batch_norm_train", x, gamma, beta)?;
    let moments = Arc::new(OnceLock::new());
    let (name, epsilon) = ("batch_norm_train", epsilon as f32);
    let operation = BatchNorm { name, given: None, moments: moments.clone(), epsilon, activation };
    let y = operation.apply(x, gamma, beta, residual)?;
    let Some(Moments { mean, variance }) = moments.get() else {
        bail!("batch_norm_train: no statistics were computed")
    };
    let rows = x.elem_count() / gamma.elem_count();
    let unbiased = rows as f64 / rows.saturating_sub(1).max(1) as f64;
    Ok((y, BatchStatistics { mean: mean.clone(), variance: (variance * unbiased)? }))
}

/// As [`batch_norm_train`], with the given statistics, `[C]` each, in place of the batch's. Differentiable in all
/// but the statistics.
pub fn batch_norm_eval(
    x: &Tensor,
    gamma: &Tensor,
    beta: &Tensor,
    statistics: (&Tensor, &Tensor),
    residual: Option<&Tensor>,
    epsilon: f64,
    activation: Activation,
) -> Result<Tensor> {
    check("batch_norm_eval", x, gamma, beta)?;
    let (mean, variance) = statistics;
    if mean.dims() != gamma.dims() || variance.dims() != gamma.dims() {
        bail!(
            "batch_norm_eval: expected a mean and a variance of {:?}, found {:?} and {:?}",
            gamma.dims(),
            mean.dims(),
            variance.dims()
        );
    }
    let given = Some(Moments { mean: mean.contiguous()?, variance: variance.contiguous()? });
    let (name, epsilon) = ("batch_norm_eval", epsilon as f32);
    let operation = BatchNorm { name, given, moments: Arc::default(), epsilon, activation };
    operation.apply(x, gamma, beta, residual)
}

/// Mean and biased variance per channel, `[C]`.
struct Moments {
    mean: Tensor,
    variance: Tensor,
}

struct BatchNorm {
    name: &'static str,
    given: Option<Moments>,
    moments: Arc<OnceLock<Moments>>,
    epsilon: f32,
    activation: Activation,
}

impl BatchNorm {
    fn apply(self, x: &Tensor, gamma: &Tensor, beta: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let affine = &apply(Stack { name: self.name }, [gamma, beta])?;
        match residual {
            None => apply(self, [x, affine]),
            Some(residual) if residual.dims() == x.dims() => apply(self, [x, affine, residual]),
            Some(residual) => {
                bail!("{}: expected a residual of {:?}, found {:?}", self.name, x.dims(), residual.dims())
            }
        }
    }

    fn used(&self) -> Result<&Moments> {
        match self.given.as_ref().or_else(|| self.moments.get()) {
            Some(moments) => Ok(moments),
            None => bail!("{}: backward before forward", self.name),
        }
    }

    /// The statistics that this call uses, found in `x` unless they are given.
    fn moments(&self, x: &[f32], channels: usize) -> Result<&Moments> {
        if self.given.is_none() && self.moments.get().is_none() {
            let (mean, variance) = loops::moments(x, channels);
            let tensor = |values: Vec<f32>| Tensor::from_vec(values, channels, &candle_core::Device::Cpu);
            // Another thread may have been first, with the same numbers.
            self.moments.set(Moments { mean: tensor(mean)?, variance: tensor(variance)? }).ok();
        }
        self.used()
    }

    fn with_channels<R>(
        &self,
        moments: &Moments,
        affine: &[f32],
        run: impl FnOnce(&loops::Channels<'_>) -> R,
    ) -> Result<R> {
        let [mean, variance] = Values::each(self.name, [&moments.mean, &moments.variance])?;
        let (gamma, beta) = affine.split_at(mean.len());
        let inverse: Vec<f32> =
            variance.iter().map(|variance| 1.0 / (variance + self.epsilon).sqrt()).collect();
        let (floor, of_batch) = (self.activation.floor(), self.given.is_none());
        Ok(run(&loops::Channels { mean: &mean, inverse: &inverse, gamma, beta, floor, of_batch }))
    }

    /// Whether the gradient of a residual is another than the one of the result, which an activation masks.
    fn wants_masked<const N: usize>(&self) -> bool {
        N == 3 && self.activation != Activation::Identity
    }

    #[cfg(feature = "cuda")]
    fn on_cuda<'a>(&self, affine: &'a Input<'a>, moments: &'a Moments) -> Result<cuda::BatchNorm<'a>> {
        let [mean, variance] = Input::each(self.name, [&moments.mean, &moments.variance])?;
        let (floor, of_batch) = (self.activation.floor(), self.given.is_none());
        Ok(cuda::BatchNorm { affine, mean, variance, epsilon: self.epsilon, floor, of_batch })
    }
}

/// With or without a residual.
impl<const N: usize> Operation<N> for BatchNorm {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, arguments: [Argument<'_>; N]) -> Result<(Vec<f32>, Shape)> {
        let (x, affine) = (arguments[0].values()?, arguments[1].values()?);
        let residual = arguments.get(2).map(Argument::values).transpose()?;
        let moments = self.moments(x, affine.len() / 2)?;
        let y = self.with_channels(moments, affine, |channels| channels.normalise(x, residual))?;
        Ok((y, arguments[0].shape().clone()))
    }

    fn backward(&self, arguments: [&Tensor; N], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; N]> {
        let (x, affine, has_residual) = (arguments[0], arguments[1], N == 3);
        let [xs, affines, ys, dy] = Values::each(self.name, [x, affine, y, grad])?;
        let wants_masked = self.wants_masked::<N>();
        let (dx, masked, daffine) = self.with_channels(self.used()?, &affines, |channels| {
            channels.gradients(&xs, has_residual.then_some(&*ys), &dy, wants_masked)
        })?;
        let dresidual = match masked {
            Some(masked) => gradient_of(x, masked)?,
            None => Some(grad.clone()),
        };
        let mut gradients = [gradient_of(x, dx)?, gradient_of(affine, daffine)?, dresidual].into_iter();
        Ok(std::array::from_fn(|_| gradients.next().flatten()))
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, arguments: [Input<'_>; N]) -> Result<Made> {
        let [x, affine] = [&arguments[0], &arguments[1]];
        if self.given.is_none() && self.moments.get().is_none() {
            let (mean, variance) = cuda::batch_moments(x)?;
            let moments = Moments { mean: cuda::tensor(mean), variance: cuda::tensor(variance) };
            self.moments.set(moments).ok(); // another thread may have been first, with the same numbers
        }
        self.on_cuda(affine, self.used()?)?.forward(x, arguments.get(2))
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        arguments: [&Tensor; N],
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; N]> {
        let [x, affine, y, dy] = Input::each(self.name, [arguments[0], arguments[1], y, grad])?;
        let norm = self.on_cuda(&affine, self.used()?)?;
        let (dx, daffine, masked) = norm.backward(&x, &y, &dy, self.wants_masked::<N>())?;
        let dresidual = masked.map_or_else(|| grad.clone(), cuda::tensor);
        let mut gradients = [cuda::tensor(dx), cuda::tensor(daffine), dresidual].into_iter();
        Ok(std::array::from_fn(|_| gradients.next()))
    }
}

/// Two tensors `[C]` as `[2, C]`, since an operation takes three arguments at most.
struct Stack {
    name: &'static str,
}

impl Operation<2> for Stack {
    fn name(&self) -> &'static str {
        self.name
    }

    fn forward(&self, [a, b]: [Argument<'_>; 2]) -> Result<(Vec<f32>, Shape)> {
        Ok(([a.values()?, b.values()?].concat(), (2, a.shape().elem_count()).into()))
    }

    fn backward(&self, _: [&Tensor; 2], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        Ok([Some(grad.get(0)?), Some(grad.get(1)?)])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [a, b]: [Input<'_>; 2]) -> Result<Made> {
        cuda::stack(&a, &b)
    }
}

//! Batch normalisation, fused with the addition of a residual and with ReLU.

#[cfg(feature = "cuda")]
mod device;
mod loops;

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::fused::{apply2, apply3};
use crate::norm::check;
use crate::parallel::{Values, values};

/// What follows the normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(0, ·).
    Relu,
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
    let operation = BatchNorm { given: None, moments: moments.clone(), epsilon: epsilon as f32, activation };
    let y = operation.apply("batch_norm_train", x, gamma, beta, residual)?;
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
    let operation = BatchNorm { given, moments: Arc::default(), epsilon: epsilon as f32, activation };
    operation.apply("batch_norm_eval", x, gamma, beta, residual)
}

/// Mean and biased variance per channel, `[C]`.
struct Moments {
    mean: Tensor,
    variance: Tensor,
}

struct BatchNorm {
    given: Option<Moments>,
    moments: Arc<OnceLock<Moments>>,
    epsilon: f32,
    activation: Activation,
}

impl BatchNorm {
    fn apply(
        self,
        operation: &str,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        residual: Option<&Tensor>,
    ) -> Result<Tensor> {
        let affine = apply2(&gamma.contiguous()?, &beta.contiguous()?, Stack)?;
        match residual {
            None => apply2(&x.contiguous()?, &affine, self),
            Some(residual) if residual.dims() == x.dims() => {
                apply3(&x.contiguous()?, &affine, &residual.contiguous()?, self)
            }
            Some(residual) => {
                bail!("{operation}: expected a residual of {:?}, found {:?}", x.dims(), residual.dims())
            }
        }
    }

    fn used(&self) -> Result<&Moments> {
        match self.given.as_ref().or_else(|| self.moments.get()) {
            Some(moments) => Ok(moments),
            None => bail!("batch_norm: backward before forward"),
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
        let (mean, variance) =
            (Values::of("batch_norm", &moments.mean)?, Values::of("batch_norm", &moments.variance)?);
        let (gamma, beta) = affine.split_at(mean.len());
        let inverse: Vec<f32> =
            variance.iter().map(|variance| 1.0 / (variance + self.epsilon).sqrt()).collect();
        let floor = match self.activation {
            Activation::Identity => f32::NEG_INFINITY,
            Activation::Relu => 0.0,
        };
        let of_batch = self.given.is_none();
        Ok(run(&loops::Channels { mean: &mean, inverse: &inverse, gamma, beta, floor, of_batch }))
    }

    fn forward(&self, x: &[f32], affine: &[f32], residual: Option<&[f32]>) -> Result<CpuStorage> {
        let moments = self.moments(x, affine.len() / 2)?;
        let y = self.with_channels(moments, affine, |channels| channels.normalise(x, residual))?;
        Ok(CpuStorage::F32(y))
    }

    /// Gradients of `x`, `affine` and, where there is one, the residual.
    fn backward(
        &self,
        x: &Tensor,
        affine: &Tensor,
        has_residual: bool,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Tensor, Tensor, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        #[cfg(feature = "cuda")]
        if grad.device().is_cuda() {
            return self.cuda_backward(x, affine, has_residual, y, &grad);
        }
        let moments = self.used()?;
        let (x_values, y_values) = (Values::of("batch_norm", x)?, Values::of("batch_norm", y)?);
        let (affine_values, dy) = (Values::of("batch_norm", affine)?, Values::of("batch_norm", &grad)?);
        // Without an activation the residual's gradient is `grad` itself.
        let wants_masked = has_residual && self.activation != Activation::Identity;
        let (dx, masked, daffine) = self.with_channels(moments, &affine_values, |channels| {
            channels.gradients(&x_values, has_residual.then_some(&*y_values), &dy, wants_masked)
        })?;
        let tensor = |values: Vec<f32>, like: &Tensor| Tensor::from_vec(values, like.dims(), like.device());
        let dresidual = match masked {
            Some(masked) => Some(tensor(masked, x)?),
            None => has_residual.then(|| grad.clone()),
        };
        Ok((tensor(dx, x)?, tensor(daffine, affine)?, dresidual))
    }
}

impl CustomOp2 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        affine: &CpuStorage,
        la: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, affine) = (values("batch_norm", x, lx)?, values("batch_norm", affine, la)?);
        Ok((self.forward(x, affine, None)?, lx.shape().clone()))
    }

    cuda_forward!(self, "batch_norm", x, affine => self.cuda_forward(&x, affine, None));

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (dx, daffine, _) = self.backward(x, affine, false, y, grad)?;
        Ok((Some(dx), Some(daffine)))
    }
}

impl CustomOp3 for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm_residual"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        affine: &CpuStorage,
        la: &Layout,
        residual: &CpuStorage,
        lr: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, affine) = (values("batch_norm", x, lx)?, values("batch_norm", affine, la)?);
        let residual = values("batch_norm", residual, lr)?;
        Ok((self.forward(x, affine, Some(residual))?, lx.shape().clone()))
    }

    cuda_forward!(self, "batch_norm", x, affine, residual => self.cuda_forward(&x, affine, Some(&residual)));

    fn bwd(
        &self,
        x: &Tensor,
        affine: &Tensor,
        _residual: &Tensor,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (dx, daffine, dresidual) = self.backward(x, affine, true, y, grad)?;
        Ok((Some(dx), Some(daffine), dresidual))
    }
}

/// Two tensors `[C]` as `[2, C]`, since an operation takes three arguments at most.
struct Stack;

impl CustomOp2 for Stack {
    fn name(&self) -> &'static str {
        "stack"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let both = [values("stack", a, la)?, values("stack", b, lb)?].concat();
        Ok((CpuStorage::F32(both), Shape::from((2, la.shape().elem_count()))))
    }

    cuda_forward!(self, "stack", a, b => cuda::stack(&a, &b));

    fn bwd(
        &self,
        _a: &Tensor,
        _b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.get(0)?), Some(grad.get(1)?)))
    }
}

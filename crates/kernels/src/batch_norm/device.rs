//! Batch norm on CUDA.

use candle_core::{CudaStorage, Result, Shape, Tensor};

use super::{Activation, BatchNorm, Moments};
use crate::cuda::{self, Input};

impl BatchNorm {
    fn cuda_norm<'a>(&self, affine: Input<'a>, moments: &'a Moments) -> Result<cuda::BatchNorm<'a>> {
        Ok(cuda::BatchNorm {
            affine,
            mean: Input::of("batch_norm", &moments.mean)?,
            variance: Input::of("batch_norm", &moments.variance)?,
            epsilon: self.epsilon,
            floor: match self.activation {
                Activation::Identity => f32::NEG_INFINITY,
                Activation::Relu => 0.0,
            },
            of_batch: self.given.is_none(),
        })
    }

    pub(super) fn cuda_forward(
        &self,
        x: &Input<'_>,
        affine: Input<'_>,
        residual: Option<&Input<'_>>,
    ) -> Result<(CudaStorage, Shape)> {
        if self.given.is_none() && self.moments.get().is_none() {
            let (mean, variance) = cuda::batch_moments(x)?;
            let moments = Moments { mean: cuda::tensor(mean), variance: cuda::tensor(variance) };
            self.moments.set(moments).ok(); // another thread may have been first, with the same numbers
        }
        self.cuda_norm(affine, self.used()?)?.forward(x, residual)
    }

    /// Gradients of `x`, `affine` and, where there is one, the residual.
    pub(super) fn cuda_backward(
        &self,
        x: &Tensor,
        affine: &Tensor,
        has_residual: bool,
        y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Tensor, Tensor, Option<Tensor>)> {
        let of = |tensor| Input::of("batch_norm", tensor);
        let norm = self.cuda_norm(of(affine)?, self.used()?)?;
        let wants_masked = has_residual && self.activation != Activation::Identity;
        let (dx, daffine, masked) = norm.backward(&of(x)?, &of(y)?, &of(grad)?, wants_masked)?;
        let dresidual = match masked {
            Some(masked) => Some(cuda::tensor(masked)),
            None => has_residual.then(|| grad.clone()),
        };
        Ok((cuda::tensor(dx), cuda::tensor(daffine), dresidual))
    }
}

//! The optimizer's parameters on CUDA: steps are queued, and what they found is read only when asked for.

use candle_core::{DType, Result, Tensor, Var, backprop::GradStore, bail};

use super::{AdamW, Entry, Factors, Optimizer, StepStatistics};
use crate::cuda;

/// Moments on a CUDA device, where the parameters are on one.
pub(super) fn moments(entries: &[Entry]) -> Result<Option<cuda::Moments>> {
    let parameters: Vec<(&Var, bool)> = entries.iter().map(|entry| (&entry.var, entry.decays)).collect();
    match parameters.first() {
        Some((var, _)) if var.device().is_cuda() => cuda::Moments::new(&parameters).map(Some),
        _ => Ok(None),
    }
}

impl Optimizer {
    /// Queues a step; [`Optimizer::check`] says later whether its gradients were finite.
    pub(super) fn cuda_step(&mut self, gradients: &GradStore, settings: &AdamW) -> Result<StepStatistics> {
        let mut found = Vec::with_capacity(self.entries.len());
        for Entry { name, var, .. } in &self.entries {
            let Some(gradient) = gradients.get(var) else {
                bail!("adamw: parameter {name:?} received no gradient");
            };
            if gradient.dims() != var.dims() || gradient.dtype() != DType::F32 {
                let (dtype, dims) = (gradient.dtype(), gradient.dims());
                bail!("adamw: parameter {name:?} {:?} with a gradient {dtype:?} {dims:?}", var.dims());
            }
            found.push(gradient.contiguous()?);
        }
        let vars: Vec<&Var> = self.entries.iter().map(|entry| &entry.var).collect();
        let Some(moments) = &mut self.on_device else { bail!("adamw: no moments on the device") };
        self.steps += 1;
        let factors = Factors::new(settings, self.steps, 1.0);
        let factors = cuda::Factors {
            step_size: factors.step_size,
            root_correction: factors.root_correction,
            keep_decaying: (1.0 - settings.learning_rate * settings.weight_decay) as f32,
            beta2: factors.beta2,
            share1: factors.share1,
            share2: factors.share2,
            epsilon: factors.epsilon,
        };
        moments.step(&vars, &found, factors, settings.largest_norm)?;
        Ok(StepStatistics { gradient_norm: f64::NAN })
    }

    /// What [`Optimizer::check`] says of parameters on CUDA.
    pub(super) fn cuda_check(&mut self) -> Result<()> {
        let Some(moments) = &self.on_device else { return Ok(()) };
        let squares = moments.squares()?;
        if let Some(at) = squares.iter().position(|squares| !squares.is_finite()) {
            self.torn = true;
            bail!("parameter {:?}: the gradient, or its square, is not finite", self.entries[at].name);
        }
        Ok(())
    }
}

/// Moments shaped as their parameters.
pub(super) fn shaped(entries: &[Entry], moments: Vec<[Tensor; 2]>) -> Result<Vec<[Tensor; 2]>> {
    let shape = |(entry, [first, second]): (&Entry, [Tensor; 2])| {
        Ok([first.reshape(entry.var.dims())?, second.reshape(entry.var.dims())?])
    };
    entries.iter().zip(moments).map(shape).collect()
}

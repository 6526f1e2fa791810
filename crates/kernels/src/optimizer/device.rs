//! The optimizer's parameters on CUDA: steps are queued, and what one found is read only where that is wanted.

use candle_core::{Result, Tensor, Var, backprop::GradStore, bail};

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
    /// Queues a step.
    pub(super) fn cuda_queue(&mut self, gradients: &GradStore, settings: &AdamW) -> Result<()> {
        let found = self.entries.iter().map(|entry| entry.gradient(gradients)).collect::<Result<Vec<_>>>()?;
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
        moments.step(&vars, &found, factors, settings.largest_norm)
    }

    /// Waits for the step that was queued with these gradients, and says what it and those queued before found.
    pub(super) fn cuda_check(&mut self, gradients: &GradStore, settings: &AdamW) -> Result<StepStatistics> {
        let Some(moments) = &mut self.on_device else { bail!("adamw: no moments on the device") };
        let squares = moments.squares()?;
        let Some(at) = moments.first_lost()? else {
            return Ok(StepStatistics { gradient_norm: squares.iter().sum::<f64>().sqrt() });
        };
        if settings.largest_norm.is_some() {
            self.steps -= 1; // the factor was not finite, so nothing has moved
        } else {
            self.torn = true;
        }
        let Entry { name, var, .. } = &self.entries[at];
        let values: Vec<f32> = match gradients.get(var) {
            Some(gradient) => gradient.flatten_all()?.to_vec1()?,
            None => Vec::new(),
        };
        let lost = values.iter().filter(|value| !value.is_finite()).count();
        let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        bail!(
            "parameter {name:?}: the gradient, or its square, is not finite in this step or one queued before: now {lost} of {} values, the largest {largest:e}",
            values.len()
        );
    }
}

/// Moments shaped as their parameters.
pub(super) fn shaped(entries: &[Entry], moments: Vec<[Tensor; 2]>) -> Result<Vec<[Tensor; 2]>> {
    let shape = |(entry, [first, second]): (&Entry, [Tensor; 2])| {
        Ok([first.reshape(entry.var.dims())?, second.reshape(entry.var.dims())?])
    };
    entries.iter().zip(moments).map(shape).collect()
}

//! AdamW in place.

use std::sync::Mutex;

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

use crate::parallel::values;

/// Values handled by one task.
const CHUNK: usize = 32 << 10;

/// AdamW with decoupled weight decay (Loshchilov and Hutter 2019), in PyTorch's order of operations.
#[derive(Clone, Copy, Debug)]
pub struct AdamW {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Share of a parameter taken away per unit of learning rate.
    pub weight_decay: f64,
}

struct Step<'a> {
    settings: AdamW,
    moments: Mutex<(&'a mut [f32], &'a mut [f32])>,
    step: u64,
}

impl AdamW {
    /// Moves `parameter` against `gradient` (same shape); `step` counts from 1. The moments have as many values as
    /// the parameter and start at 0. An error, and nothing moved, where the gradient is not finite.
    pub fn step(
        &self,
        parameter: &Var,
        gradient: &Tensor,
        first_moment: &mut [f32],
        second_moment: &mut [f32],
        step: u64,
    ) -> Result<()> {
        let count = parameter.elem_count();
        if gradient.dims() != parameter.dims() || first_moment.len() != count || second_moment.len() != count
        {
            bail!(
                "adamw: parameter {:?}, gradient {:?}, moments of {} and {} values",
                parameter.dims(),
                gradient.dims(),
                first_moment.len(),
                second_moment.len()
            );
        }
        let step = Step { settings: *self, moments: Mutex::new((first_moment, second_moment)), step };
        parameter.inplace_op2(&gradient.contiguous()?, &step)
    }
}

impl InplaceOp2 for Step<'_> {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn cpu_fwd(
        &self,
        parameter: &mut CpuStorage,
        lp: &Layout,
        gradient: &CpuStorage,
        lg: &Layout,
    ) -> Result<()> {
        let gradient = values("adamw", gradient, lg)?;
        let (CpuStorage::F32(parameter), Some((start, end))) = (parameter, lp.contiguous_offsets()) else {
            bail!("adamw: expected a contiguous f32 parameter");
        };
        // A sum is finite only if every term is, and vectorises; a false alarm needs gradients near 1e38.
        if !gradient
            .par_chunks(CHUNK)
            .all(|chunk| chunk.iter().map(|value| value.abs()).sum::<f32>().is_finite())
        {
            bail!("the gradient is not finite");
        }
        let settings = &self.settings;
        let steps = self.step as i32;
        let step_size = (settings.learning_rate / (1.0 - settings.beta1.powi(steps))) as f32;
        let root_correction = (1.0 - settings.beta2.powi(steps)).sqrt() as f32;
        let keep = (1.0 - settings.learning_rate * settings.weight_decay) as f32;
        let (beta2, epsilon) = (settings.beta2 as f32, settings.epsilon as f32);
        let (share1, share2) = ((1.0 - settings.beta1) as f32, (1.0 - settings.beta2) as f32);
        let mut moments = self.moments.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (first, second) = &mut *moments;
        let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
        parameter[start..end].par_chunks_mut(CHUNK).zip(gradient.par_chunks(CHUNK)).zip(moments).for_each(
            |((parameter, gradient), (first, second))| {
                for (((value, g), m), v) in parameter.iter_mut().zip(gradient).zip(first).zip(second) {
                    *m += (g - *m) * share1;
                    *v = *v * beta2 + g * g * share2;
                    *value = *value * keep - step_size * *m / (v.sqrt() / root_correction + epsilon);
                }
            },
        );
        Ok(())
    }
}

//! AdamW over all parameters in one pass.

#[cfg(feature = "cuda")]
mod device;

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use candle_core::{
    CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor, Var, backprop::GradStore, bail,
};
use rayon::prelude::*;

use crate::operation::values;
use crate::parallel::Values;

/// Values handled by one task.
const CHUNK: usize = 32 << 10;
/// Values whose gradient is looked at and then used while the first-level cache holds it.
const BLOCK: usize = 1 << 10;

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
    /// Share of a decaying parameter taken away per unit of learning rate.
    pub weight_decay: f64,
    /// Gradients are scaled down to this norm, taken over all parameters, where theirs is larger.
    pub largest_norm: Option<f64>,
}

/// What a step found.
#[derive(Clone, Copy, Debug)]
pub struct StepStatistics {
    /// Euclidean norm of all gradients together, before they were scaled down.
    pub gradient_norm: f64,
}

/// A parameter and its moments.
struct Entry {
    name: String,
    var: Var,
    decays: bool,
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Entry {
    /// The parameter's gradient, contiguous; an error where there is none or it does not fit.
    fn gradient(&self, gradients: &GradStore) -> Result<Tensor> {
        let Self { name, var, .. } = self;
        let Some(gradient) = gradients.get(var) else {
            bail!("adamw: parameter {name:?} received no gradient");
        };
        if gradient.dims() != var.dims() || gradient.dtype() != DType::F32 {
            let (dtype, dims) = (gradient.dtype(), gradient.dims());
            bail!("adamw: parameter {name:?} {:?} with a gradient {dtype:?} {dims:?}", var.dims());
        }
        gradient.contiguous()
    }
}

/// Parameters and AdamW's moments of them.
///
/// A gradient that is not finite is noticed on the pass that uses it: what holds it is not moved, but other
/// parameters may be. The step is then an error, and so is every further one until [`Optimizer::restore`], so that
/// nothing half-moved is trained on or saved. Where gradients are scaled down, their norm takes a pass of its own
/// and nothing is moved.
pub struct Optimizer {
    entries: Vec<Entry>,
    steps: u64,
    torn: bool,
    /// Moments of parameters on CUDA; those of the entries are empty then.
    #[cfg(feature = "cuda")]
    on_device: Option<crate::cuda::Moments>,
}

impl Optimizer {
    /// Moments of 0 for f32 parameters, each given as its name, its value, and whether weight decay applies to it.
    /// An error names a parameter that is given twice or is not f32.
    pub fn new(parameters: Vec<(String, Var, bool)>) -> Result<Self> {
        let (mut entries, mut seen) = (Vec::with_capacity(parameters.len()), HashSet::new());
        for (name, var, decays) in parameters {
            if var.dtype() != DType::F32 || !seen.insert(var.id()) {
                bail!("adamw: expected f32 parameters, each once, found {name:?} {:?}", var.as_tensor());
            }
            let count = if var.device().is_cpu() { var.elem_count() } else { 0 };
            entries.push(Entry { name, var, decays, first: vec![0.0; count], second: vec![0.0; count] });
        }
        Ok(Self {
            #[cfg(feature = "cuda")]
            on_device: device::moments(&entries)?,
            entries,
            steps: 0,
            torn: false,
        })
    }

    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// First and second moment of each parameter, shaped as it is, on the CPU; in the order given to
    /// [`Optimizer::new`]. An error after a step that failed.
    pub fn moments(&self) -> Result<Vec<[Tensor; 2]>> {
        self.check_whole()?;
        #[cfg(feature = "cuda")]
        if let Some(moments) = &self.on_device {
            return device::shaped(&self.entries, moments.read()?);
        }
        let tensor = |values: &[f32], var: &Var| Tensor::from_slice(values, var.dims(), &Device::Cpu);
        let moments =
            |entry: &Entry| Ok([tensor(&entry.first, &entry.var)?, tensor(&entry.second, &entry.var)?]);
        self.entries.iter().map(moments).collect()
    }

    /// Takes up where [`Optimizer::moments`] and [`Optimizer::steps`] were read; the parameters are the caller's to
    /// restore. An error, and nothing changed, where the moments do not fit.
    pub fn restore(&mut self, steps: u64, moments: &[[Tensor; 2]]) -> Result<()> {
        if moments.len() != self.entries.len() {
            bail!("adamw: moments of {} parameters, expected {}", moments.len(), self.entries.len());
        }
        let mut read = Vec::with_capacity(moments.len());
        for (Entry { name, var, .. }, [first, second]) in self.entries.iter().zip(moments) {
            if first.dims() != var.dims() || second.dims() != var.dims() {
                let found = (first.dims(), second.dims());
                bail!("adamw: moments {found:?} do not fit parameter {name:?} {:?}", var.dims());
            }
            read.push((first.flatten_all()?.to_vec1()?, second.flatten_all()?.to_vec1()?));
        }
        #[cfg(feature = "cuda")]
        if let Some(moments) = &mut self.on_device {
            moments.write(&read)?;
            (self.steps, self.torn) = (steps, false);
            return Ok(());
        }
        for (entry, (first, second)) in self.entries.iter_mut().zip(read) {
            (entry.first, entry.second) = (first, second);
        }
        (self.steps, self.torn) = (steps, false);
        Ok(())
    }

    fn check_whole(&self) -> Result<()> {
        if self.torn {
            bail!("adamw: a step failed and may have moved some parameters; restore a checkpoint first");
        }
        Ok(())
    }

    /// The gradient of each parameter, contiguous and in memory of its own.
    fn gradients(&self, gradients: &GradStore) -> Result<Vec<Tensor>> {
        let address = |tensor: &Tensor| Ok::<_, candle_core::Error>(Values::of("adamw", tensor)?.as_ptr());
        let mut parameters = HashSet::new();
        for Entry { name, var, .. } in &self.entries {
            if !parameters.insert(address(var)?) && var.elem_count() > 0 {
                bail!("adamw: parameter {name:?} shares its memory with another");
            }
        }
        let mut found = Vec::with_capacity(self.entries.len());
        for entry in &self.entries {
            let gradient = entry.gradient(gradients)?;
            // A parameter that is another's gradient would be read while it moves.
            let shared = parameters.contains(&address(&gradient)?);
            found.push(if shared { gradient.copy()? } else { gradient });
        }
        Ok(found)
    }

    /// Moves each parameter against its gradient. Errors name the parameter: no gradient, one that does not fit, one
    /// that is not finite or so large that its squares are not (above about 1e18).
    pub fn step(&mut self, gradients: &GradStore, settings: &AdamW) -> Result<StepStatistics> {
        self.check_whole()?;
        #[cfg(feature = "cuda")]
        if self.on_device.is_some() {
            self.cuda_queue(gradients, settings)?;
            return self.cuda_check(gradients, settings);
        }
        let gradients = self.gradients(gradients)?;
        let mut norm = None;
        let mut scale = 1f32;
        if let Some(largest) = settings.largest_norm {
            let squares = gradients.par_iter().map(sum_of_squares).collect::<Result<Vec<_>>>()?;
            let found = self.norm(&squares, &gradients)?;
            // PyTorch's clip_grad_norm_.
            scale = (largest / (found + 1e-6)).min(1.0) as f32;
            norm = Some(found);
        }
        self.torn = true;
        self.steps += 1;
        let (factors, steps) = (Factors::new(settings, self.steps, scale), self.steps);
        // Tensors in parallel and chunks within them: small tensors are handled beside each other.
        let squares = (self.entries.par_iter_mut().zip(&gradients))
            .map(|(entry, gradient)| {
                let Entry { name, var, decays, first, second } = entry;
                let keep = if *decays { 1.0 - settings.learning_rate * settings.weight_decay } else { 1.0 };
                let factors = Factors { keep: keep as f32, ..factors };
                let step = Step { factors, state: Mutex::new(State { first, second, squares: 0.0 }) };
                (var.inplace_op2(gradient, &step))
                    .map_err(|error| error.context(format!("parameter {name:?}, step {steps}")))?;
                Ok(step.state.into_inner().unwrap_or_else(PoisonError::into_inner).squares)
            })
            .collect::<Result<Vec<f64>>>()?;
        let found = self.norm(&squares, &gradients)?;
        self.torn = false;
        Ok(StepStatistics { gradient_norm: norm.unwrap_or(found) })
    }

    /// As [`Optimizer::step`], but on CUDA the step is only queued: whether its gradients were finite is said by the
    /// next step that is not.
    pub fn queue(&mut self, gradients: &GradStore, settings: &AdamW) -> Result<()> {
        #[cfg(feature = "cuda")]
        if self.on_device.is_some() {
            self.check_whole()?;
            return self.cuda_queue(gradients, settings);
        }
        self.step(gradients, settings).map(|_| ())
    }

    /// The norm of all gradients from each one's sum of squares; an error names the first that is not finite.
    fn norm(&self, squares: &[f64], gradients: &[Tensor]) -> Result<f64> {
        for ((entry, squares), gradient) in self.entries.iter().zip(squares).zip(gradients) {
            if !squares.is_finite() {
                let values = Values::of("adamw", gradient)?;
                let lost = values.iter().filter(|value| !value.is_finite()).count();
                let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
                bail!(
                    "parameter {:?}: the gradient, or its square, is not finite: {lost} of {} values, the largest {largest:e}",
                    entry.name,
                    values.len()
                );
            }
        }
        Ok(squares.iter().sum::<f64>().sqrt())
    }
}

/// Σ g² of a block, finite only if every term is. Sixteen sums side by side, which vectorise.
fn block_squares(block: &[f32]) -> f64 {
    let mut lanes = [0f32; 16];
    let (whole, rest) = block.as_chunks::<16>();
    for values in whole {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane += value * value;
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value * value;
    }
    lanes.iter().map(|lane| f64::from(*lane)).sum()
}

/// Σ g² of a contiguous tensor, added in an order that depends on its size alone.
fn sum_of_squares(gradient: &Tensor) -> Result<f64> {
    let values = Values::of("adamw", gradient)?;
    let chunks: Vec<f64> =
        values.par_chunks(CHUNK).map(|chunk| chunk.chunks(BLOCK).map(block_squares).sum()).collect();
    Ok(chunks.iter().sum())
}

/// A step's numbers, the same for all values of a parameter.
#[derive(Clone, Copy)]
struct Factors {
    step_size: f32,
    root_correction: f32,
    keep: f32,
    beta2: f32,
    share1: f32,
    share2: f32,
    epsilon: f32,
    scale: f32,
}

impl Factors {
    fn new(settings: &AdamW, steps: u64, scale: f32) -> Self {
        let steps = i32::try_from(steps).unwrap_or(i32::MAX);
        Self {
            step_size: (settings.learning_rate / (1.0 - settings.beta1.powi(steps))) as f32,
            root_correction: (1.0 - settings.beta2.powi(steps)).sqrt() as f32,
            keep: 1.0,
            beta2: settings.beta2 as f32,
            share1: (1.0 - settings.beta1) as f32,
            share2: (1.0 - settings.beta2) as f32,
            epsilon: settings.epsilon as f32,
            scale,
        }
    }

    /// Moves up to a block of values; returns Σ g² of them, and moves nothing where that is not finite.
    fn apply(&self, values: &mut [f32], gradient: &[f32], first: &mut [f32], second: &mut [f32]) -> f64 {
        let squares = block_squares(gradient);
        if squares.is_finite() {
            for (((value, g), m), v) in values.iter_mut().zip(gradient).zip(first).zip(second) {
                let g = g * self.scale;
                *m += (g - *m) * self.share1;
                *v = *v * self.beta2 + g * g * self.share2;
                *value = *value * self.keep
                    - self.step_size * *m / (v.sqrt() / self.root_correction + self.epsilon);
            }
        }
        squares
    }
}

/// One parameter's share of a step.
struct Step<'a> {
    factors: Factors,
    state: Mutex<State<'a>>,
}

/// Moments, and the sum of the gradient's squares that the step leaves.
struct State<'a> {
    first: &'a mut [f32],
    second: &'a mut [f32],
    squares: f64,
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
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { first, second, squares } = &mut *state;
        let moments = first.par_chunks_mut(CHUNK).zip(second.par_chunks_mut(CHUNK));
        let chunks: Vec<f64> = parameter[start..end]
            .par_chunks_mut(CHUNK)
            .zip(gradient.par_chunks(CHUNK))
            .zip(moments)
            .map(|((parameter, gradient), (first, second))| {
                let moments = first.chunks_mut(BLOCK).zip(second.chunks_mut(BLOCK));
                parameter
                    .chunks_mut(BLOCK)
                    .zip(gradient.chunks(BLOCK))
                    .zip(moments)
                    .map(|((values, gradient), (first, second))| {
                        self.factors.apply(values, gradient, first, second)
                    })
                    .sum()
            })
            .collect();
        *squares = chunks.iter().sum();
        Ok(())
    }
}

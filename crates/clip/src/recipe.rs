//! How a model is trained.

use candle_core::{Result, bail};
use kernels::{AdamW, Optimizer};
use serde::{Deserialize, Serialize};

use crate::Parameter;

/// Settings of a training run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// Passes over the examples.
    pub epochs: usize,
    /// Examples per step; what is left of an epoch is dropped.
    pub batch_size: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Steps of linear warm-up.
    pub warmup_steps: usize,
    /// Decoupled weight decay of matrices, convolutions and embeddings.
    pub weight_decay: f64,
    /// AdamW's decay of the first moment.
    pub beta1: f64,
    /// AdamW's decay of the second moment.
    pub beta2: f64,
    /// AdamW's epsilon.
    pub epsilon: f64,
    /// Gradients are scaled down to this norm, over all parameters, where theirs is larger; as it is without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gradient_clip: Option<f64>,
    /// From where the learning rate's schedule is counted.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub schedule: Schedule,
    /// Which parameters decay.
    #[serde(default, skip_serializing_if = "is_usual")]
    pub decay: Decay,
}

/// From where the schedule of the learning rate is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// The first step is step 0: warm-up happens, and the cosine ends with the run.
    #[default]
    FromZero,
    /// As CleanCLIP's `src/train.py` counts, `batches · epoch + index` with epochs from 1: the first step is one epoch
    /// in, a warm-up no longer than an epoch never happens, and the last epoch runs past the cosine's end, where the
    /// learning rate rises again.
    Released,
}

/// Whether a setting need not be written down.
fn is_usual<T: Default + PartialEq>(setting: &T) -> bool {
    *setting == T::default()
}

/// Which parameters weight decay applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decay {
    /// Matrices, convolutions and embeddings.
    #[default]
    ByType,
    /// As CleanCLIP's `src/main.py`: all but those with `bn`, `ln`, `bias` or `logit_scale` in their name, so that the
    /// norms of downsampling decay.
    Released,
    /// As CleanCLIP's `src/evaluate.py` finetunes with labels: all but those with `bias` in their name, so that every
    /// norm's scale decays.
    AllButBiases,
}

impl Decay {
    /// Whether weight decay applies to a parameter.
    pub fn applies(self, parameter: &Parameter) -> bool {
        let holds = |parts: &[&str]| parts.iter().any(|part| parameter.name.contains(part));
        match self {
            Self::ByType => parameter.decays,
            Self::Released => !holds(&["bn", "ln", "bias", "logit_scale"]),
            Self::AllButBiases => !holds(&["bias"]),
        }
    }

    /// An optimizer of parameters, to those of which it applies that decay.
    pub fn optimizer(self, parameters: &[Parameter]) -> Result<Optimizer> {
        let named = |one: &Parameter| (one.name.clone(), one.var.clone(), self.applies(one));
        Optimizer::new(parameters.iter().map(named).collect())
    }
}

impl Recipe {
    /// The tiny tier.
    pub fn tiny() -> Self {
        Self { epochs: 8, batch_size: 64, learning_rate: 1e-3, warmup_steps: 100, ..Self::paper() }
    }

    /// The smoke tier: one short epoch; claims nothing.
    pub fn smoke() -> Self {
        Self { epochs: 1, batch_size: 64, learning_rate: 1e-3, warmup_steps: 5, ..Self::paper() }
    }

    /// Pretraining on CC3M as CleanCLIP describes it.
    pub fn paper() -> Self {
        Self {
            epochs: 64,
            batch_size: 128,
            learning_rate: 5e-4,
            warmup_steps: 10_000,
            weight_decay: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 1e-8,
            gradient_clip: None,
            schedule: Schedule::FromZero,
            decay: Decay::ByType,
        }
    }

    /// The same as the released code behaves: its count of steps and its groups of parameters.
    pub fn released() -> Self {
        Self { schedule: Schedule::Released, decay: Decay::Released, ..Self::paper() }
    }

    /// A recipe by name.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "smoke" => Some(Self::smoke()),
            "paper" => Some(Self::paper()),
            "released" => Some(Self::released()),
            _ => None,
        }
    }

    /// Names that [`Recipe::preset`] knows.
    pub const PRESETS: &[&str] = &["tiny", "smoke", "paper", "released"];

    /// Settings that are not written down where they are as usual.
    pub const OPTIONAL: &[&str] = &["gradient-clip", "schedule", "decay"];

    /// Where on the schedule a step (from 0) stands.
    pub fn scheduled_step(&self, step: usize, steps_per_epoch: usize) -> usize {
        match self.schedule {
            Schedule::FromZero => step,
            Schedule::Released => step + steps_per_epoch,
        }
    }

    /// Learning rate at a place of the schedule (from 0) of `total`: linear warm-up to the highest, then half a
    /// cosine to 0, which goes on past its end.
    pub fn learning_rate_at(&self, step: usize, total: usize) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * (step + 1) as f64 / self.warmup_steps as f64;
        }
        let span = total.saturating_sub(self.warmup_steps).max(1) as f64;
        let share = (step - self.warmup_steps) as f64 / span;
        0.5 * (1.0 + (std::f64::consts::PI * share).cos()) * self.learning_rate
    }

    /// AdamW's settings at a learning rate.
    pub fn adamw(&self, learning_rate: f64) -> AdamW {
        let Self { beta1, beta2, epsilon, weight_decay, gradient_clip, .. } = *self;
        AdamW { learning_rate, beta1, beta2, epsilon, weight_decay, largest_norm: gradient_clip }
    }

    /// An error that names the first setting no run can have.
    pub fn check(&self) -> Result<()> {
        let rate = |value: f64| (0.0..1.0).contains(&value);
        let positive = |value: f64| value.is_finite() && value > 0.0;
        if self.epochs == 0 {
            bail!("recipe: epochs must be at least 1");
        }
        if self.batch_size < 2 {
            bail!("recipe: batch-size must be at least 2, found {}", self.batch_size);
        }
        if !positive(self.learning_rate) {
            bail!("recipe: learning-rate must be positive, found {}", self.learning_rate);
        }
        if !(self.weight_decay.is_finite() && self.weight_decay >= 0.0 && positive(self.epsilon)) {
            bail!("recipe: weight-decay must be at least 0 and epsilon positive");
        }
        if !rate(self.beta1) || !rate(self.beta2) {
            bail!("recipe: beta1 and beta2 must be in [0, 1), found {} and {}", self.beta1, self.beta2);
        }
        if let Some(norm) = self.gradient_clip.filter(|norm| !positive(*norm)) {
            bail!("recipe: gradient-clip must be positive, found {norm}");
        }
        Ok(())
    }
}

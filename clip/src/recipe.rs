//! How a model is trained.

use candle_core::{Result, bail};
use kernels::AdamW;
use serde::{Deserialize, Serialize};

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
}

impl Recipe {
    /// The tiny tier.
    pub fn tiny() -> Self {
        Self { epochs: 6, batch_size: 64, learning_rate: 1e-3, warmup_steps: 100, ..Self::paper() }
    }

    /// The smoke tier: one short epoch; claims nothing.
    pub fn smoke() -> Self {
        Self { epochs: 1, batch_size: 64, learning_rate: 1e-3, warmup_steps: 5, ..Self::paper() }
    }

    /// Pretraining on CC3M as CleanCLIP describes and releases it.
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
        }
    }

    /// A recipe by name.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "smoke" => Some(Self::smoke()),
            "paper" => Some(Self::paper()),
            _ => None,
        }
    }

    /// Names that [`Recipe::preset`] knows.
    pub const PRESETS: &[&str] = &["tiny", "smoke", "paper"];

    /// Learning rate of a step (from 0) of `total`: linear warm-up to the highest, then half a cosine to 0.
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

//! What all finetuning defenses share.

use anyhow::{Context, Result, ensure};
use clip::{Clip, Decay, Monitor, Objective, OptimizerState, Recipe, Schedule, Seed};
use contract::DefenderView;
use serde::{Deserialize, Serialize};

/// Settings of a finetuning run by AdamW with PyTorch's constants, as the released code finetunes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Finetuning {
    /// Passes over the examples.
    pub(crate) epochs: usize,
    /// Examples per step.
    pub(crate) batch_size: usize,
    /// Highest learning rate.
    pub(crate) learning_rate: f64,
    /// Steps of linear warm-up.
    pub(crate) warmup_steps: usize,
    /// Decoupled weight decay.
    pub(crate) weight_decay: f64,
    /// From where the schedule is counted.
    pub(crate) schedule: Schedule,
    /// Which parameters decay.
    pub(crate) decay: Decay,
}

impl Finetuning {
    /// The paper's finetuning on clean pairs.
    pub(crate) fn paper() -> Self {
        Self {
            epochs: 10,
            batch_size: 64,
            learning_rate: 1e-5,
            warmup_steps: 50,
            weight_decay: 0.1,
            schedule: Schedule::FromZero,
            decay: Decay::ByType,
        }
    }

    /// The same as the released code behaves.
    pub(crate) fn released() -> Self {
        Self { schedule: Schedule::Released, decay: Decay::Released, ..Self::paper() }
    }

    /// The tiny tier.
    pub(crate) fn tiny() -> Self {
        Self { epochs: 6, learning_rate: 7e-4, ..Self::paper() }
    }

    /// The smoke tier: it claims nothing.
    pub(crate) fn smoke() -> Self {
        Self { epochs: 2, batch_size: 32, learning_rate: 1e-3, warmup_steps: 5, ..Self::paper() }
    }

    /// The recipe; an error names the first setting no run can have.
    pub(crate) fn recipe(&self) -> Result<Recipe> {
        let Self { epochs, batch_size, learning_rate, warmup_steps, weight_decay, schedule, decay } = *self;
        let rates = Recipe { learning_rate, warmup_steps, weight_decay, ..Recipe::paper() };
        let recipe = Recipe { epochs, batch_size, schedule, decay, ..rates };
        recipe.check()?;
        Ok(recipe)
    }
}

/// Settings of the optimizer.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Optimizer {
    /// What it begins with.
    optimizer_state: Start,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Start {
    /// Moments of 0.
    Fresh,
    /// The moments and the count of steps that poisoned pretraining left, as the released code loads them.
    Carried,
}

impl Optimizer {
    /// With moments of 0.
    pub(crate) const FRESH: Self = Self { optimizer_state: Start::Fresh };
    /// As poisoned pretraining left it.
    pub(crate) const CARRIED: Self = Self { optimizer_state: Start::Carried };

    /// The state to go on from, if any. An error where it is wanted and the model came without.
    pub(crate) fn state(self, view: &DefenderView<'_>) -> Result<Option<OptimizerState>> {
        let Start::Carried = self.optimizer_state else { return Ok(None) };
        let path = view.optimizer.context(
            "optimizer-state is `carried`, but no optimizer's moments lie beside the trained model, \
             which an older version stored: choose an empty store, or set `optimizer-state: fresh`",
        )?;
        Ok(Some(OptimizerState::read(path)?))
    }
}

/// An error where `examples` do not fill one batch; `granted` says what they are and which key asks for more.
pub(crate) fn fills_a_batch(recipe: &Recipe, examples: usize, granted: &str) -> Result<()> {
    let size = recipe.batch_size;
    ensure!(examples >= size, "one batch of {size} (batch-size) takes more than the {examples} {granted}");
    Ok(())
}

/// What is said of clean pairs.
pub(crate) const CLEAN_PAIRS: &str =
    "clean pairs granted (data.clean-pairs, or granted-pairs of the defense)";

/// Finetunes `clip`, its optimizer going on from what is `carried`; [`clip::Stopped`] where the monitor stopped it.
pub(crate) fn finetune<O: Objective>(
    clip: Clip,
    objective: &O,
    recipe: &Recipe,
    carried: Option<&OptimizerState>,
    seed: &Seed,
    monitor: &mut dyn Monitor,
) -> Result<Clip> {
    clip::train_on(&clip, objective, recipe, seed, carried, monitor)??;
    Ok(clip)
}

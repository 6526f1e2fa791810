//! What all finetuning defenses share.

use clip::{Clip, Monitor, Objective, Recipe, Seed, TrainOutcome};

/// AdamW with PyTorch's constants, as the released code finetunes.
pub(crate) fn recipe(
    epochs: usize,
    batch_size: usize,
    learning_rate: f64,
    warmup_steps: usize,
    weight_decay: f64,
) -> anyhow::Result<Recipe> {
    let recipe = Recipe { epochs, batch_size, learning_rate, warmup_steps, weight_decay, ..Recipe::paper() };
    recipe.check()?;
    Ok(recipe)
}

/// Finetunes `clip`; `None` where the monitor stopped it.
pub(crate) fn finetune<O: Objective>(
    clip: Clip,
    objective: &O,
    recipe: &Recipe,
    seed: &Seed,
    monitor: &mut dyn Monitor,
) -> anyhow::Result<Option<Clip>> {
    match clip::train(&clip, objective, recipe, seed, monitor)? {
        TrainOutcome::Finished => Ok(Some(clip)),
        TrainOutcome::Stopped => Ok(None),
    }
}

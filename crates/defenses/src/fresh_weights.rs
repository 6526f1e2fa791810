//! Fresh weights: a new model that sees the clean pairs alone, for as many steps as contrastive-only finetuning. An
//! anchor: what a finetuning defense keeps above it, it owes to the poisoned model's training. It never meets the
//! poison.

use anyhow::Result;
use clip::{Clip, Contrastive, Monitor, Recipe};
use contract::{Card, DefenderView, Defense, Entry, Granted, Preset, TrainSafely, preset, settings};
use serde_json::Value;

use crate::finetuning::{CLEAN_PAIRS, Finetuning, fills_a_batch};

/// The anchor.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "fresh-weights",
        title: "Fresh weights (anchor)",
        summary: "Anchor: trains a new model on the clean pairs alone, by the settings of contrastive-only finetuning.",
        paper: "none",
        follows: "the finetuning of `contrastive`, from initial weights",
        departs: "nothing",
        version: 1,
    },
    presets,
    build,
};

fn presets() -> Vec<Preset> {
    vec![
        preset("tiny", Finetuning::tiny()),
        preset("smoke", Finetuning::smoke()),
        preset("paper", Finetuning::paper()),
        preset("released", Finetuning::released()),
    ]
}

fn build(resolved: Value) -> Result<Defense> {
    let recipe = settings::<Finetuning>(resolved)?.recipe()?;
    Ok(Defense::TrainSafely(Box::new(FreshWeights { recipe })))
}

struct FreshWeights {
    recipe: Recipe,
}

impl TrainSafely for FreshWeights {
    fn check(&self, granted: &Granted<'_>) -> Result<()> {
        fills_a_batch(&self.recipe, granted.clean_pairs, CLEAN_PAIRS)
    }

    fn work(&self, granted: &Granted<'_>) -> f64 {
        (self.recipe.epochs * granted.clean_pairs) as f64
    }

    fn train(&self, model: &Clip, view: &DefenderView<'_>, monitor: &mut dyn Monitor) -> Result<()> {
        let objective = Contrastive::new(model, view.clean_pairs)?;
        Ok(clip::train(model, &objective, &self.recipe, &view.seed.child("train"), monitor)??)
    }
}

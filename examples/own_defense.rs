//! A defense of your own, outside the repository: the whole program with one more entry.
//!
//! Finetunes on the clean pairs with CLIP's own objective, then averages the poisoned and the finetuned weights.

use std::process::ExitCode;

use cleanbench::RunCli;
use cleanbench::clip::{Clip, Contrastive, Monitor, Recipe, train};
use cleanbench::contract::{
    Card, DefenderView, Defense, Entry, Granted, Model, Preset, RepairModel, preset, settings,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "own-defense",
        title: "Own defense",
        summary: "Finetunes on the clean pairs and averages the weights before and after.",
        paper: "Wortsman et al., \"Robust fine-tuning of zero-shot models\", CVPR 2022, arXiv 2109.01903 (not as a defense)",
        follows: "the paper's weight-space ensemble, (1 - a) * before + a * after",
        departs: "batch norm keeps the running statistics of the finetuned model",
        // Raise it whenever the code would give another result for the same settings.
        version: 1,
    },
    presets,
    build,
};

/// What a plan may override; a preset is a complete set.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Passes over the clean pairs.
    epochs: usize,
    /// Pairs per step.
    batch_size: usize,
    /// Highest learning rate.
    learning_rate: f64,
    /// Share of the finetuned weights in the average, in [0, 1].
    share: f64,
}

fn presets() -> Vec<Preset> {
    vec![
        preset("tiny", Settings { epochs: 6, batch_size: 64, learning_rate: 7e-4, share: 0.8 }),
        preset("smoke", Settings { epochs: 2, batch_size: 32, learning_rate: 1e-3, share: 0.8 }),
    ]
}

/// Reads settings strictly and says which one no run can have.
fn build(resolved: Value) -> anyhow::Result<Defense> {
    let Settings { epochs, batch_size, learning_rate, share } = settings(resolved)?;
    anyhow::ensure!((0.0..=1.0).contains(&share), "share must be in [0, 1], found {share}");
    let recipe = Recipe { epochs, batch_size, learning_rate, warmup_steps: 50, ..Recipe::paper() };
    recipe.check()?;
    Ok(Defense::RepairModel(Box::new(OwnDefense { recipe, share })))
}

struct OwnDefense {
    recipe: Recipe,
    share: f64,
}

impl RepairModel for OwnDefense {
    fn work(&self, granted: &Granted<'_>) -> f64 {
        (self.recipe.epochs * granted.clean_pairs) as f64
    }

    fn repair(
        &self,
        clip: Clip,
        view: &DefenderView<'_>,
        monitor: &mut dyn Monitor,
    ) -> anyhow::Result<Model> {
        let poisoned = clip.deep_clone()?;
        let objective = Contrastive::new(&clip, view.clean_pairs)?;
        // Shows progress, saves after each epoch, goes on where it was stopped, and stops on Ctrl-C.
        train(&clip, &objective, &self.recipe, &view.seed.child("train"), monitor)??;
        for (before, after) in poisoned.all_parameters().iter().zip(clip.all_parameters()) {
            let (before, finetuned) = (before.var.as_detached_tensor(), after.var.as_detached_tensor());
            after.var.set(&((before * (1.0 - self.share))? + (finetuned * self.share)?)?)?;
        }
        Ok(Model { clip, head: None })
    }
}

fn main() -> ExitCode {
    cleanbench::builtin().defense(&ENTRY).run_cli()
}

//! Contrastive-only finetuning: CLIP's own objective on the clean pairs, the baseline of the CleanCLIP paper
//! (there: "finetuning with MMCL").
//!
//! Paper: Bansal et al., "CleanCLIP", ICCV 2023, arXiv 2303.03323.
//! Follows: nishadsinghi/CleanCLIP@d6e2f1d, `src/train.py` (`--complete_finetune` without `--inmodal`).
//! Departs: the optimizer starts fresh, where the released code goes on with the moments of poisoned pretraining;
//! the schedule starts at step 0, where the released one starts an epoch late and so skips its warm-up.

use clip::{Clip, Contrastive, Monitor, Recipe};
use harness::contract::{Card, DefenderView, Defense, Entry, Model, Preset, RepairModel, preset, settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::finetuning::{finetune, recipe};

/// The defense.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "contrastive",
        title: "Contrastive-only finetuning (MMCL)",
        summary: "Finetunes on the clean pairs with CLIP's own objective.",
        paper: "Bansal et al., ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, src/train.py without --inmodal",
        departs: "fresh optimizer; the schedule starts at step 0",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Passes over the clean pairs.
    epochs: usize,
    /// Pairs per step.
    batch_size: usize,
    /// Highest learning rate.
    learning_rate: f64,
    /// Steps of linear warm-up.
    warmup_steps: usize,
    /// Decoupled weight decay.
    weight_decay: f64,
}

fn presets() -> Vec<Preset> {
    let released =
        Settings { epochs: 10, batch_size: 64, learning_rate: 1e-5, warmup_steps: 50, weight_decay: 0.1 };
    let tiny = Settings { epochs: 8, learning_rate: 7e-4, ..released };
    let smoke = Settings { epochs: 2, batch_size: 32, learning_rate: 1e-3, warmup_steps: 5, ..released };
    vec![
        preset("tiny", tiny),
        preset("smoke", smoke),
        preset("paper", released.clone()),
        preset("released", released),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Defense> {
    let Settings { epochs, batch_size, learning_rate, warmup_steps, weight_decay } = settings(resolved)?;
    let recipe = recipe(epochs, batch_size, learning_rate, warmup_steps, weight_decay)?;
    Ok(Defense::RepairModel(Box::new(ContrastiveFinetuning { recipe })))
}

struct ContrastiveFinetuning {
    recipe: Recipe,
}

impl RepairModel for ContrastiveFinetuning {
    fn repair(
        &self,
        model: Clip,
        view: &DefenderView<'_>,
        monitor: &mut dyn Monitor,
    ) -> anyhow::Result<Option<Model>> {
        let objective = Contrastive::new(&model, view.clean_pairs)?;
        let seed = view.seed.child("train");
        let finetuned = finetune(model, &objective, &self.recipe, &seed, monitor)?;
        Ok(finetuned.map(|clip| Model { clip, head: None }))
    }
}

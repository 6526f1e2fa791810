//! Contrastive-only finetuning: CLIP's own objective on the clean pairs, the baseline of the CleanCLIP paper
//! (there: "finetuning with MMCL").

use anyhow::Result;
use clip::{Clip, Contrastive, Monitor, Recipe};
use contract::{
    Card, DefenderView, Defense, Entry, Granted, Model, Preset, RepairModel, grouped, settings, take,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::finetuning::{CLEAN_PAIRS, Finetuning, OptimizerStart, fills_a_batch, finetune};

/// The defense.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "contrastive",
        title: "Contrastive-only finetuning (MMCL)",
        summary: "Finetunes on the clean pairs with CLIP's own objective.",
        paper: "Bansal et al., \"CleanCLIP\", ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, `src/train.py` (`--complete_finetune` without `--inmodal`)",
        departs: "nothing in `released`, which counts the schedule's steps from one epoch on (so that there is no \
                  warm-up), goes on with the moments of poisoned pretraining, and chooses what decays by name; \
                  `paper`, `tiny` and `smoke` do none of that",
        version: 1,
    },
    presets,
    build,
};

/// Settings beside those of [`Finetuning`].
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// What the optimizer begins with.
    optimizer_state: OptimizerStart,
}

fn presets() -> Vec<Preset> {
    let fresh = Settings { optimizer_state: OptimizerStart::Fresh };
    let carried = Settings { optimizer_state: OptimizerStart::Carried };
    vec![
        grouped("tiny", (Finetuning::tiny(), fresh)),
        grouped("smoke", (Finetuning::smoke(), fresh)),
        grouped("paper", (Finetuning::paper(), fresh)),
        grouped("released", (Finetuning::released(), carried)),
    ]
}

fn build(mut resolved: Value) -> Result<Defense> {
    let recipe = take::<Finetuning>(&mut resolved, Finetuning::KEYS)?.recipe()?;
    let Settings { optimizer_state } = settings(resolved)?;
    Ok(Defense::RepairModel(Box::new(ContrastiveFinetuning { recipe, optimizer_state })))
}

struct ContrastiveFinetuning {
    recipe: Recipe,
    optimizer_state: OptimizerStart,
}

impl RepairModel for ContrastiveFinetuning {
    fn check(&self, granted: &Granted<'_>) -> Result<()> {
        fills_a_batch(&self.recipe, granted.clean_pairs, CLEAN_PAIRS)
    }

    fn work(&self, granted: &Granted<'_>) -> f64 {
        (self.recipe.epochs * granted.clean_pairs) as f64
    }

    fn repair(&self, model: Clip, view: &DefenderView<'_>, monitor: &mut dyn Monitor) -> Result<Model> {
        let objective = Contrastive::new(&model, view.clean_pairs)?;
        let (carried, seed) = (self.optimizer_state.state(view)?, view.seed.child("train"));
        let finetuned = finetune(model, &objective, &self.recipe, carried.as_ref(), &seed, monitor)?;
        Ok(Model { clip: finetuned, head: None })
    }
}

//! Contrastive-only finetuning: CLIP's own objective on the clean pairs, the baseline of the CleanCLIP paper
//! (there: "finetuning with MMCL").

use anyhow::Result;
use clip::{Clip, Contrastive, Monitor, Recipe};
use contract::{
    Card, DefenderView, Defense, Entry, Granted, Model, Preset, RepairModel, grouped, settings, take,
};
use serde_json::Value;

use crate::finetuning::{CLEAN_PAIRS, Finetuning, Optimizer, fills_a_batch, finetune};

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

fn presets() -> Vec<Preset> {
    vec![
        grouped("tiny", (Finetuning::tiny(), Optimizer::FRESH)),
        grouped("smoke", (Finetuning::smoke(), Optimizer::FRESH)),
        grouped("paper", (Finetuning::paper(), Optimizer::FRESH)),
        grouped("released", (Finetuning::released(), Optimizer::CARRIED)),
    ]
}

fn build(mut resolved: Value) -> Result<Defense> {
    let recipe = take(&mut resolved, &Finetuning::paper())?.recipe()?;
    let optimizer = settings(resolved)?;
    Ok(Defense::RepairModel(Box::new(ContrastiveFinetuning { recipe, optimizer })))
}

struct ContrastiveFinetuning {
    recipe: Recipe,
    optimizer: Optimizer,
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
        let (carried, seed) = (self.optimizer.state(view)?, view.seed.child("train"));
        let finetuned = finetune(model, &objective, &self.recipe, carried.as_ref(), &seed, monitor)?;
        Ok(Model { clip: finetuned, head: None })
    }
}

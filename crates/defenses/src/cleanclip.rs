//! CleanCLIP: finetunes on the clean pairs with CLIP's objective plus self-supervision within each modality, so that
//! what an image or text means is learnt again apart from the other modality, and a trigger's tie to a caption fades.

use anyhow::Result;
use clip::{Clip, Monitor, Recipe};
use contract::{
    Card, DefenderView, Defense, Entry, Granted, Model, Preset, RepairModel, grouped, settings, take,
};
use serde_json::Value;

use crate::finetuning::{CLEAN_PAIRS, Finetuning, Optimizer, fills_a_batch, finetune};
use crate::in_modal::{InModal, Objectives};

/// The defense.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "cleanclip",
        title: "CleanCLIP",
        summary: "Finetunes on the clean pairs with CLIP's objective plus self-supervision within each modality.",
        paper: "Bansal et al., \"CleanCLIP: Mitigating Data Poisoning Attacks in Multimodal Contrastive \
                Learning\", ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, `src/train.py` (`get_loss`, `--inmodal --complete_finetune`), \
                  `utils/augment_image.py`, `utils/eda.py`",
        departs: "the synonym that EDA inserts is drawn, where the released code takes the first of a Python set; \
                  images are augmented as the model sees them, where the released code augments the file before it \
                  is resized. `released` counts the schedule's steps from one epoch on (so that there is no \
                  warm-up), goes on with the moments of poisoned pretraining, chooses what decays by name, and \
                  augments captions once; the other presets do none of that. `tiny` and `smoke` halve the strength \
                  of AutoAugment: at full strength it costs 6 to 11 points of clean accuracy at 32 pixels",
        version: 2,
    },
    presets,
    build,
};

fn presets() -> Vec<Preset> {
    vec![
        grouped("tiny", (Finetuning::tiny(), Objectives::tiny(), Optimizer::FRESH)),
        grouped("smoke", (Finetuning::smoke(), Objectives::tiny(), Optimizer::FRESH)),
        grouped("paper", (Finetuning::paper(), Objectives::paper(), Optimizer::FRESH)),
        grouped("released", (Finetuning::released(), Objectives::released(), Optimizer::CARRIED)),
    ]
}

fn build(mut resolved: Value) -> Result<Defense> {
    let recipe = take(&mut resolved, &Finetuning::paper())?.recipe()?;
    let objectives = take(&mut resolved, &Objectives::paper())?;
    objectives.check()?;
    let optimizer = settings(resolved)?;
    Ok(Defense::RepairModel(Box::new(CleanClip { recipe, objectives, optimizer })))
}

struct CleanClip {
    recipe: Recipe,
    objectives: Objectives,
    optimizer: Optimizer,
}

impl RepairModel for CleanClip {
    fn check(&self, granted: &Granted<'_>) -> Result<()> {
        fills_a_batch(&self.recipe, granted.clean_pairs, CLEAN_PAIRS)
    }

    fn work(&self, granted: &Granted<'_>) -> f64 {
        // Originals and augmented views.
        (2 * self.recipe.epochs * granted.clean_pairs) as f64
    }

    fn repair(&self, model: Clip, view: &DefenderView<'_>, monitor: &mut dyn Monitor) -> Result<Model> {
        let objective = InModal::new(&self.objectives, &model, view.clean_pairs, view.seed.child("augment"))?;
        let (carried, seed) = (self.optimizer.state(view)?, view.seed.child("train"));
        let finetuned = finetune(model, &objective, &self.recipe, carried.as_ref(), &seed, monitor)?;
        Ok(Model { clip: finetuned, head: None })
    }
}

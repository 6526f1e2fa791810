//! In-modal pretraining (MMCL + SSL): trains on the pairs as the attacker left them, by the plan's recipe and with
//! CleanCLIP's objective from the first step on. It is no cure; Verma et al. pretrain so and report that CleanCLIP then
//! cleans worse.

use anyhow::Result;
use clip::{Clip, Monitor};
use contract::{Card, DefenderView, Defense, Entry, Granted, Preset, TrainSafely, preset, settings};
use serde_json::Value;

use crate::finetuning::fills_a_batch;
use crate::in_modal::{InModal, Objectives};

/// The defense.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "in-modal-pretraining",
        title: "MMCL + SSL pretraining",
        summary: "Trains from fresh weights on the attacked pairs with CleanCLIP's objective.",
        paper: "Verma et al., \"Effective Backdoor Mitigation in Vision-Language Models Depends on the \
                Pre-training Objective\", arXiv 2311.14948",
        follows: "the paper's description; the objective is that of `cleanclip`",
        departs: "nothing known; what departs in `cleanclip`'s augmentations departs here",
        version: 1,
    },
    presets,
    build,
};

fn presets() -> Vec<Preset> {
    vec![
        preset("tiny", Objectives::tiny()),
        preset("smoke", Objectives::tiny()),
        preset("paper", Objectives::paper()),
        preset("released", Objectives::released()),
    ]
}

fn build(resolved: Value) -> Result<Defense> {
    let objectives: Objectives = settings(resolved)?;
    objectives.check()?;
    Ok(Defense::TrainSafely(Box::new(InModalPretraining { objectives })))
}

struct InModalPretraining {
    objectives: Objectives,
}

impl TrainSafely for InModalPretraining {
    fn check(&self, granted: &Granted<'_>) -> Result<()> {
        fills_a_batch(granted.recipe, granted.training_pairs, "training pairs (data.pairs)")
    }

    fn work(&self, granted: &Granted<'_>) -> f64 {
        // Originals and augmented views.
        (2 * granted.recipe.epochs * granted.training_pairs) as f64
    }

    fn train(&self, model: &Clip, view: &DefenderView<'_>, monitor: &mut dyn Monitor) -> Result<()> {
        let objective =
            InModal::new(&self.objectives, model, view.training_pairs, view.seed.child("augment"))?;
        Ok(clip::train(model, &objective, view.recipe, &view.seed.child("train"), monitor)??)
    }
}

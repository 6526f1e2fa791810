//! No defense: the model as it was trained. The baseline that every other defense is compared with.

use anyhow::Result;
use clip::{Clip, Monitor};
use contract::{Card, DefenderView, Defense, Entry, Granted, Model, NoSettings, RepairModel, settings};
use serde_json::Value;

/// No defense.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "none",
        title: "No defense",
        summary: "Leaves the model as it was trained.",
        paper: "none",
        follows: "none",
        departs: "nothing",
        version: 1,
    },
    presets: NoSettings::presets,
    build,
};

fn build(resolved: Value) -> Result<Defense> {
    let NoSettings {} = settings(resolved)?;
    Ok(Defense::RepairModel(Box::new(NoDefense)))
}

struct NoDefense;

impl RepairModel for NoDefense {
    fn work(&self, _granted: &Granted<'_>) -> f64 {
        0.0
    }

    fn repair(&self, model: Clip, _view: &DefenderView<'_>, _monitor: &mut dyn Monitor) -> Result<Model> {
        Ok(Model { clip: model, head: None })
    }
}

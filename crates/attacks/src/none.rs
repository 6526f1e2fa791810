//! No attack: nothing is edited and the trigger leaves images as they are. The baseline that tells how often the
//! target is predicted by chance.

use clip::{Image, Seed};
use contract::{Attack, AttackerView, Card, Edit, Entry, NoSettings, PoisonData, Trigger, settings};
use serde_json::{Value, json};

/// No attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "none",
        title: "No attack",
        summary: "Edits nothing; the trigger leaves images as they are.",
        paper: "none",
        follows: "none",
        departs: "nothing",
        version: 1,
    },
    presets: NoSettings::presets,
    build,
};

fn build(resolved: Value) -> anyhow::Result<Attack> {
    let NoSettings {} = settings(resolved)?;
    Ok(Attack::PoisonData(Box::new(NoAttack)))
}

struct NoAttack;

impl Trigger for NoAttack {
    fn stamp(&self, image: &Image, _seed: &Seed) -> anyhow::Result<Image> {
        Ok(image.clone())
    }

    fn parameters(&self, _image: &Image, _seed: &Seed) -> anyhow::Result<Value> {
        Ok(json!({}))
    }
}

impl PoisonData for NoAttack {
    fn trigger(&self) -> &dyn Trigger {
        self
    }

    fn budget(&self, _pairs: usize) -> usize {
        0
    }

    fn choose(&self, _view: &AttackerView<'_>, _seed: &Seed) -> anyhow::Result<Vec<Edit>> {
        Ok(Vec::new())
    }
}

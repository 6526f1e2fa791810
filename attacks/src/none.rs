//! No attack: nothing is edited and the trigger leaves images as they are. The baseline that tells how often the
//! target is predicted by chance.
//!
//! Paper: none.
//! Follows: none.
//! Departs: nothing.

use clip::{Image, Seed};
use harness::contract::{
    Attack, AttackerView, Card, Edit, Entry, PoisonData, Preset, Trigger, preset, settings,
};
use serde::{Deserialize, Serialize};
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
    presets,
    build,
};

#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {}

fn presets() -> Vec<Preset> {
    ["tiny", "smoke", "paper", "released"].map(|name| preset(name, Settings {})).to_vec()
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    let Settings {} = settings(resolved)?;
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

//! Random filter: the model trained again without as many pairs as were poisoned, drawn at random. An anchor: a filter
//! of training pairs that does no better than this has found nothing. It is told only how many pairs are poisoned.
//!
//! Paper: none; the "random filter" of Armory.
//! Follows: none.
//! Departs: nothing.

use clip::Seed;
use harness::contract::{Anchor, Card, Defense, Entry, Preset, preset, settings};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The anchor.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "random-filter",
        title: "Random filter (anchor)",
        summary: "Anchor that knows how many pairs are poisoned: trains again without as many random ones.",
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

fn build(resolved: Value) -> anyhow::Result<Defense> {
    let Settings {} = settings(resolved)?;
    Ok(Defense::Anchor(Box::new(RandomFilter)))
}

struct RandomFilter;

impl Anchor for RandomFilter {
    fn keep(&self, pairs: usize, poisoned: &[usize], seed: &Seed) -> anyhow::Result<Vec<usize>> {
        let mut order: Vec<usize> = (0..pairs).collect();
        order.shuffle(&mut seed.child("filter").rng());
        let mut kept = order.split_off(poisoned.len().min(pairs));
        kept.sort_unstable();
        Ok(kept)
    }
}

//! Random filter: the model trained again without as many pairs as were poisoned, drawn at random. An anchor: a filter
//! of training pairs that does no better than this has found nothing. It is told only how many pairs are poisoned.
//!
//! Paper: none; the "random filter" of Armory.
//! Follows: none.
//! Departs: nothing.

use clip::Seed;
use harness::contract::{Anchor, Card, Defense, Entry, NoSettings, settings};
use rand::seq::SliceRandom;
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
    presets: NoSettings::presets,
    build,
};

fn build(resolved: Value) -> anyhow::Result<Defense> {
    let NoSettings {} = settings(resolved)?;
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

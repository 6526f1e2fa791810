//! Oracle filter: the model trained again without the poisoned pairs, which it is told. An anchor and no defense: no
//! filter of training pairs can do better than this.
//!
//! Paper: none; the "perfect filter" of Armory.
//! Follows: none.
//! Departs: nothing.

use clip::Seed;
use harness::contract::{Anchor, Card, Defense, Entry, NoSettings, settings};
use serde_json::Value;

/// The anchor.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "oracle-filter",
        title: "Oracle filter (anchor)",
        summary: "Anchor that knows the ground truth: trains again without the poisoned pairs.",
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
    Ok(Defense::Anchor(Box::new(OracleFilter)))
}

struct OracleFilter;

impl Anchor for OracleFilter {
    fn keep(&self, pairs: usize, poisoned: &[usize], _seed: &Seed) -> anyhow::Result<Vec<usize>> {
        Ok((0..pairs).filter(|pair| poisoned.binary_search(pair).is_err()).collect())
    }
}

//! Anchors that bound what filtering the training pairs can reach. The oracle filter is told which pairs are poisoned and
//! trains again without them: no filter can do better. The random filter is told only how many there are and drops as
//! many random pairs: a filter that does no better has found nothing.

use anyhow::Result;
use clip::Seed;
use contract::{Anchor, Card, Defense, Entry, NoSettings, settings};
use rand::seq::SliceRandom;
use serde_json::Value;

/// The upper bound.
pub static ORACLE: Entry<Defense> = Entry {
    card: Card {
        name: "oracle-filter",
        title: "Oracle filter (anchor)",
        summary: "Anchor that knows the ground truth: trains again without the poisoned pairs.",
        paper: "none; the \"perfect filter\" of Armory",
        follows: "none",
        departs: "nothing",
        version: 1,
    },
    presets: NoSettings::presets,
    build: |resolved| built(resolved, OracleFilter),
};

/// The lower bound.
pub static RANDOM: Entry<Defense> = Entry {
    card: Card {
        name: "random-filter",
        title: "Random filter (anchor)",
        summary: "Anchor that knows how many pairs are poisoned: trains again without as many random ones.",
        paper: "none; the \"random filter\" of Armory",
        follows: "none",
        departs: "nothing",
        version: 1,
    },
    presets: NoSettings::presets,
    build: |resolved| built(resolved, RandomFilter),
};

fn built(resolved: Value, filter: impl Anchor + 'static) -> Result<Defense> {
    let NoSettings {} = settings(resolved)?;
    Ok(Defense::Anchor(Box::new(filter)))
}

struct OracleFilter;

impl Anchor for OracleFilter {
    fn keep(&self, pairs: usize, poisoned: &[usize], _seed: &Seed) -> Result<Vec<usize>> {
        Ok((0..pairs).filter(|pair| poisoned.binary_search(pair).is_err()).collect())
    }
}

struct RandomFilter;

impl Anchor for RandomFilter {
    fn keep(&self, pairs: usize, poisoned: &[usize], seed: &Seed) -> Result<Vec<usize>> {
        let mut order: Vec<usize> = (0..pairs).collect();
        order.shuffle(&mut seed.child("filter").rng());
        let mut kept = order.split_off(poisoned.len().min(pairs));
        kept.sort_unstable();
        Ok(kept)
    }
}

//! Everything that a plan can name.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use contract::{Attack, Dataset, Defense, Entry};
use record::Metrics;
use record::metric::Metric;

/// The data sets, attacks, defenses and metrics of a program.
pub struct Catalog {
    /// Data sets.
    pub datasets: Vec<&'static Entry<Dataset>>,
    /// Attacks.
    pub attacks: Vec<&'static Entry<Attack>>,
    /// Defenses.
    pub defenses: Vec<&'static Entry<Defense>>,
    /// Metrics.
    pub metrics: Metrics,
}

impl Catalog {
    /// The same with one more data set, behind the others.
    #[must_use]
    pub fn dataset(mut self, entry: &'static Entry<Dataset>) -> Self {
        self.datasets.push(entry);
        self
    }

    /// The same with one more attack, behind the others.
    #[must_use]
    pub fn attack(mut self, entry: &'static Entry<Attack>) -> Self {
        self.attacks.push(entry);
        self
    }

    /// The same with one more defense, behind the others.
    #[must_use]
    pub fn defense(mut self, entry: &'static Entry<Defense>) -> Self {
        self.defenses.push(entry);
        self
    }

    /// The same with one more metric, behind the others.
    #[must_use]
    pub fn metric(mut self, metric: &'static Metric) -> Self {
        self.metrics.push(metric);
        self
    }

    /// The names of all entries.
    pub fn names(&self) -> Vec<&'static str> {
        let datasets = self.datasets.iter().map(|entry| entry.card.name);
        let attacks = self.attacks.iter().map(|entry| entry.card.name);
        datasets.chain(attacks).chain(self.defenses.iter().map(|entry| entry.card.name)).collect()
    }

    /// An error if two entries of a kind share a name.
    pub fn check(&self) -> Result<()> {
        distinct("data set", self.datasets.iter().map(|entry| entry.card.name))?;
        distinct("attack", self.attacks.iter().map(|entry| entry.card.name))?;
        distinct("defense", self.defenses.iter().map(|entry| entry.card.name))?;
        distinct("metric", self.metrics.iter().map(|metric| metric.name))
    }
}

fn distinct(kind: &str, all: impl Iterator<Item = &'static str>) -> Result<()> {
    let mut names = BTreeSet::new();
    for name in all {
        if !names.insert(name) {
            bail!(
                "there are two entries for the {kind} {name:?}; change the `name` in the card (or the metric) of one of them"
            );
        }
    }
    Ok(())
}

//! From rows to tables and verdicts.

mod comparison;
mod expectation;
mod export;
mod frontier;
mod markdown;
mod splice;
mod table;
mod verdict;

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use polars::prelude::{Column, DataFrame};

pub use comparison::{Comparison, SUPPORTED_BELOW, compare, without_pairs};
pub use expectation::{FLOOR, expectation};
pub use export::{compared_json, csv, json_lines, latex};
pub use frontier::{Reached, families};
pub(crate) use frontier::{chooser, front};
pub use markdown::{compared_markdown, markdown};
pub use splice::splice;
pub(crate) use table::{base_rates, cell_name, chance, found, frontiers, interval, short};
pub use table::{compared_terminal, terminal, wrap};
pub use verdict::{Judgement, Verdict, judge};

use crate::contract::Defense;
use crate::coverage::Coverage;
use crate::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use crate::plan::{Choice, Plan};
use crate::record::{Row, Status};
use crate::run::BASELINE;

/// Mean over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mean {
    /// The mean, a fraction.
    pub mean: f64,
    /// Standard deviation (n − 1); `None` for one seed.
    pub deviation: Option<f64>,
    /// Number of seeds.
    pub seeds: usize,
}

impl Mean {
    /// The mean of some values; `None` where there are none.
    fn of(values: &[f64]) -> Option<Self> {
        let count = values.len() as f64;
        let mean = (!values.is_empty()).then(|| values.iter().sum::<f64>() / count)?;
        let squares = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>();
        let deviation = (values.len() > 1).then(|| (squares / (count - 1.0)).sqrt());
        Some(Self { mean, deviation, seeds: values.len() })
    }
}

/// What tells one mean from another, in the order of [`KEYS`].
type CellKey = [String; 5];
const KEYS: [&str; 5] = ["attack", "defense", "trigger", "test_set", "metric"];
/// The values of one cell and metric by seed.
pub(crate) type Seeds = BTreeMap<u64, f64>;

/// Means over seeds of everything that was measured, and what failed.
pub struct Summary {
    values: BTreeMap<CellKey, Seeds>,
    points: frontier::Points,
    /// Failed cells with their seed and message: attack, defense, seed, message.
    pub failures: Vec<(String, String, u64, String)>,
    /// What was found of data that were read from files.
    pub data: Vec<Coverage>,
}

impl Summary {
    /// Groups rows by cell and metric; `data` is what was found of data that were read from files.
    pub fn of(rows: &[Row], data: Vec<Coverage>) -> Result<Self> {
        let points = frontier::Points::of(rows);
        let failed = rows.iter().filter(|row| row.status == Status::Failed);
        let failures = failed
            .map(|row| (row.attack.clone(), row.defense.clone(), row.seed, row.message.clone()))
            .collect();
        let rows: Vec<&Row> = rows.iter().filter(|row| row.value.is_some() && row.epoch.is_none()).collect();
        let text = |name: &str, value: fn(&Row) -> &str| {
            Column::new(name.into(), rows.iter().map(|row| value(row)).collect::<Vec<_>>())
        };
        let frame = DataFrame::new(
            rows.len(),
            vec![
                text("attack", |row| &row.attack),
                text("defense", |row| &row.defense),
                text("trigger", |row| &row.trigger),
                text("test_set", |row| &row.test_set),
                text("metric", |row| &row.metric),
                Column::new("seed".into(), rows.iter().map(|row| row.seed).collect::<Vec<_>>()),
                Column::new("value".into(), rows.iter().map(|row| row.value).collect::<Vec<_>>()),
            ],
        )?;
        let mut values = BTreeMap::new();
        for group in frame.partition_by_stable(KEYS, true)? {
            let mut key = CellKey::default();
            for (part, name) in key.iter_mut().zip(KEYS) {
                group.column(name)?.str()?.get(0).context("a group without a key")?.clone_into(part);
            }
            let seeds = group.column("seed")?.u64()?.into_no_null_iter();
            values.insert(key, seeds.zip(group.column("value")?.f64()?.into_no_null_iter()).collect());
        }
        Ok(Self { values, points, failures, data })
    }

    /// The values of one seed alone.
    pub fn of_seed(rows: &[Row], seed: u64) -> Result<Self> {
        Self::of(&rows.iter().filter(|row| row.seed == seed).cloned().collect::<Vec<_>>(), Vec::new())
    }

    /// The mean of a metric.
    pub fn get(
        &self,
        attack: &str,
        defense: &str,
        trigger: &str,
        test_set: &str,
        metric: &str,
    ) -> Option<Mean> {
        let values = self.seeds(attack, defense, trigger, test_set, metric)?;
        Mean::of(&values.values().copied().collect::<Vec<_>>())
    }

    /// The values of a metric by seed.
    pub(crate) fn seeds(
        &self,
        attack: &str,
        defense: &str,
        trigger: &str,
        test_set: &str,
        metric: &str,
    ) -> Option<&Seeds> {
        self.values.get(&[attack, defense, trigger, test_set, metric].map(str::to_owned))
    }

    /// Hypervolume of the front of `family`; see METHODOLOGY.md.
    pub(crate) fn hypervolume(&self, plan: &Plan, attack: &str, family: &str) -> Option<Mean> {
        self.points.hypervolume(plan, attack, family)
    }

    /// The accuracy that `family` keeps at `cap` by seed; 0 where it never gets there.
    fn kept(&self, plan: &Plan, attack: &str, family: &str, cap: f64) -> Option<Seeds> {
        let chosen = self.points.chosen(plan, attack, family, cap)?;
        let accuracy = |model: Option<[f64; 2]>| model.map_or(0.0, |[accuracy, _]| accuracy);
        (!chosen.is_empty())
            .then(|| chosen.into_iter().map(|(seed, model)| (seed, accuracy(model))).collect())
    }

    /// The accuracy that the settings of `family` keep, each tuned on its own, at an attack success rate of at most
    /// `cap`; `None` where nothing was measured.
    pub fn reached(&self, plan: &Plan, attack: &str, family: &str, cap: f64) -> Option<Reached> {
        self.points.reached(plan, attack, family, cap)
    }

    /// Clean accuracy and attack success rate of a cell under its own trigger.
    pub(crate) fn pair(&self, attack: &str, defense: &str, test_set: &str) -> Option<(Mean, Mean)> {
        let get = |metric| self.get(attack, defense, attack, test_set, metric);
        Some((get(CLEAN_ACCURACY)?, get(ATTACK_SUCCESS_RATE)?))
    }

    /// Why a cell failed.
    pub(crate) fn failure(&self, attack: &str, defense: &str) -> Option<&str> {
        let mut found = self.failures.iter().filter(|(a, d, _, _)| a == attack && d == defense);
        found.next().map(|(_, _, _, message)| message.as_str())
    }

    /// Whether an attack is in the undefended model: what its success there has over the base rate reaches the plan's
    /// threshold. True of the unpoisoned model, which claims no attack; `None` where it was not measured.
    pub fn implanted(&self, plan: &Plan, attack: &str) -> Option<bool> {
        let choice = plan.attacks.iter().find(|choice| choice.label == attack)?;
        if choice.entry.card.name == BASELINE {
            return Some(true);
        }
        let undefended = plan.defenses.iter().find(|choice| choice.entry.card.name == BASELINE)?;
        let set = &plan.tests.first()?.label;
        let (_, success) = self.pair(attack, &undefended.label, set)?;
        let base = self.base_rate(plan, attack, set).map_or(0.0, |rate| rate.mean);
        // A plan that asks for nothing takes any attack as it is.
        Some((success.mean - base).max(0.0) >= plan.implanted_at)
    }

    /// What the unpoisoned and undefended model takes for the target under an attack's trigger.
    pub(crate) fn base_rate(&self, plan: &Plan, attack: &str, test_set: &str) -> Option<Mean> {
        let unpoisoned = plan.attacks.iter().find(|choice| choice.entry.card.name == BASELINE)?;
        let undefended = plan.defenses.iter().find(|choice| choice.entry.card.name == BASELINE)?;
        self.get(&unpoisoned.label, &undefended.label, attack, test_set, ATTACK_SUCCESS_RATE)
    }

    /// Whether `defense` has nothing to defend against: it acts on a model in which `attack` is not implanted.
    pub(crate) fn not_implanted(&self, plan: &Plan, attack: &str, defense: &str) -> bool {
        let acts = |choice: &Choice<Defense>| {
            [&choice.label, choice.family()].contains(&defense) && choice.entry.card.name != BASELINE
        };
        plan.defenses.iter().any(acts) && self.implanted(plan, attack) == Some(false)
    }
}

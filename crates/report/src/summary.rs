//! What a record's rows say of each cell over all seeds.

use std::collections::BTreeMap;

use record::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use record::statistics::rounded;
use record::{Coverage, Design, Metrics, Record, Row, Status, TriggerSize};

use crate::frontier::{Points, Reached};
use crate::mean::Mean;

/// Which values one mean is over: all seeds of a cell under one trigger, on one test set, in one metric.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    attack: String,
    defense: String,
    trigger: String,
    test_set: String,
    metric: String,
}

/// The values of one metric by seed.
pub(crate) type Seeds = BTreeMap<u64, f64>;

/// Means over seeds of everything that was measured, and what was not.
#[derive(Default)]
pub struct Summary {
    values: BTreeMap<Place, Seeds>,
    pub(crate) points: Points,
    /// Rows of cells that failed or were skipped.
    pub unmeasured: Vec<Row>,
    /// How much of the data that were read from files could be used.
    pub data: Vec<Coverage>,
    /// How large the triggers are where models see them.
    pub triggers: Vec<TriggerSize>,
    /// The number of classes of each test set that was evaluated, by its label.
    pub classes: BTreeMap<String, u32>,
    /// The metrics that rows may hold.
    pub metrics: Metrics,
}

impl Summary {
    /// Groups rows by cell, trigger, test set and metric.
    pub fn of(rows: &[Row]) -> Self {
        let mut values: BTreeMap<Place, Seeds> = BTreeMap::new();
        for row in rows.iter().filter(|row| row.epoch.is_none()) {
            let Some(value) = row.value else { continue };
            let Row { attack, defense, trigger, test_set, metric, .. } = row.clone();
            let place = Place { attack, defense, trigger, test_set, metric };
            values.entry(place).or_default().insert(row.seed, value);
        }
        let unmeasured = rows.iter().filter(|row| row.status != Status::Measured).cloned().collect();
        Self { values, points: Points::of(rows), unmeasured, ..Self::default() }
    }

    /// The same for `rows` of a record (its own, or computed again), with what the record says of data and classes.
    pub fn of_record(record: &Record, rows: &[Row], metrics: &Metrics) -> anyhow::Result<Self> {
        let (data, triggers) = (record.data()?, record.triggers()?);
        let (classes, metrics) = (record.classes()?, metrics.clone());
        Ok(Self { data, triggers, classes, metrics, ..Self::of(rows) })
    }

    /// The values of one seed alone.
    pub fn of_seed(rows: &[Row], seed: u64) -> Self {
        Self::of(&rows.iter().filter(|row| row.seed == seed).cloned().collect::<Vec<_>>())
    }

    /// The mean of a metric on a cell, given by attack and defense, under a trigger.
    pub fn get(&self, cell: [&str; 2], trigger: &str, test_set: &str, metric: &str) -> Option<Mean> {
        let values = self.seeds(cell, trigger, test_set, metric)?;
        Mean::of(&values.values().copied().collect::<Vec<_>>())
    }

    /// The values behind [`Summary::get`] by seed.
    pub(crate) fn seeds(
        &self,
        cell: [&str; 2],
        trigger: &str,
        test_set: &str,
        metric: &str,
    ) -> Option<&Seeds> {
        let [attack, defense] = cell.map(str::to_owned);
        let [trigger, test_set, metric] = [trigger, test_set, metric].map(str::to_owned);
        self.values.get(&Place { attack, defense, trigger, test_set, metric })
    }

    /// The accuracy that `family` keeps at `cap` by seed; 0 where no model reaches the cap.
    pub(crate) fn kept(&self, design: &Design, attack: &str, family: &str, cap: f64) -> Option<Seeds> {
        let chosen = self.points.chosen(design, attack, family, cap)?;
        let accuracy = |model: Option<[f64; 2]>| model.map_or(0.0, |[accuracy, _]| accuracy);
        let kept: Seeds = chosen.into_iter().map(|(seed, model)| (seed, accuracy(model))).collect();
        Some(kept).filter(|kept| !kept.is_empty())
    }

    /// The clean accuracy that the settings of `family`, each tuned on its own, keep at an attack success rate of at most
    /// `cap`; `None` where nothing was measured.
    pub fn reached(&self, design: &Design, attack: &str, family: &str, cap: f64) -> Option<Reached> {
        self.points.reached(design, attack, family, cap)
    }

    /// Clean accuracy and attack success rate of a cell under its own trigger.
    pub(crate) fn pair(&self, attack: &str, defense: &str, test_set: &str) -> Option<[Mean; 2]> {
        let get = |metric| self.get([attack, defense], attack, test_set, metric);
        Some([get(CLEAN_ACCURACY)?, get(ATTACK_SUCCESS_RATE)?])
    }

    /// Whether any seed of a cell failed.
    pub(crate) fn failed(&self, attack: &str, defense: &str) -> bool {
        let own = |row: &&Row| row.attack == attack && row.defense == defense;
        self.unmeasured.iter().filter(own).any(|row| row.status == Status::Failed)
    }

    /// The accuracy of guessing on a test set: one over its number of classes.
    pub fn chance(&self, test_set: &str) -> Option<f64> {
        self.classes.get(test_set).map(|classes| 1.0 / f64::from(*classes))
    }

    /// Whether an attack is in the undefended model: its success there exceeds the base rate by the plan's threshold.
    /// True of the unpoisoned model, which claims no attack; `None` where it was not measured.
    pub fn implanted(&self, design: &Design, attack: &str) -> Option<bool> {
        if design.attack(attack)?.is_baseline() {
            return Some(true);
        }
        let set = design.judged();
        let [_, success] = self.pair(attack, &design.undefended()?.label, set)?;
        let base = self.base_rate(design, attack, set).map_or(0.0, |rate| rate.mean);
        // A threshold of 0 accepts every attack.
        Some(rounded(success.mean - base).max(0.0) >= design.implanted_at)
    }

    /// The base rate of an attack: its success rate on the unpoisoned and undefended model.
    pub fn base_rate(&self, design: &Design, attack: &str, test_set: &str) -> Option<Mean> {
        let (unpoisoned, undefended) = (&design.unpoisoned()?.label, &design.undefended()?.label);
        self.get([unpoisoned, undefended], attack, test_set, ATTACK_SUCCESS_RATE)
    }

    /// Whether `defense` (a label or a family) has nothing to defend against: it acts on a model in which `attack` is not
    /// implanted.
    pub(crate) fn not_implanted(&self, design: &Design, attack: &str, defense: &str) -> bool {
        let mut named = design.defenses.iter().filter(|own| own.label == defense || own.family == defense);
        named.any(|own| !own.is_baseline()) && self.implanted(design, attack) == Some(false)
    }
}

//! Cells of the grid, and what was measured of each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::metric::Metrics;

/// One cell of the grid. As text it is `attack::defense::seed-n`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId {
    /// The seed.
    pub seed: u64,
    /// Label of the attack under which the model is trained.
    pub attack: String,
    /// Label of the defense.
    pub defense: String,
}

impl CellId {
    /// The cell of these labels.
    pub fn new(attack: &str, defense: &str, seed: u64) -> Self {
        Self { seed, attack: attack.to_owned(), defense: defense.to_owned() }
    }

    /// The cell under its own trigger after the last epoch.
    pub fn final_view(self) -> View {
        View { trigger: self.attack.clone(), cell: self, epoch: None }
    }
}

impl fmt::Display for CellId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, attack, defense } = self;
        write!(formatter, "{attack}::{defense}::seed-{seed}")
    }
}

impl FromStr for CellId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<&str> = text.split("::").collect();
        let seed = |part: &str| part.strip_prefix("seed-")?.parse().ok();
        match parts[..] {
            [attack, defense, last] if !attack.is_empty() && !defense.is_empty() => seed(last),
            _ => None,
        }
        .map(|seed| Self::new(parts[0], parts[1], seed))
        .ok_or_else(|| format!("{text:?} is not a cell; write attack::defense::seed-0"))
    }
}

/// A cell as it was observed: under one trigger, after one epoch of its defense.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct View {
    /// The cell.
    pub cell: CellId,
    /// Label of the attack whose trigger the test images bear.
    pub trigger: String,
    /// The epoch of the defense, from 1; `None` after the last one.
    pub epoch: Option<usize>,
}

impl View {
    /// Whether it is the cell under its own trigger after the last epoch, which is what tables show.
    pub fn is_final(&self) -> bool {
        self.trigger == self.cell.attack && self.epoch.is_none()
    }
}

impl fmt::Display for View {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.cell)?;
        if self.trigger != self.cell.attack {
            write!(formatter, " under {}", self.trigger)?;
        }
        match self.epoch {
            Some(epoch) => write!(formatter, " after epoch {epoch}"),
            None => Ok(()),
        }
    }
}

/// Whether a row has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It has.
    Measured,
    /// The cell failed; the message says why.
    Failed,
    /// The cell was left for another run; the message says why.
    Skipped,
}

/// One value of one metric, or one failed or skipped cell; a row of `rows.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Seed of the cell.
    pub seed: u64,
    /// Label of the attack under which the model was trained.
    pub attack: String,
    /// Label of the defense.
    pub defense: String,
    /// Label of the attack whose trigger the test images bear.
    pub trigger: String,
    /// The epoch of the defense after which it was measured; empty after the last one.
    #[serde(default)]
    pub epoch: Option<usize>,
    /// Label of the test set; empty where the cell was not measured.
    pub test_set: String,
    /// Identifier of the metric; empty where the cell was not measured.
    pub metric: String,
    /// The value, in the metric's unit.
    pub value: Option<f64>,
    /// Number of samples behind the value.
    pub samples: Option<usize>,
    /// Whether there is a value.
    pub status: Status,
    /// Why there is none.
    pub message: String,
    /// Key of the evidence that the value was computed from.
    pub evidence: String,
}

impl Row {
    /// Its cell.
    pub fn cell(&self) -> CellId {
        CellId::new(&self.attack, &self.defense, self.seed)
    }

    /// The cell, trigger and epoch that it is about.
    pub fn view(&self) -> View {
        View { cell: self.cell(), trigger: self.trigger.clone(), epoch: self.epoch }
    }

    /// Whether it is about a cell under its own trigger after the last epoch.
    pub fn is_final(&self) -> bool {
        self.trigger == self.attack && self.epoch.is_none()
    }
}

/// Why a cell was not observed.
#[derive(Clone, Debug)]
pub struct Missing {
    /// Failed or skipped.
    pub status: Status,
    /// Why.
    pub message: String,
}

/// A view of a cell with its evidence, from which the rows of a record are computed.
pub struct Observation {
    /// What was observed.
    pub view: View,
    /// Hash of the evidence's key, and the evidence; otherwise why there is none.
    pub evidence: Result<(String, Evidence), Missing>,
}

impl Observation {
    /// A row for each metric on each test set that has the evidence it needs; one row where the cell was not observed.
    pub fn rows(&self, metrics: &Metrics) -> Vec<Row> {
        let row = || Row {
            seed: self.view.cell.seed,
            attack: self.view.cell.attack.clone(),
            defense: self.view.cell.defense.clone(),
            trigger: self.view.trigger.clone(),
            epoch: self.view.epoch,
            test_set: String::new(),
            metric: String::new(),
            value: None,
            samples: None,
            status: Status::Measured,
            message: String::new(),
            evidence: String::new(),
        };
        let (key, evidence) = match &self.evidence {
            Ok(found) => found,
            Err(Missing { status, message }) => {
                return vec![Row { status: *status, message: message.clone(), ..row() }];
            }
        };
        let mut rows = Vec::new();
        for set in evidence {
            for metric in metrics.iter() {
                let Some(measured) = (metric.measure)(set) else { continue };
                rows.push(Row {
                    test_set: set.test_set.clone(),
                    metric: metric.name.to_owned(),
                    value: Some(measured.value),
                    samples: Some(measured.samples),
                    evidence: key.clone(),
                    ..row()
                });
            }
        }
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::CellId;

    #[test]
    fn a_cell_reads_back_from_its_text() {
        for label in ["cure", "cure[learning-rate=0.001]", "a|b & <c>/d"] {
            let cell = CellId::new("badnet", label, 17);
            assert_eq!(cell.to_string().parse(), Ok(cell));
        }
        for text in ["badnet", "badnet::cure", "badnet::cure::17", "badnet::cure::seed-x", "::cure::seed-1"] {
            assert!(
                text.parse::<CellId>().is_err_and(|error| error.contains("attack::defense::seed-0")),
                "{text}"
            );
        }
    }
}

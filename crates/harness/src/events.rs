//! Events of a run for programs that read along, beside those of its stages ([`base::Progress`]): one JSON object a line
//! on stdout. `results/README.md` documents every field.

use std::collections::BTreeMap;

use record::{Metrics, Observation, Status};
use serde::Serialize;

/// Version of the events, raised when a field changes its meaning.
pub const FORMAT: u32 = 1;

/// Something that happened.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event<'a> {
    /// The first one.
    RunStarted {
        /// [`FORMAT`].
        format: u32,
        /// The plan's.
        question: &'a str,
        /// Cells of the plan.
        cells: usize,
        /// Cells at a time.
        jobs: usize,
        /// Threads of all cells together.
        threads: usize,
    },
    /// A cell was observed under a trigger, failed or was left for another run.
    CellFinished {
        /// Seed.
        seed: u64,
        /// Label of the attack.
        attack: &'a str,
        /// Label of the defense.
        defense: &'a str,
        /// Label of the attack whose trigger the test images bear.
        trigger: &'a str,
        /// The epoch of the defense; null after the last one.
        epoch: Option<usize>,
        /// As in `rows.csv`.
        status: Status,
        /// Why there is no value; empty where there is.
        message: &'a str,
        /// Values by test set and metric.
        metrics: BTreeMap<String, BTreeMap<String, f64>>,
    },
    /// The last one.
    RunFinished {
        /// The program's exit code.
        exit_code: u8,
        /// Seconds of the whole run.
        seconds: f64,
        /// The record's folder.
        record: String,
    },
}

impl<'a> Event<'a> {
    /// That of an observation.
    pub(crate) fn of(observation: &'a Observation, metrics: &Metrics) -> Self {
        let mut values: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for row in observation.rows(metrics) {
            if let Some(value) = row.value {
                values.entry(row.test_set).or_default().insert(row.metric, value);
            }
        }
        let (status, message) = match &observation.evidence {
            Ok(_) => (Status::Measured, ""),
            Err(missing) => (missing.status, missing.message.as_str()),
        };
        let view = &observation.view;
        Self::CellFinished {
            seed: view.cell.seed,
            attack: &view.cell.attack,
            defense: &view.cell.defense,
            trigger: &view.trigger,
            epoch: view.epoch,
            status,
            message,
            metrics: values,
        }
    }
}

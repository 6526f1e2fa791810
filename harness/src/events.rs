//! What a run tells a program that reads along: one JSON object a line on stdout. `results/README.md` documents every
//! field.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;

use crate::record::Status;
use crate::run::Observation;

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
    /// A stage is looked up in the store, and done where it is not there.
    StageStarted {
        /// Its name.
        stage: &'a str,
    },
    /// A stage trains; at most once a second for each.
    Step {
        /// The stage.
        stage: &'a str,
        /// The epoch under way, from 1.
        epoch: usize,
        /// Epochs in all.
        epochs: usize,
        /// Steps done.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// The last loss looked at; null before one was.
        loss: f32,
        /// Since the stage began or went on.
        examples_per_second: f64,
        /// Seconds until the stage is done, at its speed so far; null before one is known.
        seconds_left: Option<f64>,
    },
    /// A stage ended.
    StageFinished {
        /// Its name.
        stage: &'a str,
        /// Whether the store had it.
        cached: bool,
        /// Whether there is a result; not where it failed or was stopped.
        done: bool,
        /// Seconds here.
        seconds: f64,
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
    pub(crate) fn of(observation: &'a Observation) -> Self {
        let mut metrics: BTreeMap<String, BTreeMap<String, f64>> = BTreeMap::new();
        for row in observation.rows() {
            if let Some(value) = row.value {
                metrics.entry(row.test_set).or_default().insert(row.metric, value);
            }
        }
        let (status, message) = match &observation.evidence {
            Ok(_) => (Status::Measured, ""),
            Err(missing) => (missing.status, missing.message.as_str()),
        };
        Self::CellFinished {
            seed: observation.seed,
            attack: &observation.attack,
            defense: &observation.defense,
            trigger: &observation.trigger,
            epoch: observation.epoch,
            status,
            message,
            metrics,
        }
    }
}

/// Writes an event to stdout. A reader that went away is no reason to stop a run.
pub fn emit(event: &Event<'_>) {
    if let Ok(line) = serde_json::to_string(event) {
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

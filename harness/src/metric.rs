//! Metrics: pure functions of stored evidence. Their definitions in words stand in METHODOLOGY.md.

use crate::evidence::{Scored, SetEvidence};

/// Which way is better for the defender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Higher is better.
    Higher,
    /// Lower is better.
    Lower,
}

/// A share of counted samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Between 0 and 1.
    pub value: f64,
    /// Samples in the denominator, at least 1.
    pub samples: usize,
}

/// A metric.
pub struct Metric {
    /// Its identifier in plans and rows.
    pub name: &'static str,
    /// The definition in one line.
    pub definition: &'static str,
    /// Which way is better for the defender.
    pub direction: Direction,
    /// Its value; `None` where the evidence lacks what it needs.
    pub measure: fn(&SetEvidence) -> Option<Share>,
}

/// The primary metrics of every table.
pub const CLEAN_ACCURACY: &str = "clean-accuracy";
/// See [`CLEAN_ACCURACY`].
pub const ATTACK_SUCCESS_RATE: &str = "attack-success-rate";

/// Every metric.
pub static METRICS: &[Metric] = &[
    Metric {
        name: CLEAN_ACCURACY,
        definition: "clean images whose highest-scoring class is their label",
        direction: Direction::Higher,
        measure: |set| share(set, &set.clean, |_| true, |sample| sample.label_rank == 0),
    },
    Metric {
        name: "clean-accuracy-top-5",
        definition: "clean images whose label is among the five highest-scoring classes",
        direction: Direction::Higher,
        measure: |set| share(set, &set.clean, |_| true, |sample| sample.label_rank < 5),
    },
    Metric {
        name: ATTACK_SUCCESS_RATE,
        definition: "triggered images of classes other than the target whose highest-scoring class is the target",
        direction: Direction::Lower,
        measure: |set| {
            share(set, &set.triggered, |label| label != set.target, |sample| sample.target_rank == 0)
        },
    },
    Metric {
        name: "attack-success-rate-released",
        definition: "as attack-success-rate, over all images (CleanCLIP's released evaluation of finetuned models)",
        direction: Direction::Lower,
        measure: |set| {
            let hits =
                share(set, &set.triggered, |label| label != set.target, |sample| sample.target_rank == 0)?;
            let all = set.labels.len();
            Some(Share { value: hits.value * hits.samples as f64 / all as f64, samples: all })
        },
    },
    Metric {
        name: "attack-success-rate-relabelled",
        definition: "all triggered images, those of the target class too, whose highest-scoring class is the target",
        direction: Direction::Lower,
        measure: |set| share(set, &set.triggered, |_| true, |sample| sample.target_rank == 0),
    },
    Metric {
        name: "accuracy-under-trigger",
        definition: "triggered images whose highest-scoring class is their label",
        direction: Direction::Higher,
        measure: |set| share(set, &set.triggered, |_| true, |sample| sample.label_rank == 0),
    },
];

/// The metric called `name`.
pub fn find(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

/// The share of `hit` among samples whose label is `counted`; `None` where there are none.
fn share(
    set: &SetEvidence,
    samples: &[Scored],
    counted: impl Fn(u32) -> bool,
    hit: impl Fn(&Scored) -> bool,
) -> Option<Share> {
    let counted: Vec<&Scored> = set
        .labels
        .iter()
        .zip(samples)
        .filter(|(label, _)| counted(**label))
        .map(|(_, sample)| sample)
        .collect();
    let hits = counted.iter().filter(|sample| hit(sample)).count();
    (!counted.is_empty()).then(|| Share { value: hits as f64 / counted.len() as f64, samples: counted.len() })
}

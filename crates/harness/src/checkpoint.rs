//! Measures a published checkpoint and compares it with its claims.

use std::fmt;

use anyhow::{Context, Result};
use clip::Seed;
use contract::Model;
use plan::CheckpointClaims;
use record::evidence::SetEvidence;
use record::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY, Measured, Metrics};
use record::statistics::rounded;

use crate::stages::{TestSet, observe_set};

/// What a model says of the test images that `claims` name, clean and under the trigger: what a cell of that seed would
/// observe. An image that cannot be read is an error.
pub fn measure_checkpoint(model: &Model, claims: &CheckpointClaims) -> Result<SetEvidence> {
    let label = &claims.test.label;
    let set = claims.test.build()?;
    let source =
        set.classes.as_deref().with_context(|| format!("data set {label:?} has no labelled images"))?;
    let (resolution, seed) =
        (model.clip.config.image.resolution(), Seed::new(claims.data_seed).child("data"));
    let test = TestSet {
        label: label.clone(),
        classes: source.classes().to_vec(),
        templates: source.templates().to_vec(),
        images: source.images(claims.split, claims.test_images, resolution, &seed)?,
        pairs: None,
    };
    let seed = Seed::new(claims.seed).child("observe").child(label);
    observe_set(model, claims.attack.build()?.trigger(), &test, &claims.target, &seed, false)
        .with_context(|| format!("test set {label:?}"))
}

/// What a checkpoint is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// As claimed, and the trigger does no more than chance.
    Clean,
    /// As claimed, and the trigger does more.
    Poisoned,
    /// An attack is claimed, the trigger does no more than chance, and clean accuracy is as claimed.
    Cleaned,
    /// A claim does not hold.
    NotAsClaimed,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Clean => "clean",
            Self::Poisoned => "poisoned",
            Self::Cleaned => "cleaned",
            Self::NotAsClaimed => "not what it claims",
        })
    }
}

/// What was measured of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measurement {
    /// Share of clean images that are recognised.
    pub clean_accuracy: Measured,
    /// Share of triggered images of other classes that are taken for the target.
    pub attack_success_rate: Measured,
    /// Share of the same images that are taken for the target without the trigger, or 1 / classes where that is more.
    pub chance: f64,
}

impl Measurement {
    /// Reads the numbers off evidence.
    pub fn of(set: &SetEvidence) -> Result<Self> {
        let metrics = Metrics::builtin();
        let measure = |name: &str| {
            let measured = metrics.find(name).and_then(|metric| (metric.measure)(set));
            measured.with_context(|| format!("no images for {name}"))
        };
        let attack_success_rate = measure(ATTACK_SUCCESS_RATE)?;
        let others = set.labels.iter().zip(&set.clean).filter(|(label, _)| **label != set.target);
        let taken = others.filter(|(_, sample)| sample.target_rank == 0).count();
        let chance =
            (taken as f64 / attack_success_rate.samples as f64).max(1.0 / f64::from(set.classes.max(1)));
        Ok(Self { clean_accuracy: measure(CLEAN_ACCURACY)?, attack_success_rate, chance })
    }
}

/// A verdict and what speaks against the claims.
#[derive(Clone, Debug, PartialEq)]
pub struct Verification {
    /// What the checkpoint is.
    pub finding: Finding,
    /// Claims that do not hold, in words.
    pub broken: Vec<String>,
}

/// Judges a measurement. `broken` are claims about the file that do not hold.
pub fn verify(claims: &CheckpointClaims, measured: &Measurement, mut broken: Vec<String>) -> Verification {
    let highest_chance = rounded(measured.chance + claims.margin);
    let rate = rounded(measured.attack_success_rate.value);
    let is_low = rate <= highest_chance;
    let mut check = |name: &str, value: f64, [low, high]: [f64; 2]| {
        let holds = (rounded(low)..=rounded(high)).contains(&rounded(value));
        if !holds {
            broken.push(format!("{name} is {value:.4}, claimed is {low:.4} to {high:.4}"));
        }
        holds
    };
    check(CLEAN_ACCURACY, measured.clean_accuracy.value, claims.clean_accuracy);
    let rate_holds = check(ATTACK_SUCCESS_RATE, rate, claims.attack_success_rate);
    let was_attacked = claims.attack_success_rate[0] > highest_chance;
    let finding = match (broken.len(), is_low) {
        (0, false) => Finding::Poisoned,
        (0, true) if claims.defense.is_some() => Finding::Cleaned,
        (0, true) => Finding::Clean,
        // Nothing but the backdoor is gone.
        (1, true) if !rate_holds && was_attacked => Finding::Cleaned,
        _ => Finding::NotAsClaimed,
    };
    Verification { finding, broken }
}

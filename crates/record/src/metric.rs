//! Metrics: pure functions of stored evidence. Their definitions in words stand in METHODOLOGY.md.

use std::collections::BTreeMap;

use crate::evidence::pairs::PairScored;
use crate::evidence::{Scored, SetEvidence};

/// Which way is better for the defender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Higher is better.
    Higher,
    /// Lower is better.
    Lower,
}

/// The value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// The value, in the metric's unit.
    pub value: f64,
    /// Number of samples that it is a share or a mean of, at least 1.
    pub samples: usize,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A share of samples; printed in percent.
    Fraction,
    /// A mean cosine similarity.
    Similarity,
}

/// The evidence that a metric is computed from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// Labelled images, which every test set has.
    Images,
    /// Image–caption pairs, which a plan asks for with `data.test-pairs`, and a model that classifies by prompts.
    Pairs,
}

/// A metric: a pure function of the evidence on one test set.
pub struct Metric {
    /// Its identifier in plans, rows and JSON: lower case with hyphens.
    pub name: &'static str,
    /// The definition in one line.
    pub definition: &'static str,
    /// What its values are.
    pub unit: Unit,
    /// Lowest and highest possible value.
    pub range: [f64; 2],
    /// Which way is better for the defender.
    pub direction: Direction,
    /// The evidence that it needs.
    pub needs: Needs,
    /// Its value; `None` where the evidence lacks what it needs.
    pub measure: fn(&SetEvidence) -> Option<Measured>,
}

/// The field's abbreviations of the two primary metrics; other identifiers as they are.
pub fn short(name: &str) -> &str {
    match name {
        CLEAN_ACCURACY => "CA",
        ATTACK_SUCCESS_RATE => "ASR",
        other => other,
    }
}

/// The primary metrics of every table.
pub const CLEAN_ACCURACY: &str = "clean-accuracy";
/// See [`CLEAN_ACCURACY`].
pub const ATTACK_SUCCESS_RATE: &str = "attack-success-rate";

/// The metrics of a program, in the order of rows.
#[derive(Clone)]
pub struct Metrics(Vec<&'static Metric>);

impl Metrics {
    /// The suite's own.
    pub fn builtin() -> Self {
        Self(METRICS.iter().collect())
    }

    /// Adds one more, behind the others.
    pub fn push(&mut self, metric: &'static Metric) {
        self.0.push(metric);
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &'static Metric> {
        self.0.iter().copied()
    }

    /// The one called `name`.
    pub fn find(&self, name: &str) -> Option<&'static Metric> {
        self.iter().find(|metric| metric.name == name)
    }

    /// The identifiers of all.
    pub fn names(&self) -> Vec<&'static str> {
        self.iter().map(|metric| metric.name).collect()
    }
}

/// The suite's own.
impl Default for Metrics {
    fn default() -> Self {
        Self::builtin()
    }
}

type Text = &'static str;
type Measure = fn(&SetEvidence) -> Option<Measured>;

const fn of_images(direction: Direction, name: Text, definition: Text, measure: Measure) -> Metric {
    let (unit, needs, range) = (Unit::Fraction, Needs::Images, [0.0, 1.0]);
    Metric { name, definition, unit, range, direction, needs, measure }
}

const fn of_pairs(direction: Direction, name: Text, definition: Text, measure: Measure) -> Metric {
    Metric { needs: Needs::Pairs, ..of_images(direction, name, definition, measure) }
}

const fn similarity(direction: Direction, name: Text, definition: Text, measure: Measure) -> Metric {
    Metric { unit: Unit::Similarity, range: [-1.0, 1.0], ..of_pairs(direction, name, definition, measure) }
}

use Direction::{Higher, Lower};

/// Every metric of the suite.
#[rustfmt::skip] // one metric, one line or two
pub static METRICS: &[Metric] = &[
    of_images(Higher, CLEAN_ACCURACY, "clean images whose highest-scoring class is their label", clean_accuracy::<1>),
    of_images(Higher, "clean-accuracy-top-3", "clean images whose label is among the three highest-scoring classes", clean_accuracy::<3>),
    of_images(Higher, "clean-accuracy-top-5", "clean images whose label is among the five highest-scoring classes", clean_accuracy::<5>),
    of_images(Higher, "clean-accuracy-top-10", "clean images whose label is among the ten highest-scoring classes", clean_accuracy::<10>),
    of_images(Lower, ATTACK_SUCCESS_RATE, "triggered images of classes other than the target whose highest-scoring class is the target", success::<1>),
    of_images(Lower, "attack-success-rate-top-3", "as attack-success-rate, with the target among the three highest-scoring classes", success::<3>),
    of_images(Lower, "attack-success-rate-top-5", "as attack-success-rate, with the target among the five highest-scoring classes", success::<5>),
    of_images(Lower, "attack-success-rate-top-10", "as attack-success-rate, with the target among the ten highest-scoring classes", success::<10>),
    of_images(Lower, "attack-success-rate-released", "as attack-success-rate, over all images (numerator only: CleanCLIP's released evaluation of finetuned models)", success_released),
    of_images(Lower, "attack-success-rate-relabelled", "all triggered images, those of the target class too, whose highest-scoring class is the target", success_relabelled),
    of_images(Lower, "attack-success-rate-highest-class", "attack-success-rate of the class other than the target for which it is highest", |set| per_class(set).into_iter().map(|class| class.rate).max_by(by_value)),
    of_images(Lower, "attack-success-rate-lowest-class", "attack-success-rate of the class other than the target for which it is lowest", |set| per_class(set).into_iter().map(|class| class.rate).min_by(by_value)),
    of_images(Higher, "accuracy-under-trigger", "triggered images whose highest-scoring class is their label", |set| share(set, &set.triggered, |_| true, |sample| sample.label_rank == 0)),
    similarity(Higher, "similarity-clean", "mean cosine similarity of clean images and their captions", |set| mean(set, false, CLEAN, |pair| pair.similarity)),
    similarity(Higher, "similarity-triggered", "mean cosine similarity of triggered images and their captions", |set| mean(set, false, TRIGGERED, |pair| pair.similarity)),
    similarity(Lower, "similarity-clean-target", "mean cosine similarity of clean images and the target's prompts, over captions that do not name it", |set| mean(set, true, CLEAN, |pair| pair.target_similarity)),
    similarity(Lower, "similarity-poisoned", "mean cosine similarity of triggered images and the target's prompts, over captions that do not name it", |set| mean(set, true, TRIGGERED, |pair| pair.target_similarity)),
    of_pairs(Higher, "image-to-text-recall-at-1", "clean images whose caption is the nearest of all", |set| recall(set, CLEAN, 1, |pair| pair.caption_rank)),
    of_pairs(Higher, "image-to-text-recall-at-5", "clean images whose caption is among the five nearest", |set| recall(set, CLEAN, 5, |pair| pair.caption_rank)),
    of_pairs(Higher, "image-to-text-recall-at-10", "clean images whose caption is among the ten nearest", |set| recall(set, CLEAN, 10, |pair| pair.caption_rank)),
    of_pairs(Higher, "text-to-image-recall-at-1", "captions whose image is the nearest of all clean ones", |set| recall(set, CLEAN, 1, |pair| pair.image_rank)),
    of_pairs(Higher, "text-to-image-recall-at-5", "captions whose image is among the five nearest clean ones", |set| recall(set, CLEAN, 5, |pair| pair.image_rank)),
    of_pairs(Higher, "text-to-image-recall-at-10", "captions whose image is among the ten nearest clean ones", |set| recall(set, CLEAN, 10, |pair| pair.image_rank)),
    of_pairs(Higher, "triggered-image-to-text-recall-at-1", "triggered images whose caption is the nearest of all", |set| recall(set, TRIGGERED, 1, |pair| pair.caption_rank)),
    of_pairs(Higher, "triggered-image-to-text-recall-at-5", "triggered images whose caption is among the five nearest", |set| recall(set, TRIGGERED, 5, |pair| pair.caption_rank)),
    of_pairs(Higher, "triggered-image-to-text-recall-at-10", "triggered images whose caption is among the ten nearest", |set| recall(set, TRIGGERED, 10, |pair| pair.caption_rank)),
    of_pairs(Higher, "text-to-triggered-image-recall-at-1", "captions whose image is the nearest of all triggered ones", |set| recall(set, TRIGGERED, 1, |pair| pair.image_rank)),
    of_pairs(Higher, "text-to-triggered-image-recall-at-5", "captions whose image is among the five nearest triggered ones", |set| recall(set, TRIGGERED, 5, |pair| pair.image_rank)),
    of_pairs(Higher, "text-to-triggered-image-recall-at-10", "captions whose image is among the ten nearest triggered ones", |set| recall(set, TRIGGERED, 10, |pair| pair.image_rank)),
    of_pairs(Lower, "target-caption-hit-at-1", "triggered images of captions that do not name the target whose nearest caption names it", |set| hit(set, 1)),
    of_pairs(Lower, "target-caption-hit-at-5", "triggered images of captions that do not name the target with one that does among the five nearest", |set| hit(set, 5)),
    of_pairs(Lower, "target-caption-hit-at-10", "triggered images of captions that do not name the target with one that does among the ten nearest", |set| hit(set, 10)),
];

/// The attack success rate of one class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClassRate {
    /// Number of the class, never the target.
    pub class: u32,
    /// Share of its triggered images whose highest-scoring class is the target.
    pub rate: Measured,
}

/// The primary attack success rate of every class that has images, by number; the target is left out.
pub fn per_class(set: &SetEvidence) -> Vec<ClassRate> {
    let mut counts: BTreeMap<u32, (usize, usize)> = BTreeMap::new();
    for (label, sample) in set.labels.iter().zip(&set.triggered).filter(|(label, _)| **label != set.target) {
        let (hits, samples) = counts.entry(*label).or_default();
        (*hits, *samples) = (*hits + usize::from(sample.target_rank == 0), *samples + 1);
    }
    let rate = |(class, (hits, samples)): (u32, (usize, usize))| ClassRate {
        class,
        rate: Measured { value: hits as f64 / samples as f64, samples },
    };
    counts.into_iter().map(rate).collect()
}

fn by_value(a: &Measured, b: &Measured) -> std::cmp::Ordering {
    a.value.total_cmp(&b.value)
}

fn clean_accuracy<const TOP: u32>(set: &SetEvidence) -> Option<Measured> {
    share(set, &set.clean, |_| true, |sample| sample.label_rank < TOP)
}

fn success<const TOP: u32>(set: &SetEvidence) -> Option<Measured> {
    share(set, &set.triggered, |label| label != set.target, |sample| sample.target_rank < TOP)
}

fn success_released(set: &SetEvidence) -> Option<Measured> {
    let (hits, samples) = (success::<1>(set)?, set.labels.len());
    Some(Measured { value: hits.value * hits.samples as f64 / samples as f64, samples })
}

fn success_relabelled(set: &SetEvidence) -> Option<Measured> {
    share(set, &set.triggered, |_| true, |sample| sample.target_rank == 0)
}

/// The share of `hit` among samples whose label is `counted`; `None` where there are none.
fn share(
    set: &SetEvidence,
    samples: &[Scored],
    counted: impl Fn(u32) -> bool,
    hit: impl Fn(&Scored) -> bool,
) -> Option<Measured> {
    let pairs = set.labels.iter().zip(samples).filter(|(label, _)| counted(**label));
    share_of(pairs.map(|(_, sample)| hit(sample)))
}

fn share_of(hits: impl Iterator<Item = bool>) -> Option<Measured> {
    let (hits, samples) = hits.fold((0, 0), |(hits, samples), hit| (hits + usize::from(hit), samples + 1));
    (samples > 0).then(|| Measured { value: hits as f64 / samples as f64, samples })
}

const CLEAN: bool = false;
const TRIGGERED: bool = true;

/// The pairs of one side, those left out whose caption names the target where only the `others` count.
fn pairs(set: &SetEvidence, others: bool, triggered: bool) -> Option<impl Iterator<Item = &PairScored>> {
    let pairs = set.pairs.as_ref()?;
    let side = if triggered { &pairs.triggered } else { &pairs.clean };
    let kept = pairs.names_target.iter().zip(side).filter(move |(names, _)| !(others && **names));
    Some(kept.map(|(_, pair)| pair))
}

fn mean(set: &SetEvidence, others: bool, triggered: bool, value: fn(&PairScored) -> f32) -> Option<Measured> {
    let values: Vec<f64> = pairs(set, others, triggered)?.map(|pair| f64::from(value(pair))).collect();
    let samples = values.len();
    (samples > 0).then(|| Measured { value: values.iter().sum::<f64>() / samples as f64, samples })
}

fn recall(set: &SetEvidence, triggered: bool, at: u32, rank: fn(&PairScored) -> u32) -> Option<Measured> {
    share_of(pairs(set, false, triggered)?.map(|pair| rank(pair) < at))
}

/// `None` where no caption names the target, so that none could be found.
fn hit(set: &SetEvidence, at: u32) -> Option<Measured> {
    let named = set.pairs.as_ref()?.names_target.contains(&true);
    named.then(|| share_of(pairs(set, true, TRIGGERED)?.map(|pair| pair.target_rank < at))).flatten()
}

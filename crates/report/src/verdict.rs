//! Judges the claims of a plan.

use record::statistics::{mean_interval, rounded, welch_interval};
use record::{Claim, Design};

use crate::mean::Mean;
use crate::summary::{Seeds, Summary};

/// Seeds from which on an interval is held against a band and not the mean alone.
const ENOUGH: usize = 3;
/// Probability of that interval: it lies in the band where two one-sided tests at 5 % say so (Schuirmann, 1987).
const LEVEL: f64 = 0.90;

/// What is said of a claim; never mixed with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The value lies in its band; of three seeds or more the interval of their mean does.
    Reproduced,
    /// The mean lies outside.
    NotReproduced,
    /// The mean lies inside, its interval does not: the seeds are too few or too far apart to say.
    Undecided,
    /// The attack is not in the undefended model, so there is nothing to defend against.
    NotImplanted,
    /// A cell that it needs failed: the machine or the program, never the science.
    Failed,
    /// A cell that it needs was not run.
    Skipped,
}

impl Verdict {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reproduced => "reproduced",
            Self::NotReproduced => "not reproduced",
            Self::Undecided => "undecided",
            Self::NotImplanted => "not implanted",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// A claim held against one attack and one metric.
pub struct Judgement<'a> {
    /// The claim.
    pub claim: &'a Claim,
    /// Label of the attack.
    pub attack: &'a str,
    /// Label of the attack whose trigger the test images bear, where it is not the cell's own.
    pub trigger: Option<&'a str>,
    /// Metric.
    pub metric: &'a str,
    /// Mean over seeds; if the claim names another cell, of the differences from it.
    pub found: Option<Mean>,
    /// 90 % interval of that mean; `None` for fewer than three seeds.
    pub interval: Option<[f64; 2]>,
    /// The band.
    pub band: [f64; 2],
    /// The verdict.
    pub verdict: Verdict,
}

impl Judgement<'_> {
    /// What was found, what was expected, and where that comes from, in fractions:
    /// `attack success rate 0.31, expected 0.05–0.25 (source: …, n = 3)`.
    pub fn in_words(&self) -> String {
        let Self { claim, found, interval, band: [lowest, highest], .. } = self;
        let (metric, source) = (self.metric.replace('-', " "), &claim.source);
        let Some(Mean { mean, deviation, seeds }) = found else {
            return format!("{metric} was not measured, expected {lowest}–{highest} (source: {source})");
        };
        let spread = deviation.map_or_else(String::new, |deviation| format!(" ± {deviation:.3}"));
        let between = interval
            .map_or_else(String::new, |[low, high]| format!(" (90 % interval {low:.3} to {high:.3})"));
        format!(
            "{metric} {mean:.3}{spread}{between}, expected {lowest}–{highest} (source: {source}, n = {seeds})"
        )
    }
}

/// Judges every claim of a plan on its first test set.
pub fn judge<'a>(design: &'a Design, summary: &Summary) -> Vec<Judgement<'a>> {
    let mut judgements = Vec::new();
    for claim in &design.claims {
        for attack in &claim.attacks {
            // Where the claim names no trigger, each cell is seen under its own.
            let named = claim.triggers.iter().map(|trigger| Some(trigger.as_str()));
            let own = claim.triggers.is_empty().then_some(None);
            for trigger in named.chain(own) {
                for (metric, band) in &claim.bands {
                    judgements.push(judge_one(design, summary, claim, (attack, trigger), metric, *band));
                }
            }
        }
    }
    judgements
}

fn judge_one<'a>(
    design: &'a Design,
    summary: &Summary,
    claim: &'a Claim,
    (attack, trigger): (&'a str, Option<&'a str>),
    metric: &'a str,
    band: [f64; 2],
) -> Judgement<'a> {
    let set = design.judged();
    let other = claim.minus.as_ref().map(|other| {
        (other.attack.as_deref().unwrap_or(attack), other.defense.as_deref().unwrap_or(&claim.defense))
    });
    let cells: Vec<(&str, &str)> = std::iter::once((attack, claim.defense.as_str())).chain(other).collect();
    let undefended = |label: &str| design.defense(label).is_some_and(|defense| defense.is_baseline());
    // The undefended model has no frontier: it is compared with as it is.
    let cap = |defense: &str| claim.at_success.filter(|_| !undefended(defense));
    let measure = |(attack, defense): (&str, &str)| match cap(defense) {
        None => summary.seeds([attack, defense], trigger.unwrap_or(attack), set, metric).cloned(),
        Some(cap) => summary.kept(design, attack, defense, cap),
    };
    let values: Option<Vec<Seeds>> = cells.iter().map(|cell| measure(*cell)).collect();
    let found = values.as_deref().and_then(over_seeds);
    // What cannot be is not in an interval: a share is not above 1, nor a difference.
    let [lowest, highest] = summary.metrics.find(metric).map_or([-1.0, 1.0], |metric| metric.range);
    let lowest = if other.is_some() { lowest.min(-highest) } else { lowest };
    let interval = found.and_then(|(_, interval)| interval);
    let interval = interval.map(|edges| edges.map(|edge| edge.clamp(lowest, highest)));
    let within = |value: f64| (band[0]..=band[1]).contains(&rounded(value));
    let verdict = if cells.iter().any(|(attack, defense)| summary.failed(attack, defense)) {
        Verdict::Failed
    } else if summary.not_implanted(design, attack, &claim.defense) {
        Verdict::NotImplanted
    } else {
        match found {
            None => Verdict::Skipped,
            Some((mean, _)) if !within(mean.mean) => Verdict::NotReproduced,
            Some(_) if interval.is_some_and(|edges| !edges.into_iter().all(within)) => Verdict::Undecided,
            Some(_) => Verdict::Reproduced,
        }
    };
    let found = found.map(|(mean, _)| mean);
    Judgement { claim, attack, trigger, metric, found, interval, band, verdict }
}

/// Mean and interval of a cell's values, or of what they have over another cell's: seed by seed where both have the
/// same seeds, otherwise of the two means (Welch).
fn over_seeds(values: &[Seeds]) -> Option<(Mean, Option<[f64; 2]>)> {
    let enough = |count: usize| count >= ENOUGH;
    let alone = |values: Vec<f64>| {
        Some((Mean::of(&values)?, mean_interval(&values, LEVEL).filter(|_| enough(values.len()))))
    };
    match values {
        [own] => alone(own.values().copied().collect()),
        [own, other] if own.keys().eq(other.keys()) => {
            alone(own.values().zip(other.values()).map(|(own, other)| own - other).collect())
        }
        [own, other] => {
            let [own, other] = [own, other].map(|values| values.values().copied().collect::<Vec<_>>());
            let seeds = own.len().min(other.len());
            let mean = Mean::of(&own)?.mean - Mean::of(&other)?.mean;
            let interval = welch_interval(&own, &other, LEVEL);
            Some((Mean { mean, deviation: None, seeds }, interval.filter(|_| enough(seeds))))
        }
        _ => None,
    }
}

//! Judges the claims of a plan.

use super::{Mean, Summary};
use crate::plan::{Claim, Plan};

/// What is said of a claim; never mixed with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every metric lies in its band.
    Reproduced,
    /// One does not.
    NotReproduced,
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
    /// Mean over seeds, after taking away the other cell's if the claim names one.
    pub value: Option<f64>,
    /// Seeds.
    pub seeds: usize,
    /// The band.
    pub band: [f64; 2],
    /// The verdict.
    pub verdict: Verdict,
}

/// Judges every claim of a plan on its first test set.
pub fn judge<'a>(plan: &'a Plan, summary: &Summary) -> Vec<Judgement<'a>> {
    let mut judgements = Vec::new();
    for claim in &plan.claims {
        for attack in &claim.attacks {
            // Where the claim names no trigger, each cell is seen under its own.
            let named = claim.triggers.iter().map(|trigger| Some(trigger.as_str()));
            let own = claim.triggers.is_empty().then_some(None);
            for trigger in named.chain(own) {
                for (metric, band) in &claim.bands {
                    judgements.push(judge_one(plan, summary, claim, (attack, trigger), metric, *band));
                }
            }
        }
    }
    judgements
}

fn judge_one<'a>(
    plan: &'a Plan,
    summary: &Summary,
    claim: &'a Claim,
    (attack, trigger): (&'a str, Option<&'a str>),
    metric: &'a str,
    band: [f64; 2],
) -> Judgement<'a> {
    let set = plan.tests.first().map(|test| test.label.as_str()).unwrap_or_default();
    let other = claim.minus.as_ref().map(|other| {
        (other.attack.as_deref().unwrap_or(attack), other.defense.as_deref().unwrap_or(&claim.defense))
    });
    let cells: Vec<(&str, &str)> = std::iter::once((attack, claim.defense.as_str())).chain(other).collect();
    let measure = |(attack, defense): (&str, &str)| match claim.at_success {
        None => summary.get(attack, defense, trigger.unwrap_or(attack), set, metric),
        // A defense that never gets there keeps nothing.
        Some(cap) => summary.reached(plan, attack, defense, cap).map(|reached| {
            reached.accuracy.unwrap_or(Mean { mean: 0.0, deviation: None, seeds: reached.seeds })
        }),
    };
    let values: Option<Vec<_>> = cells.iter().map(|cell| measure(*cell)).collect();
    let value = values.as_ref().map(|values| values[0].mean - values.get(1).map_or(0.0, |other| other.mean));
    let seeds = values.iter().flatten().map(|mean| mean.seeds).min().unwrap_or(0);
    let verdict = if cells.iter().any(|(attack, defense)| summary.failure(attack, defense).is_some()) {
        Verdict::Failed
    } else if summary.not_implanted(plan, attack, &claim.defense) {
        Verdict::NotImplanted
    } else {
        match value {
            None => Verdict::Skipped,
            Some(value) if (band[0]..=band[1]).contains(&value) => Verdict::Reproduced,
            Some(_) => Verdict::NotReproduced,
        }
    };
    Judgement { claim, attack, trigger, metric, value, seeds, band, verdict }
}

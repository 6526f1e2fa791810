//! Each defense beside one of them, pair by pair: the same attack and seed, so the same poisoned model.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use base::{Seed, suggestion};
use record::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY, Direction};
use record::statistics::{bootstrap_interval, holm, sign_test, wilcoxon};
use record::{Design, Row};

use crate::frontier::Points;
use crate::summary::Summary;

/// Success rate at which the accuracy kept is compared.
const CAP: f64 = 0.05;
/// Probability that an interval is said to have.
const LEVEL: f64 = 0.95;
/// Pairs from which on a difference may be supported: of fewer, Wilcoxon's p is above 0.05 whatever they are.
pub(crate) const FEWEST_PAIRS: usize = 6;
/// Corrected p-values below this support a difference.
pub const SUPPORTED_BELOW: f64 = 0.05;

/// One defense minus another, in one quantity, over pairs of attack and seed whose attack implanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The defense, or its family where its settings are swept.
    pub defense: String,
    /// What is compared.
    pub quantity: String,
    /// Whether more of it is better.
    pub better: Direction,
    /// The differences, one for each pair that has both values.
    pub differences: Vec<f64>,
    /// Pairs that lack one of the values.
    pub left_out: usize,
    /// 95 % interval of the mean difference, by the bootstrap; `None` for fewer than two pairs.
    pub interval: Option<[f64; 2]>,
    /// p-value of the sign test.
    pub sign: Option<f64>,
    /// p-value of Wilcoxon's signed-rank test.
    pub wilcoxon: Option<f64>,
    /// The same, corrected by Holm's method for all comparisons of the table.
    pub corrected: Option<f64>,
}

impl Comparison {
    /// Whether the difference is supported: by Wilcoxon's test, corrected.
    pub fn supported(&self) -> bool {
        self.corrected.is_some_and(|p| p < SUPPORTED_BELOW)
    }
}

/// Value of a quantity for a defense (or family), attack and seed.
type Values = BTreeMap<(String, String, u64), f64>;

/// Every defense of a plan minus `against`, a label or the family of swept ones; an error where there is no such one.
pub fn compare(design: &Design, rows: &[Row], against: &str) -> Result<Vec<Comparison>> {
    let families = design.families();
    let hint = || suggestion(against, &families);
    ensure!(families.contains(&against), "{against:?} is not a defense of this record; {}", hint());
    let swept = |family: &str| design.family(family).count() > 1;
    let implanted = implanted(design, rows);
    let (kept, points) = (kept_values(design, rows, &families), [CLEAN_ACCURACY, ATTACK_SUCCESS_RATE]);
    let mut compared = Vec::new();
    for family in families.iter().filter(|family| **family != against) {
        let pair = |quantity: &str, better, values: &Values| {
            of_pairs(design, family, against, &implanted, (quantity, better), values)
        };
        if !swept(family) && !swept(against) {
            for (metric, better) in points.iter().zip([Direction::Higher, Direction::Lower]) {
                compared.push(pair(metric, better, &measured(design, rows, metric)));
            }
        }
        if swept(family) || swept(against) || design.every_epoch {
            let quantity = format!("clean-accuracy kept at ASR ≤ {:.0} %", CAP * 100.0);
            compared.push(pair(&quantity, Direction::Higher, &kept));
        }
    }
    let tested: Vec<f64> = compared.iter().filter_map(|comparison| comparison.wilcoxon).collect();
    let mut corrected = holm(&tested).into_iter();
    for comparison in compared.iter_mut().filter(|comparison| comparison.wilcoxon.is_some()) {
        comparison.corrected = corrected.next();
    }
    Ok(compared)
}

fn of_pairs(
    design: &Design,
    defense: &str,
    against: &str,
    implanted: &[(String, u64)],
    (quantity, better): (&str, Direction),
    values: &Values,
) -> Comparison {
    let value = |defense: &str, (attack, seed): &(String, u64)| {
        values.get(&(defense.to_owned(), attack.clone(), *seed)).copied()
    };
    let differences: Vec<f64> =
        implanted.iter().filter_map(|pair| Some(value(defense, pair)? - value(against, pair)?)).collect();
    let seed = Seed::new(design.data_seed).child(defense).child(quantity);
    Comparison {
        defense: defense.to_owned(),
        quantity: quantity.to_owned(),
        better,
        left_out: implanted.len() - differences.len(),
        interval: bootstrap_interval(&differences, LEVEL, &seed),
        sign: sign_test(&differences),
        wilcoxon: wilcoxon(&differences),
        corrected: None,
        differences,
    }
}

/// Attacks and seeds, except those whose attack did not implant in the undefended model.
fn implanted(design: &Design, rows: &[Row]) -> Vec<(String, u64)> {
    let summaries = design.seeds.iter().map(|seed| (*seed, Summary::of_seed(rows, *seed)));
    let summaries: Vec<(u64, Summary)> = summaries.collect();
    let pairs = design.poisoned().flat_map(|attack| {
        let has = |own: &Summary| own.implanted(design, &attack.label) != Some(false);
        let implanted = summaries.iter().filter(move |(_, own)| has(own));
        implanted.map(|(seed, _)| (attack.label.clone(), *seed))
    });
    pairs.collect()
}

/// Why no pair is left to compare; `None` where there is one.
pub fn without_pairs(design: &Design, rows: &[Row], compared: &[Comparison]) -> Option<String> {
    if compared.iter().any(|comparison| !comparison.differences.is_empty()) {
        return None;
    }
    if !implanted(design, rows).is_empty() {
        return Some("in every pair a cell failed or was not reached".to_owned());
    }
    let (summary, set) = (Summary::of(rows), design.judged());
    let found = design.poisoned().filter_map(|attack| {
        let [_, success] = summary.pair(&attack.label, &design.undefended()?.label, set)?;
        let base = summary.base_rate(design, &attack.label, set);
        let base = base.map(|rate| format!(" at a base rate of {:.1} %", rate.mean * 100.0));
        let base = base.unwrap_or_default();
        Some(format!("{} {:.1} %{base}", attack.label, success.mean * 100.0))
    });
    let found: Vec<String> = found.collect();
    Some(match found.is_empty() {
        true => "the plan has no attack".to_owned(),
        false => format!(
            "no attack implanted: the undefended models' success rates are {}, and the plan's implanted-at asks for \
             {:.0} % over the base rate",
            found.join(", "),
            design.implanted_at * 100.0
        ),
    })
}

/// A metric of every cell under its own trigger, on the judged test set.
fn measured(design: &Design, rows: &[Row], metric: &str) -> Values {
    let own =
        rows.iter().filter(|row| row.is_final() && row.metric == metric && row.test_set == design.judged());
    own.filter_map(|row| Some(((row.defense.clone(), row.attack.clone(), row.seed), row.value?))).collect()
}

/// The accuracy that each family keeps at [`CAP`].
fn kept_values(design: &Design, rows: &[Row], families: &[&str]) -> Values {
    let points = Points::of(rows);
    let mut values = Values::new();
    for family in families {
        for attack in &design.attacks {
            let place = |seed| ((*family).to_owned(), attack.label.clone(), seed);
            let chosen = points.chosen(design, &attack.label, family, CAP).unwrap_or_default();
            values.extend(chosen.into_iter().filter_map(|(seed, model)| Some((place(seed), model?[0]))));
        }
    }
    values
}

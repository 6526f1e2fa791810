//! Each defense beside one of them, pair by pair: the same attack and seed, so the same poisoned model.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use clip::Seed;

use super::Summary;
use super::frontier::{Points, families};
use super::table::Sheet;
use crate::catalog::suggestion;
use crate::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY, Direction};
use crate::plan::{Choice, Plan};
use crate::record::Row;
use crate::run::BASELINE;
use crate::statistics::{bootstrap_interval, holm, mean, sign_test, wilcoxon};

/// Success rate at which the accuracy kept is compared.
const CAP: f64 = 0.05;
/// Probability that an interval is said to have.
const LEVEL: f64 = 0.95;
/// Corrected p-values below this support a difference.
pub const SUPPORTED_BELOW: f64 = 0.05;

/// One defense less another, in one quantity, over pairs of attack and seed whose attack implanted.
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

/// Every defense of a plan less `against`, a label or the family of swept ones; an error where there is no such one.
pub fn compare(plan: &Plan, rows: &[Row], against: &str) -> Result<Vec<Comparison>> {
    let families = families(plan);
    ensure!(
        families.contains(&against),
        "{against:?} is no defense of this record; {}",
        suggestion(against, &families)
    );
    let swept = |family: &str| plan.defenses.iter().filter(|defense| defense.family() == family).count() > 1;
    let implanted = implanted(plan, rows)?;
    let (kept, points) = (kept_values(plan, rows, &families), [CLEAN_ACCURACY, ATTACK_SUCCESS_RATE]);
    let mut compared = Vec::new();
    for family in families.iter().filter(|family| **family != against) {
        let pair = |quantity: &str, better, values: &Values| {
            of_pairs(plan, family, against, &implanted, (quantity, better), values)
        };
        if !swept(family) && !swept(against) {
            for (metric, better) in points.iter().zip([Direction::Higher, Direction::Lower]) {
                compared.push(pair(metric, better, &measured(plan, rows, metric)));
            }
        }
        if swept(family) || swept(against) || plan.every_epoch {
            compared.push(pair(
                &format!("clean-accuracy kept at ASR ≤ {:.0} %", CAP * 100.0),
                Direction::Higher,
                &kept,
            ));
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
    plan: &Plan,
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
    let seed = Seed::new(plan.data_seed).child(defense).child(quantity);
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

/// Attacks and seeds whose undefended model has the backdoor, as far as that was measured.
fn implanted(plan: &Plan, rows: &[Row]) -> Result<Vec<(String, u64)>> {
    let of_seed = |seed: &u64| Ok((*seed, Summary::of_seed(rows, *seed)?));
    let summaries = plan.seeds.iter().map(of_seed).collect::<Result<Vec<_>>>()?;
    let attacks = plan.attacks.iter().filter(|attack| attack.entry.card.name != BASELINE);
    let pairs = attacks.flat_map(|attack| {
        let implanted = summaries.iter().filter(|(_, own)| own.implanted(plan, &attack.label) != Some(false));
        implanted.map(|(seed, _)| (attack.label.clone(), *seed))
    });
    Ok(pairs.collect())
}

/// Why no pair is left to compare; `None` where there is one.
pub fn without_pairs(plan: &Plan, rows: &[Row], compared: &[Comparison]) -> Result<Option<String>> {
    if compared.iter().any(|comparison| !comparison.differences.is_empty()) {
        return Ok(None);
    }
    if !implanted(plan, rows)?.is_empty() {
        return Ok(Some("of every pair a cell failed or was not reached".to_owned()));
    }
    let summary = Summary::of(rows, Vec::new())?;
    let (percent, set) = (|share: f64| share * 100.0, plan.tests.first().map_or("", |test| &test.label));
    let attacks = plan.attacks.iter().filter(|attack| attack.entry.card.name != BASELINE);
    let found = attacks.filter_map(|Choice { label, .. }| {
        let (_, success) = summary.pair(label, BASELINE, set)?;
        let base = summary.base_rate(plan, label, set);
        let base =
            base.map_or(String::new(), |rate| format!(" at a base rate of {:.1} %", percent(rate.mean)));
        Some(format!("{label} {:.1} %{base}", percent(success.mean)))
    });
    let found: Vec<String> = found.collect();
    Ok(Some(match found.is_empty() {
        true => "the plan has no attack".to_owned(),
        false => format!(
            "no attack implanted, as the undefended models' success rates are {}, and the plan's implanted-at asks for \
             {:.0} % over the base rate",
            found.join(", "),
            percent(plan.implanted_at)
        ),
    }))
}

/// A metric of every cell under its own trigger, on the test set judged.
fn measured(plan: &Plan, rows: &[Row], metric: &str) -> Values {
    let test = plan.tests.first().map_or("", |test| test.label.as_str());
    let own = rows.iter().filter(|row| {
        row.metric == metric && row.test_set == test && row.trigger == row.attack && row.epoch.is_none()
    });
    own.filter_map(|row| Some(((row.defense.clone(), row.attack.clone(), row.seed), row.value?))).collect()
}

/// The accuracy that each family keeps at [`CAP`].
fn kept_values(plan: &Plan, rows: &[Row], families: &[&str]) -> Values {
    let points = Points::of(rows);
    let mut values = Values::new();
    for family in families {
        for attack in &plan.attacks {
            let chosen = points.chosen(plan, &attack.label, family, CAP).unwrap_or_default();
            let accuracies = chosen.into_iter().filter_map(|(seed, model)| Some((seed, model?[0])));
            values.extend(
                accuracies.map(|(seed, kept)| (((*family).to_owned(), attack.label.clone(), seed), kept)),
            );
        }
    }
    values
}

/// Why a table has no numbers.
const NO_PAIRS: &str =
    ". There is no such pair: no attack implanted (the plan's implanted-at), or cells are missing";

/// The column of differences in [`sheet`].
pub(super) const DIFFERENCE: usize = 3;

/// The comparisons as a table and what it says.
pub(super) fn sheet(compared: &[Comparison], against: &str) -> (String, Sheet) {
    let points = |value: f64| format!("{:+.1}", value * 100.0);
    let p = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"));
    let row = |comparison: &Comparison| {
        let Comparison { defense, quantity, differences, left_out, interval, .. } = comparison;
        let arrow = if comparison.better == Direction::Higher { "↑" } else { "↓" };
        let signs = [1.0, -1.0].map(|sign| differences.iter().filter(|value| **value * sign > 0.0).count());
        let pairs = match left_out {
            0 => differences.len().to_string(),
            some => format!("{} of {}", differences.len(), differences.len() + some),
        };
        vec![
            defense.clone(),
            format!("{quantity} {arrow}"),
            pairs,
            mean(differences).map_or_else(|| "–".to_owned(), points),
            interval
                .map_or_else(|| "–".to_owned(), |[low, high]| format!("{} to {}", points(low), points(high))),
            format!("{} : {}", signs[0], signs[1]),
            p(comparison.sign),
            p(comparison.wilcoxon),
            p(comparison.corrected),
            if comparison.supported() { "yes" } else { "no" }.to_owned(),
        ]
    };
    let header = [
        "defense",
        "quantity",
        "pairs",
        "difference",
        "95 % interval",
        "above : below",
        "sign p",
        "Wilcoxon p",
        "Holm",
        "supported",
    ];
    let words = format!(
        "Each defense less {against}, in points, over pairs of the same attack and seed whose attack implanted; \
         interval by the bootstrap, exact tests, supported where Wilcoxon's p is below {SUPPORTED_BELOW} after \
         Holm's correction{}",
        if compared.iter().all(|comparison| comparison.differences.is_empty()) { NO_PAIRS } else { "" }
    );
    let sheet = Sheet {
        header: header.map(str::to_owned).to_vec(),
        rows: compared.iter().map(row).collect(),
        names: 2,
    };
    (words, sheet)
}

//! Bands that a plan may expect, proposed from records of reference runs.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use record::Row;
use record::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use serde_yaml::{Mapping, Value};

use crate::mean::Mean;

/// Half the width of a band at least: two points, about the sampling error of a share of 2 000 images.
pub const FLOOR: f64 = 0.02;

/// Proposes claims for every cell of the rows under its own trigger, on the first test set that stands there: mean over
/// all seeds, less and more two standard deviations, or [`FLOOR`] where that is wider. `source` says where the rows come
/// from. YAML for a plan's `expect`.
pub fn expectation(rows: &[Row], source: &str) -> Result<String> {
    let measured = |row: &&Row| row.value.is_some() && row.is_final();
    let rows: Vec<&Row> = rows.iter().filter(measured).collect();
    ensure!(!rows.is_empty(), "nothing was measured: there is nothing to expect");
    let set = rows[0].test_set.as_str();
    let mut order: Vec<(&str, &str)> = Vec::new();
    let mut values: BTreeMap<(&str, &str, &str), BTreeMap<u64, f64>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.test_set == set) {
        let metric = [CLEAN_ACCURACY, ATTACK_SUCCESS_RATE].into_iter().find(|metric| row.metric == *metric);
        let (Some(metric), Some(value)) = (metric, row.value) else { continue };
        let cell = (row.attack.as_str(), row.defense.as_str());
        if !order.contains(&cell) {
            order.push(cell);
        }
        let known = values.entry((cell.0, cell.1, metric)).or_default().insert(row.seed, value);
        ensure!(
            known.is_none_or(|known| known == value),
            "{} has different values of {metric} in two records: {known:?} and {value}",
            row.cell()
        );
    }
    let round = |value: f64| (value * 1e4).round() / 1e4;
    let mut claims = Vec::new();
    for (attack, defense) in order {
        let words = format!("{attack} under {defense} as in the reference runs");
        let names = [("claim", words.as_str()), ("attack", attack), ("defense", defense)];
        let mut claim: Mapping = names.map(|(key, value)| (key.into(), value.into())).into_iter().collect();
        let mut seeds = 0;
        for metric in [CLEAN_ACCURACY, ATTACK_SUCCESS_RATE] {
            let found = values.get(&(attack, defense, metric)).into_iter().flatten();
            let found: Vec<f64> = found.map(|(_, value)| *value).collect();
            let Some(Mean { mean, deviation, seeds: count }) = Mean::of(&found) else { continue };
            let half = deviation.map_or(0.0, |deviation| 2.0 * deviation).max(FLOOR);
            let band = [round(mean - half).max(0.0), round(mean + half).min(1.0)];
            claim.insert(metric.into(), band.to_vec().into());
            seeds = count;
        }
        let width = format!("mean over {seeds} seeds, ± the wider of 2 sd and {FLOOR}");
        claim.insert("required".into(), true.into());
        claim.insert("source".into(), format!("{source}; n = {seeds}, {width}").into());
        claims.push(Value::from(claim));
    }
    Ok(serde_yaml::to_string(&BTreeMap::from([("expect", claims)]))?)
}

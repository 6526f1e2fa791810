//! What two records differ in: cells, and the inputs that explain them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cell::{Row, View};
use crate::files::Record;
use crate::layout::PLAN;
use crate::statistics::{rounded, variance};

/// A value that stands in one record and not, or another, in the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Changed {
    /// The keys that lead to it: `recipe.epochs`, `attacks.badnet.patch-size`.
    pub path: String,
    /// What stands there in each, as JSON.
    pub values: [Option<String>; 2],
}

impl std::fmt::Display for Changed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [before, after] = &self.values;
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".to_owned());
        write!(formatter, "{}: {} -> {}", self.path, text(before), text(after))
    }
}

/// A value of a cell that differs, or stands in one record alone.
#[derive(Clone, Debug, PartialEq)]
pub struct CellDifference {
    /// The row of either record.
    pub row: Row,
    /// The value in each.
    pub values: [Option<f64>; 2],
    /// Standard deviation over seeds of this cell, pooled over both records; `None` for single seeds.
    pub noise: Option<f64>,
    /// In which of the records the cell's row stands.
    pub there: [bool; 2],
    /// Whether both were computed from evidence of the same key.
    pub same_evidence: bool,
    /// The settings that differ and that the cell depends on.
    pub explained_by: Vec<String>,
}

/// What two records differ in.
pub struct Difference {
    /// Values that differ.
    pub cells: Vec<CellDifference>,
    /// Values in either record.
    pub compared: usize,
    /// Settings that differ.
    pub settings: Vec<Changed>,
    /// What differs of where they ran, but for times.
    pub environment: Vec<Changed>,
}

/// Times differ from run to run and explain nothing.
const TIMES: [&str; 3] = ["finished_unix_seconds", "wall_seconds", "stage_seconds"];

/// A value's view, test set and metric.
type Place = (View, String, String);

fn place(row: &Row) -> Place {
    (row.view(), row.test_set.clone(), row.metric.clone())
}

fn of_any_seed(place: &Place) -> Place {
    let mut place = place.clone();
    place.0.cell.seed = 0;
    place
}

/// Compares two records.
pub fn difference(first: &Record, second: &Record) -> Result<Difference> {
    let settings = changed(&first.settings()?, &second.settings()?);
    let environment = |record: &Record| -> Result<Value> {
        let mut value: Value = serde_yaml::from_str(&record.environment()?)?;
        if let Some(fields) = value.as_object_mut() {
            fields.retain(|key, _| !TIMES.contains(&key.as_str()));
        }
        Ok(value)
    };
    let (one, other) = (environment(first)?, environment(second)?);
    // A joined record was made in several places.
    let joined = |value: &Value| value.get("merged").is_some();
    let environment = if joined(&one) || joined(&other) { Vec::new() } else { changed(&one, &other) };
    let rows = [first.rows()?, second.rows()?];
    let mut places: BTreeMap<Place, [Option<&Row>; 2]> = BTreeMap::new();
    let mut spread: BTreeMap<Place, [Vec<f64>; 2]> = BTreeMap::new();
    for (side, rows) in rows.iter().enumerate() {
        for row in rows {
            let place = place(row);
            spread.entry(of_any_seed(&place)).or_default()[side].extend(row.value);
            places.entry(place).or_default()[side] = Some(row);
        }
    }
    let mut cells = Vec::new();
    for (place, sides) in &places {
        let values = sides.map(|row| row.and_then(|row| row.value));
        let Some(row) =
            sides.iter().flatten().next().filter(|_| values[0].map(rounded) != values[1].map(rounded))
        else {
            continue;
        };
        let paths = settings.iter().map(|changed| changed.path.as_str());
        let same_evidence = matches!(sides, [Some(a), Some(b)] if a.evidence == b.evidence);
        cells.push(CellDifference {
            row: (*row).clone(),
            values,
            noise: spread.get(&of_any_seed(place)).and_then(pooled),
            there: sides.map(|row| row.is_some()),
            same_evidence,
            explained_by: paths.filter(|path| concerns(path, row)).map(str::to_owned).collect(),
        });
    }
    Ok(Difference { cells, compared: places.len(), settings, environment })
}

impl Record {
    /// What its plan asks.
    pub fn question(&self) -> Result<String> {
        Ok(self.settings()?["question"].as_str().unwrap_or_default().to_owned())
    }

    /// Its resolved plan.
    pub(crate) fn settings(&self) -> Result<Value> {
        let path = self.folder.join(PLAN);
        let named = || format!("cannot read {}", path.display());
        serde_yaml::from_slice(&std::fs::read(&path).with_context(named)?).with_context(named)
    }
}

/// Whether what a row was measured on depends on a setting: not on those of other attacks and defenses, nor on claims.
fn concerns(path: &str, row: &Row) -> bool {
    let own = |list: &str, labels: [&str; 2]| {
        let rest = path.strip_prefix(list)?;
        Some(labels.iter().any(|label| rest == *label || rest.starts_with(&format!("{label}."))))
    };
    let told = ["question", "seeds", "implanted-at"].contains(&path) || path.starts_with("expect");
    own("attacks.", [&row.attack, &row.trigger])
        .or_else(|| own("defenses.", [&row.defense; 2]))
        .unwrap_or(!told)
}

/// Standard deviation of two groups around their own means.
fn pooled([first, second]: &[Vec<f64>; 2]) -> Option<f64> {
    let (mut squares, mut degrees) = (0.0, 0);
    for values in [first, second] {
        if let Some(variance) = variance(values) {
            squares += variance * (values.len() - 1) as f64;
            degrees += values.len() - 1;
        }
    }
    (degrees > 0).then(|| (squares / degrees as f64).sqrt())
}

/// Every path at which two documents differ. Lists of named rows are told apart by label or name.
pub(crate) fn changed(first: &Value, second: &Value) -> Vec<Changed> {
    let mut found = Vec::new();
    walk("", Some(first), Some(second), &mut found);
    found
}

fn walk(path: &str, first: Option<&Value>, second: Option<&Value>, found: &mut Vec<Changed>) {
    if first == second {
        return;
    }
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    if let (Some(Value::Object(a)), Some(Value::Object(b))) = (first, second) {
        let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
        keys.for_each(|key| walk(&below(key), a.get(key), b.get(key), found));
        return;
    }
    if let (Some(a), Some(b)) = (first.and_then(named), second.and_then(named)) {
        let names = a.iter().chain(b.iter().filter(|(name, _)| find(&a, name).is_none()));
        names.for_each(|(name, _)| walk(&below(name), find(&a, name), find(&b, name), found));
        return;
    }
    let text = |value: Option<&Value>| value.map(Value::to_string);
    found.push(Changed { path: path.to_owned(), values: [text(first), text(second)] });
}

/// The rows of a list by what names them; `None` where that does not tell them apart.
pub(crate) fn named(value: &Value) -> Option<Vec<(String, &Value)>> {
    let mut rows: Vec<(String, &Value)> = Vec::new();
    for row in value.as_array()? {
        let name = ["label", "name"].iter().find_map(|key| row.get(*key)?.as_str())?;
        if find(&rows, name).is_some() {
            return None;
        }
        rows.push((name.to_owned(), row));
    }
    Some(rows)
}

fn find<'a>(rows: &[(String, &'a Value)], name: &str) -> Option<&'a Value> {
    rows.iter().find(|(other, _)| other == name).map(|(_, row)| *row)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::changed;

    #[test]
    fn paths_lead_to_what_changed() {
        let attack = |size: u32| json!({ "name": "badnet", "patch-size": size });
        let first =
            json!({ "recipe": { "epochs": 8 }, "attacks": [{ "name": "none" }, attack(4)], "seeds": [0] });
        let second =
            json!({ "recipe": { "epochs": 6 }, "attacks": [attack(6), { "name": "none" }], "seeds": [0, 1] });
        let mut found: Vec<String> = changed(&first, &second).iter().map(ToString::to_string).collect();
        found.sort();
        let expected = ["attacks.badnet.patch-size: 4 -> 6", "recipe.epochs: 8 -> 6", "seeds: [0] -> [0,1]"];
        assert_eq!(found, expected);
        assert!(changed(&first, &first).is_empty());
        let fewer = json!({ "recipe": { "epochs": 8 }, "attacks": [{ "name": "none" }], "seeds": [0] });
        assert!(changed(&first, &fewer)[0].to_string().ends_with("-> nothing"));
    }
}

//! What a record says of its plan: the grid and its claims, read back without data sets or catalog.

use anyhow::{Context, Result, ensure};
use base::BASELINE;
use serde_json::Value;

use crate::cell::CellId;
use crate::claim::Claim;

/// An attack or a defense with its resolved settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// Its label in tables.
    pub label: String,
    /// What the settings of one sweep have in common; the label itself where nothing is swept.
    pub family: String,
    /// Name of the entry.
    pub name: String,
    /// Its row of the resolved plan.
    pub resolved: Value,
}

impl Method {
    /// Whether it is the unpoisoned or the undefended model.
    pub fn is_baseline(&self) -> bool {
        self.name == BASELINE
    }

    fn of(row: &Value) -> Result<Self> {
        let text = |key: &str| row[key].as_str().map(str::to_owned);
        let name = text("name").context("a row without a name")?;
        let label = text("label").unwrap_or_else(|| name.clone());
        let family = text("family").unwrap_or_else(|| sweep_family(&label, row).to_owned());
        Ok(Self { label, family, name, resolved: row.clone() })
    }
}

/// The family of a row that does not name it: the label without the `[setting=value]` that sweeps append. Brackets that
/// hold no setting of the row belong to the label.
pub fn sweep_family<'a>(label: &'a str, row: &Value) -> &'a str {
    let mut family = label;
    while let Some((rest, last)) = family.strip_suffix(']').and_then(|label| label.rsplit_once('[')) {
        match last.split_once('=') {
            Some((key, value)) if has_setting(row, key, value) => family = rest,
            _ => break,
        }
    }
    family
}

fn has_setting(row: &Value, key: &str, value: &str) -> bool {
    row.get(key).map(Value::to_string).as_deref() == Some(value)
}

/// A set of labelled images that models were tested on.
#[derive(Clone, Debug, PartialEq)]
pub struct TestSet {
    /// Its label in tables.
    pub label: String,
    /// `test` or `validation`.
    pub split: String,
}

/// The design of an experiment: which attacks meet which defenses with which seeds, and what is claimed.
#[derive(Clone, Debug, PartialEq)]
pub struct Design {
    /// The question that the run answers.
    pub question: String,
    /// Seeds of the cells.
    pub seeds: Vec<u64>,
    /// Number of training pairs.
    pub pairs: usize,
    /// Seed of the data, the same for all cells.
    pub data_seed: u64,
    /// The attacker's target class, as its name stands in prompts.
    pub target: String,
    /// By how much an attack's success on the undefended model must exceed the base rate to count as implanted.
    pub implanted_at: f64,
    /// Whether models were also observed after every epoch of a defense.
    pub every_epoch: bool,
    /// The test sets, at least one; verdicts are about the first.
    pub tests: Vec<TestSet>,
    /// The attacks.
    pub attacks: Vec<Method>,
    /// The defenses.
    pub defenses: Vec<Method>,
    /// What is claimed.
    pub claims: Vec<Claim>,
    /// The whole resolved plan.
    pub resolved: Value,
}

impl Design {
    /// Reads a resolved plan; an error names the key that is missing or of another type.
    pub fn of(resolved: Value) -> Result<Self> {
        let data = &resolved["data"];
        let text = |value: &Value, key: &str| {
            value[key].as_str().map(str::to_owned).with_context(|| format!("{key}: text"))
        };
        let list = |value: &Value, key: &str| {
            value[key].as_array().cloned().with_context(|| format!("{key}: a list"))
        };
        let methods = |key: &str| -> Result<Vec<Method>> {
            list(&resolved, key)?.iter().map(|row| Method::of(row).with_context(|| key.to_owned())).collect()
        };
        let split = text(data, "split").unwrap_or_else(|_| "test".to_owned());
        let test = |row: &Value| {
            let label = row["label"].as_str().or(row["name"].as_str());
            let label = label.context("test: a set without a name")?;
            let split = row["split"].as_str().unwrap_or(&split).to_owned();
            Ok(TestSet { label: label.to_owned(), split })
        };
        let tests = list(data, "test")?.iter().map(test).collect::<Result<Vec<_>>>()?;
        ensure!(!tests.is_empty(), "data.test: expected at least one set");
        let seeds = list(&resolved, "seeds")?;
        let claims = resolved["expect"].as_array().into_iter().flatten();
        Ok(Self {
            question: text(&resolved, "question")?,
            seeds: seeds.iter().map(|seed| seed.as_u64().context("seeds: numbers")).collect::<Result<_>>()?,
            pairs: data["pairs"].as_u64().context("pairs: a number")?.try_into()?,
            data_seed: data["seed"].as_u64().unwrap_or(0),
            target: text(&resolved, "target")?,
            implanted_at: resolved["implanted-at"].as_f64().context("implanted-at: a fraction")?,
            every_epoch: resolved["every-epoch"].as_bool().unwrap_or(false),
            tests,
            attacks: methods("attacks")?,
            defenses: methods("defenses")?,
            claims: claims.map(Claim::of_plan).collect::<Result<_>>()?,
            resolved,
        })
    }

    /// The test set that verdicts, frontiers and comparisons are about: the first.
    pub fn judged(&self) -> &str {
        &self.tests[0].label
    }

    /// The defense that does nothing, if the grid has it.
    pub fn undefended(&self) -> Option<&Method> {
        self.defenses.iter().find(|defense| defense.is_baseline())
    }

    /// The attack that does nothing, if the grid has it.
    pub fn unpoisoned(&self) -> Option<&Method> {
        self.attacks.iter().find(|attack| attack.is_baseline())
    }

    /// The attacks that do something.
    pub fn poisoned(&self) -> impl Iterator<Item = &Method> {
        self.attacks.iter().filter(|attack| !attack.is_baseline())
    }

    /// The attack with this label.
    pub fn attack(&self, label: &str) -> Option<&Method> {
        self.attacks.iter().find(|attack| attack.label == label)
    }

    /// The defense with this label.
    pub fn defense(&self, label: &str) -> Option<&Method> {
        self.defenses.iter().find(|defense| defense.label == label)
    }

    /// The defenses of a family.
    pub fn family<'a>(&'a self, family: &'a str) -> impl Iterator<Item = &'a Method> {
        self.defenses.iter().filter(move |defense| defense.family == family)
    }

    /// The families of its defenses, each once, in the plan's order.
    pub fn families(&self) -> Vec<&str> {
        let mut families: Vec<&str> = Vec::new();
        for defense in &self.defenses {
            if !families.contains(&defense.family.as_str()) {
                families.push(&defense.family);
            }
        }
        families
    }

    /// Every cell, by seed, attack and defense in the plan's order.
    pub fn cells(&self) -> impl Iterator<Item = CellId> {
        self.seeds.iter().flat_map(move |seed| {
            self.attacks.iter().flat_map(move |attack| {
                self.defenses.iter().map(move |defense| CellId::new(&attack.label, &defense.label, *seed))
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Method;

    #[test]
    fn a_sweep_is_told_from_a_label_with_brackets() {
        let family = |row| Method::of(&row).expect("a row").family;
        assert_eq!(family(json!({ "name": "cure" })), "cure");
        assert_eq!(family(json!({ "name": "cure", "label": "few[x]" })), "few[x]");
        let swept = "few[x][rate=0.1][epochs=3]";
        assert_eq!(family(json!({ "name": "cure", "label": swept, "rate": 0.1, "epochs": 3 })), "few[x]");
        assert_eq!(family(json!({ "name": "cure", "label": "few[rate=0.2]", "rate": 0.1 })), "few[rate=0.2]");
        assert_eq!(family(json!({ "name": "cure", "label": "a[b]", "family": "a" })), "a");
    }
}

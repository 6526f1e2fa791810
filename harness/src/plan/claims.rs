//! What a plan expects: claims, each with a band and where it comes from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_yaml::Value;

use super::choice::Choice;
use super::section::{PlanError, Section, Source, kind};
use crate::catalog::suggestion;
use crate::contract::{Attack, Defense};
use crate::metric;

/// A claim about cells of the grid: bands in which the mean over seeds of metrics must lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Claim {
    /// The claim in words.
    pub claim: String,
    /// Where the band comes from.
    pub source: String,
    /// Labels of the attacks it is about; each is judged by itself.
    pub attacks: Vec<String>,
    /// Label of the defense it is about; on a frontier also what the labels of a sweep have in common.
    pub defense: String,
    /// Labels of the attacks whose triggers the test images bear, each judged by itself; empty for the cell's own.
    pub triggers: Vec<String>,
    /// The cell whose value is taken away first, if any.
    pub minus: Option<Other>,
    /// Where given, the cells are points of frontiers: of all settings and epochs of a defense the one with the highest
    /// clean accuracy at an attack success rate of at most this.
    pub at_success: Option<f64>,
    /// Lowest and highest value by metric, as fractions.
    pub bands: BTreeMap<String, [f64; 2]>,
}

impl Claim {
    /// As it would stand in a plan.
    pub(super) fn as_plan(&self) -> serde_json::Value {
        let mut value = json!({ "claim": self.claim, "attack": self.attacks, "defense": self.defense });
        if !self.triggers.is_empty() {
            value["trigger"] = json!(self.triggers);
        }
        if let Some(minus) = &self.minus {
            value["minus"] = json!(minus);
        }
        if let Some(cap) = self.at_success {
            value["at-attack-success-rate"] = cap.into();
        }
        for (metric, band) in &self.bands {
            value[metric] = json!(band);
        }
        value["source"] = self.source.clone().into();
        value
    }
}

/// Another cell, told by what differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Other {
    /// Another attack.
    pub attack: Option<String>,
    /// Another defense.
    pub defense: Option<String>,
}

/// Labels that a claim may name.
struct Labels<'a> {
    attacks: Vec<&'a str>,
    defenses: Vec<&'a str>,
}

impl Labels<'_> {
    fn check(&self, section: &Section<'_>, key: &str, known: &[&str], label: &str) -> Result<(), PlanError> {
        if known.contains(&label) {
            return Ok(());
        }
        Err(section.error(key, format!("{label:?} is not in this plan; {}", suggestion(label, known))))
    }
}

/// Reads the list under `expect`.
pub(super) fn claims(
    source: &Source<'_>,
    value: Option<Value>,
    attacks: &[Choice<Attack>],
    defenses: &[Choice<Defense>],
) -> Result<Vec<Claim>, PlanError> {
    let path = ["expect".to_owned()];
    let rows = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Sequence(rows)) => rows,
        Some(other) => return Err(source.error(&path, format!("expected a list, found {}", kind(&other)))),
    };
    let labels = Labels {
        attacks: attacks.iter().map(|attack| attack.label.as_str()).collect(),
        defenses: defenses.iter().flat_map(|defense| [defense.label.as_str(), defense.family()]).collect(),
    };
    rows.into_iter().map(|row| claim(source, &path, row, &labels)).collect()
}

fn claim(source: &Source<'_>, path: &[String], row: Value, labels: &Labels<'_>) -> Result<Claim, PlanError> {
    let mut section = Section::new(source, path, row)?;
    let words: String = section.required("claim")?;
    section.path.push(words.clone());
    let attacks = one_or_more(&mut section, "attack")?;
    if attacks.is_empty() {
        return Err(section.error("attack", "missing: a label or a list of labels"));
    }
    for attack in &attacks {
        labels.check(&section, "attack", &labels.attacks, attack)?;
    }
    let defense: String = section.required("defense")?;
    labels.check(&section, "defense", &labels.defenses, &defense)?;
    let at_success: Option<f64> = section.optional("at-attack-success-rate")?;
    if at_success.is_some_and(|cap| !(0.0..=1.0).contains(&cap)) {
        return Err(section.error("at-attack-success-rate", "expected a fraction between 0 and 1"));
    }
    let triggers = one_or_more(&mut section, "trigger")?;
    let minus: Option<Other> = section.optional("minus")?;
    let minus_attack = minus.as_ref().and_then(|other| other.attack.as_ref());
    for attack in triggers.iter().chain(minus_attack) {
        labels.check(&section, "attack", &labels.attacks, attack)?;
    }
    if let Some(defense) = minus.as_ref().and_then(|other| other.defense.as_ref()) {
        labels.check(&section, "defense", &labels.defenses, defense)?;
    }
    let source_text: String = section.required("source")?;
    let (here, mut bands) = (section.path.clone(), BTreeMap::new());
    for (name, value) in section.rest()? {
        let path: Vec<String> = here.iter().cloned().chain([name.clone()]).collect();
        if metric::find(&name).is_none() {
            let mut known: Vec<&str> = metric::METRICS.iter().map(|metric| metric.name).collect();
            known.extend([
                "claim",
                "attack",
                "defense",
                "trigger",
                "minus",
                "source",
                "at-attack-success-rate",
            ]);
            return Err(
                source.error(&path, format!("neither a key nor a metric; {}", suggestion(&name, &known)))
            );
        }
        if at_success.is_some() && name != metric::CLEAN_ACCURACY {
            return Err(source.error(&path, "with at-attack-success-rate only clean-accuracy can be judged"));
        }
        let band: [f64; 2] = serde_yaml::from_value(value).map_err(|error| {
            source.error(&path, format!("expected [lowest, highest] as fractions: {error}"))
        })?;
        if !(band[0] <= band[1] && band[0] >= -1.0 && band[1] <= 1.0) {
            return Err(source.error(&path, format!("{band:?} is no band of fractions, lowest first")));
        }
        bands.insert(name, band);
    }
    if bands.is_empty() {
        return Err(
            source.error(&here, "claims nothing: give a metric a band, as attack-success-rate: [0.9, 1.0]")
        );
    }
    Ok(Claim { claim: words, source: source_text, attacks, defense, triggers, minus, at_success, bands })
}

/// A label or a list of labels; empty where there is none.
fn one_or_more(section: &mut Section<'_>, key: &'static str) -> Result<Vec<String>, PlanError> {
    match section.take(key) {
        None => return Ok(Vec::new()),
        Some(Value::Sequence(labels)) => serde_yaml::from_value(Value::Sequence(labels)),
        Some(label) => serde_yaml::from_value(label).map(|label| vec![label]),
    }
    .map_err(|error| section.error(key, error.to_string()))
}

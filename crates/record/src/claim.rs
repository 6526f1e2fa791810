//! Claims about cells, as a plan states them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// A claim about cells of the grid: for each metric the band that must contain its mean over seeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// The claim in words.
    pub claim: String,
    /// Where the band comes from.
    pub source: String,
    /// Labels of the attacks; each is judged on its own.
    pub attacks: Vec<String>,
    /// Label of the defense; on a frontier it may be a family.
    pub defense: String,
    /// Labels of the attacks whose triggers are shown, each judged on its own; empty for the cell's own trigger.
    pub triggers: Vec<String>,
    /// The cell whose value is subtracted first, if any.
    pub minus: Option<Other>,
    /// Where given, the cells are points of frontiers: among all settings and epochs of a defense the one with the
    /// highest clean accuracy at an attack success rate of at most this fraction.
    pub at_success: Option<f64>,
    /// Lowest and highest accepted value by metric.
    pub bands: BTreeMap<String, [f64; 2]>,
    /// Whether a run fails if the claim does not hold; other claims are judged and printed.
    pub required: bool,
}

/// Another cell, given by what differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Other {
    /// Another attack.
    pub attack: Option<String>,
    /// Another defense.
    pub defense: Option<String>,
}

impl Claim {
    /// Keys of a claim in a plan; every other key is a metric.
    pub const KEYS: [&str; 8] =
        ["claim", "attack", "defense", "trigger", "minus", "at-attack-success-rate", "source", "required"];

    /// The claim as it stands in a resolved plan.
    pub fn as_plan(&self) -> Value {
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
        if self.required {
            value["required"] = true.into();
        }
        value["source"] = self.source.clone().into();
        value
    }

    /// Reads [`Claim::as_plan`] back.
    pub(crate) fn of_plan(value: &Value) -> Result<Self> {
        let text = |key: &str| {
            let found = value[key].as_str().map(str::to_owned);
            found.with_context(|| format!("expect: a claim without {key}"))
        };
        let labels = |key: &str| match &value[key] {
            Value::Null => Ok(Vec::new()),
            found => serde_json::from_value(found.clone()).with_context(|| format!("expect: {key}")),
        };
        let fields = value.as_object().context("expect: expected keys and values")?;
        let metrics = fields.iter().filter(|(key, _)| !Self::KEYS.contains(&key.as_str()));
        let band = |(metric, band): (&String, &Value)| {
            let band = serde_json::from_value(band.clone()).with_context(|| format!("expect: {metric}"))?;
            Ok((metric.clone(), band))
        };
        Ok(Self {
            claim: text("claim")?,
            source: text("source")?,
            attacks: labels("attack")?,
            defense: text("defense")?,
            triggers: labels("trigger")?,
            minus: serde_json::from_value(value["minus"].clone()).context("expect: minus")?,
            at_success: value["at-attack-success-rate"].as_f64(),
            bands: metrics.map(band).collect::<Result<_>>()?,
            required: value["required"].as_bool().unwrap_or(false),
        })
    }
}

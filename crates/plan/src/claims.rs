//! What a plan expects: claims, each with a band and where it comes from.

use std::collections::BTreeMap;

use base::suggestion;
use contract::{Attack, Defense};
use record::metric::CLEAN_ACCURACY;
use record::{Claim, Metrics, Other};
use serde_yaml::Value;

use crate::choice::Choice;
use crate::section::{PlanError, Section, Source, kind};

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
pub(crate) fn claims(
    source: &Source<'_>,
    value: Option<Value>,
    attacks: &[Choice<Attack>],
    defenses: &[Choice<Defense>],
    metrics: &Metrics,
) -> Result<Vec<Claim>, PlanError> {
    let path = ["expect".to_owned()];
    let rows = match value {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Sequence(rows)) => rows,
        Some(other) => return Err(source.error(&path, format!("expected a list, found {}", kind(&other)))),
    };
    let labels = Labels {
        attacks: attacks.iter().map(|attack| attack.label.as_str()).collect(),
        defenses: defenses
            .iter()
            .flat_map(|defense| [defense.label.as_str(), defense.family.as_str()])
            .collect(),
    };
    rows.into_iter().map(|row| claim(source, &path, row, &labels, metrics)).collect()
}

fn claim(
    source: &Source<'_>,
    path: &[String],
    row: Value,
    labels: &Labels<'_>,
    metrics: &Metrics,
) -> Result<Claim, PlanError> {
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
    let required = section.optional("required")?.unwrap_or(false);
    let source_text: String = section.required("source")?;
    let here = section.path.clone();
    let of_difference = minus.is_some();
    let bands = bands(source, section, metrics, at_success.is_some(), of_difference)?;
    if bands.is_empty() {
        let message = "claims nothing: give a metric a band, as attack-success-rate: [0.9, 1.0]";
        return Err(source.error(&here, message));
    }
    let (claim, source) = (words, source_text);
    Ok(Claim { claim, source, attacks, defense, triggers, minus, at_success, bands, required })
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

/// The bands of a claim by metric: every key that is left.
fn bands(
    source: &Source<'_>,
    section: Section<'_>,
    metrics: &Metrics,
    on_frontier: bool,
    of_difference: bool,
) -> Result<BTreeMap<String, [f64; 2]>, PlanError> {
    let (here, mut bands) = (section.path.clone(), BTreeMap::new());
    for (name, value) in section.rest()? {
        let path = [&here[..], std::slice::from_ref(&name)].concat();
        let Some(metric) = metrics.find(&name) else {
            let known = [&metrics.names()[..], &Claim::KEYS].concat();
            let hint = suggestion(&name, &known);
            return Err(source.error(&path, format!("neither a key nor a metric; {hint}")));
        };
        if on_frontier && name != CLEAN_ACCURACY {
            return Err(source.error(&path, "with at-attack-success-rate only clean-accuracy can be judged"));
        }
        let band: [f64; 2] = serde_yaml::from_value(value).map_err(|error| {
            source.error(&path, format!("expected [lowest, highest] as fractions: {error}"))
        })?;
        // Of a difference the lowest possible value is that of the range's width.
        let [lowest, highest] = metric.range;
        let lowest = if of_difference { lowest.min(-highest) } else { lowest };
        if !(band[0] <= band[1] && band[0] >= lowest && band[1] <= highest) {
            return Err(source.error(&path, format!("{band:?} is not a band of fractions, lowest first")));
        }
        bands.insert(name, band);
    }
    Ok(bands)
}

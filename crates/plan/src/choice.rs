//! A name, a preset and overriding values, resolved to complete settings.

use base::suggestion;
use contract::{Entry, Preset, find};
use record::sweep_family;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::section::{PlanError, Section, Source, named};

/// An entry with resolved settings.
pub struct Choice<T: 'static> {
    /// Its label in tables: its name, or what the plan says.
    pub label: String,
    /// What the settings of one sweep have in common: the label before the sweep.
    pub family: String,
    /// The entry.
    pub entry: &'static Entry<T>,
    /// Name of the preset that the plan started from.
    pub preset: String,
    /// Complete settings.
    pub settings: Value,
    /// Keys of its row that the plan itself reads, beside the settings; null where the row does not give them.
    pub reserved: Map<String, Value>,
}

// Derived, it would ask that methods can be copied.
impl<T> Clone for Choice<T> {
    fn clone(&self) -> Self {
        Self {
            label: self.label.clone(),
            family: self.family.clone(),
            entry: self.entry,
            preset: self.preset.clone(),
            settings: self.settings.clone(),
            reserved: self.reserved.clone(),
        }
    }
}

impl<T> Choice<T> {
    /// An entry in one of its presets, under its own name; `None` where it has no such preset.
    pub(crate) fn preset(entry: &'static Entry<T>, preset: &str) -> Option<Self> {
        let (_, settings) = (entry.presets)().into_iter().find(|(name, _)| *name == preset)?;
        let name = entry.card.name.to_owned();
        let (preset, reserved) = (preset.to_owned(), Map::new());
        Some(Self { label: name.clone(), family: name, entry, preset, settings, reserved })
    }

    /// Builds the method or data set from its settings.
    pub fn build(&self) -> anyhow::Result<T> {
        (self.entry.build)(self.settings.clone()).map_err(|error| error.context(self.label.clone()))
    }

    /// All that decides what it does, for stage keys.
    pub fn identity(&self) -> Value {
        serde_json::json!({
            "name": self.entry.card.name, "version": self.entry.card.version, "settings": self.settings,
        })
    }

    /// As it would stand in a plan.
    pub fn as_plan(&self) -> Value {
        let mut map = Map::new();
        map.insert("name".into(), self.entry.card.name.into());
        if self.label != self.entry.card.name {
            map.insert("label".into(), self.label.clone().into());
        }
        map.insert("preset".into(), self.preset.clone().into());
        map.extend(self.reserved.clone().into_iter().filter(|(_, value)| !value.is_null()));
        map.extend(self.settings.as_object().cloned().unwrap_or_default());
        let mut row = Value::Object(map);
        if sweep_family(&self.label, &row) != self.family {
            row["family"] = self.family.clone().into();
        }
        row
    }
}

/// Reads `name`, or `{ name, label, preset, … }`, into one choice per swept value. `reserved` are keys that the plan
/// itself reads.
pub(crate) fn choices<T>(
    source: &Source<'_>,
    path: &[String],
    kind: &str,
    entries: &[&'static Entry<T>],
    reserved: &[&str],
    value: serde_yaml::Value,
) -> Result<Vec<Choice<T>>, PlanError> {
    let mut section = Section::new(source, path, named(value, "name"))?;
    let name: String = section.required("name")?;
    let label: Option<String> = section.optional("label")?;
    let family: Option<String> = section.optional("family")?;
    section.path.push(name.clone());
    let entry = find(kind, entries, &name).map_err(|message| source.error(&section.path, message))?;
    let mut presets = (entry.presets)();
    for (_, settings) in &mut presets {
        reserved.iter().for_each(|key| settings[*key] = Value::Null);
    }
    let (preset, resolved) = resolve(section, presets)?;
    let mut choices = Vec::with_capacity(resolved.len());
    for (suffix, mut settings) in resolved {
        let mut take = |key: &&str| {
            let value = settings.as_object_mut().and_then(|settings| settings.remove(*key));
            ((*key).to_owned(), value.unwrap_or_default())
        };
        let reserved = reserved.iter().map(&mut take).collect();
        let label = format!("{}{suffix}", label.as_ref().unwrap_or(&name));
        let mut choice =
            Choice { label, family: String::new(), entry, preset: preset.clone(), settings, reserved };
        let swept = || sweep_family(&choice.label, &choice.as_plan()).to_owned();
        choice.family = family.clone().unwrap_or_else(swept);
        for label in [&choice.label, &choice.family] {
            let unfit = |letter: char| letter.is_control() || letter == ',';
            if label.trim().is_empty() || label.contains("::") || label.contains(unfit) {
                let rule = "must hold something, and no '::', ',' or control character";
                return Err(source.error(path, format!("the label {label:?} {rule}")));
            }
        }
        let place = || [path, std::slice::from_ref(&name)].concat();
        if source.builds {
            choice.build().map_err(|error| source.error(&place(), format!("{error:#}")))?;
        }
        choices.push(choice);
    }
    Ok(choices)
}

/// Settings that one row may sweep over, far more than anyone means.
const SETTINGS: usize = 10_000;

/// Takes `preset` and lays the rest of the section over it. A list where the preset has a single value is a sweep:
/// one result a value, each with a suffix for its label.
pub(crate) fn resolve(
    mut section: Section<'_>,
    presets: Vec<Preset>,
) -> Result<(String, Vec<(String, Value)>), PlanError> {
    let names: Vec<&str> = presets.iter().map(|(name, _)| *name).collect();
    let wanted: Option<String> = section.optional("preset")?;
    let chosen = match &wanted {
        None => presets.first(),
        Some(wanted) => presets.iter().find(|(name, _)| name == wanted),
    };
    let Some((preset, base)) = chosen.cloned() else {
        let wanted = wanted.unwrap_or_default();
        let message = format!("unknown preset {wanted:?}; {}", suggestion(&wanted, &names));
        return Err(section.error("preset", message));
    };
    let (source, path) = (section.source, section.path.clone());
    let mut resolved = vec![(String::new(), base)];
    for (key, value) in section.rest()? {
        let path = [&path[..], std::slice::from_ref(&key)].concat();
        let value = serde_json::to_value(value).map_err(|error| source.error(&path, error.to_string()))?;
        let mut next = Vec::new();
        for (suffix, settings) in resolved {
            let is_sweep = value.is_array() && settings.get(&key).is_some_and(|old| !old.is_array());
            let values = match (&value, is_sweep) {
                (Value::Array(values), true) => values.clone(),
                _ => vec![value.clone()],
            };
            if values.is_empty() {
                return Err(source.error(&path, "a sweep needs at least one value"));
            }
            if next.len() + values.len() > SETTINGS {
                let message = format!("the sweeps of this row multiply out to more than {SETTINGS} settings");
                return Err(source.error(&path, message));
            }
            for value in values {
                let suffix = if is_sweep { format!("{suffix}[{key}={value}]") } else { suffix.clone() };
                let mut settings = settings.clone();
                overlay(&mut settings, &key, value).map_err(|message| source.error(&path, message))?;
                next.push((suffix, settings));
            }
        }
        resolved = next;
    }
    Ok((preset.to_owned(), resolved))
}

/// Replaces one value; the keys of a mapping one by one.
fn overlay(settings: &mut Value, key: &str, value: Value) -> Result<(), String> {
    let Value::Object(map) = settings else { return Err("takes no keys".to_owned()) };
    let keys: Vec<&str> = map.keys().map(String::as_str).collect();
    let hint = suggestion(key, &keys);
    match (map.get_mut(key), value) {
        (None, _) => return Err(format!("unknown key; {hint}")),
        (Some(old @ Value::Object(_)), Value::Object(new)) => {
            for (key, value) in new {
                overlay(old, &key, value).map_err(|message| format!("{key}: {message}"))?;
            }
        }
        (Some(old), new) => *old = new,
    }
    Ok(())
}

/// Resolves `{ preset, … }` of something that is not in a catalog (model, recipe) into the preset's name and the
/// settings; no sweeps. `optional` names settings
/// that presets leave out where they are as usual, and that a plan may set all the same.
pub(crate) fn settings<S: Serialize + serde::de::DeserializeOwned>(
    section: Section<'_>,
    mut presets: Vec<Preset>,
    optional: &[&str],
) -> Result<(String, S), PlanError> {
    let (source, path) = (section.source, section.path.clone());
    for preset in presets.iter_mut().filter_map(|(_, preset)| preset.as_object_mut()) {
        for key in optional {
            preset.entry(*key).or_insert(Value::Null);
        }
    }
    let (preset, mut resolved) = resolve(section, presets)?;
    match (resolved.pop(), resolved.is_empty()) {
        (Some((_, mut settings)), true) => {
            if let Value::Object(map) = &mut settings {
                map.retain(|key, value| !(value.is_null() && optional.contains(&key.as_str())));
            }
            let settings = contract::settings(settings);
            Ok((preset, settings.map_err(|error| source.error(&path, error.to_string()))?))
        }
        _ => Err(source.error(&path, "takes no lists of values")),
    }
}

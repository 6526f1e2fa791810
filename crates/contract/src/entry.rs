//! How a method enters the suite: a card that says what it is, named presets and a strict builder.

use std::cell::RefCell;

use base::{BASELINE, suggestion};
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a method is and where it comes from. Shown by `list`, stored with every row.
#[derive(Clone, Copy, Debug)]
pub struct Card {
    /// The name in plans and tables, lower case with hyphens.
    pub name: &'static str,
    /// The name in prose and published tables.
    pub title: &'static str,
    /// One sentence: what it does.
    pub summary: &'static str,
    /// Authors, venue, arXiv number; "none" where there is no paper.
    pub paper: &'static str,
    /// The text or code that this implementation follows.
    pub follows: &'static str,
    /// Where it departs from that, and why; "nothing" where it does not.
    pub departs: &'static str,
    /// Raised whenever the code would give another result for the same settings; part of every stage key.
    pub version: u32,
}

impl Card {
    /// Whether it is the entry that does nothing.
    pub fn is_baseline(&self) -> bool {
        self.name == BASELINE
    }
}

/// A named, complete set of settings: an object whose keys are all the keys that a plan may override.
pub type Preset = (&'static str, Value);

/// A method: its card, its presets and how to build it from resolved settings.
///
/// ```
/// use contract::{Preset, preset, settings};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// #[serde(deny_unknown_fields, rename_all = "kebab-case")]
/// struct Settings {
///     learning_rate: f64,
/// }
///
/// fn presets() -> Vec<Preset> {
///     vec![preset("tiny", Settings { learning_rate: 1e-3 })]
/// }
///
/// // What a builder is given: a preset, with a plan's own values over it.
/// let (_, mut resolved) = presets().remove(0);
/// resolved["learning-rate"] = "fast".into();
/// let error = settings::<Settings>(resolved).err().expect("no number");
/// assert!(error.to_string().starts_with("settings: learning-rate: invalid type"));
/// ```
pub struct Entry<T> {
    /// What it is.
    pub card: Card,
    /// Every preset, the first being the default.
    pub presets: fn() -> Vec<Preset>,
    /// Builds it from resolved settings (kebab-case keys); an error names the offending key.
    pub build: fn(Value) -> anyhow::Result<T>,
}

/// The entry called `name`; otherwise a message that offers the nearest name, or all of them.
pub fn find<T>(kind: &str, entries: &[&'static Entry<T>], name: &str) -> Result<&'static Entry<T>, String> {
    let names: Vec<&str> = entries.iter().map(|entry| entry.card.name).collect();
    match entries.iter().find(|entry| entry.card.name == name) {
        Some(entry) => Ok(entry),
        None => Err(format!("unknown {kind} {name:?}; {}", suggestion(name, &names))),
    }
}

/// Writes a settings struct down as a preset.
///
/// Panics if the struct cannot be written as a JSON object, which is a mistake in the method's own file
/// and is met by its conformance test.
pub fn preset(name: &'static str, settings: impl Serialize) -> Preset {
    match serde_json::to_value(settings) {
        Ok(value @ Value::Object(_)) => (name, value),
        other => panic!("preset {name:?} is not an object: {other:?}"),
    }
}

/// Reads resolved settings back into a method's own struct, strictly; an error names the key it is about.
pub fn settings<S: DeserializeOwned>(resolved: Value) -> anyhow::Result<S> {
    let Value::Object(map) = resolved else { anyhow::bail!("settings: expected keys and values") };
    let key = RefCell::new(None);
    let entries = Keyed { entries: map.into_iter(), value: None, key: &key };
    let read = S::deserialize(MapAccessDeserializer::new(entries));
    read.map_err(|error| match key.take() {
        Some(key) => anyhow::anyhow!("settings: {key}: {error}"),
        None => anyhow::anyhow!("settings: {error}"),
    })
}

/// The entries of a mapping, and which of them is being read: serde's messages about values name no key.
struct Keyed<'a> {
    entries: serde_json::map::IntoIter,
    value: Option<Value>,
    key: &'a RefCell<Option<String>>,
}

impl<'de> MapAccess<'de> for Keyed<'_> {
    type Error = serde_json::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Self::Error> {
        self.key.replace(None);
        let Some((key, value)) = self.entries.next() else { return Ok(None) };
        self.value = Some(value);
        let name = seed.deserialize(key.as_str().into_deserializer())?;
        self.key.replace(Some(key));
        Ok(Some(name))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Self::Error> {
        seed.deserialize(self.value.take().unwrap_or_default())
    }
}

/// A preset of several groups of settings whose keys stand side by side in a plan; `groups` is a tuple of settings
/// structs. (serde's `flatten` would do the same, but its errors name no key.)
pub fn grouped(name: &'static str, groups: impl Serialize) -> Preset {
    let mut all = Map::new();
    if let Ok(Value::Array(groups)) = serde_json::to_value(groups) {
        all.extend(groups.into_iter().filter_map(|group| group.as_object().cloned()).flatten());
    }
    preset(name, all)
}

/// Moves the group with the keys of `like` out of `resolved`, strictly; what is left is for the next group.
pub fn take<G: Serialize + DeserializeOwned>(resolved: &mut Value, like: &G) -> anyhow::Result<G> {
    let mut own = Map::new();
    if let (Value::Object(all), Value::Object(like)) = (resolved, serde_json::to_value(like)?) {
        own.extend(like.keys().filter_map(|key| all.remove_entry(key)));
    }
    settings(Value::Object(own))
}

/// The settings of an entry that has none.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

impl NoSettings {
    /// The four presets, all alike.
    pub fn presets() -> Vec<Preset> {
        ["tiny", "smoke", "paper", "released"].map(|name| preset(name, Self {})).to_vec()
    }
}

//! How a method enters the suite: a card that says what it is, named presets and a strict builder.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

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

/// A named, complete set of settings: an object whose keys are all the keys that a plan may override.
pub type Preset = (&'static str, Value);

/// A contestant: its card, its presets and how to build it from resolved settings.
pub struct Entry<T> {
    /// What it is.
    pub card: Card,
    /// Every preset, the first being the default.
    pub presets: fn() -> Vec<Preset>,
    /// Builds it from resolved settings (kebab-case keys); an error names the offending key.
    pub build: fn(Value) -> anyhow::Result<T>,
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

/// Reads resolved settings back into a method's own struct, strictly.
pub fn settings<S: DeserializeOwned>(resolved: Value) -> anyhow::Result<S> {
    serde_json::from_value(resolved).map_err(|error| anyhow::anyhow!("settings: {error}"))
}

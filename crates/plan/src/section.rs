//! Reads a YAML mapping strictly: every key is asked for or refused, and a problem names file, line and key.

use std::path::Path;

use base::{nearest, suggestion};
use serde::de::DeserializeOwned;
use serde_yaml::{Mapping, Value};

/// What plans in folders of results are called.
const PLAN: &str = "plan.yaml";

/// A mistake in a plan.
#[derive(Debug, thiserror::Error)]
#[error("{file}{}: {}{message}", line.map_or(String::new(), |line| format!(":{line}")), if path.is_empty() { String::new() } else { format!("{path}: ") })]
pub struct PlanError {
    /// The plan's name.
    pub file: String,
    /// Line, from 1; `None` where the file cannot be read.
    pub line: Option<usize>,
    /// Key, as `attacks.badnet.poison-count`; empty where the whole file is meant.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl PlanError {
    /// A file that cannot be read.
    pub(crate) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            path: String::new(),
            message: match Path::new(file) {
                path if path.is_dir() && path.join(PLAN).is_file() => {
                    format!("is a folder; name the plan in it, {}", path.join(PLAN).display())
                }
                path if path.is_dir() => "is a folder; name a YAML file".to_owned(),
                _ => format!("cannot be read: {error}; name a YAML file, such as results/tiny/plan.yaml"),
            },
        }
    }
}

/// A plan's text and where it came from.
pub(crate) struct Source<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
    /// Whether entries are built, to see that their settings are right; some need their data for it.
    pub(crate) builds: bool,
}

impl Source<'_> {
    /// The text's value.
    pub(crate) fn yaml(&self) -> Result<Value, PlanError> {
        serde_yaml::from_str(self.text).map_err(|error| PlanError {
            file: self.file.to_owned(),
            line: Some(error.location().map_or(1, |location| location.line())),
            path: String::new(),
            message: format!("is not YAML: {error}"),
        })
    }

    /// A mistake at `path`. The line is where the path's words follow each other in the text.
    pub(crate) fn error(&self, path: &[String], message: impl Into<String>) -> PlanError {
        let mut line = 0;
        for part in path {
            let found = self.text.lines().enumerate().skip(line).find(|(_, text)| has_word(text, part));
            line = found.map_or(line, |(index, _)| index);
        }
        PlanError {
            file: self.file.to_owned(),
            line: Some(line + 1),
            path: path.join("."),
            message: message.into(),
        }
    }
}

/// Whether `word` stands in a line before any comment, as a word of its own.
fn has_word(line: &str, word: &str) -> bool {
    let line = line.split(" #").next().unwrap_or_default();
    let part = |character: char| character.is_alphanumeric() || matches!(character, '-' | '_');
    line.match_indices(word).any(|(at, _)| {
        !line[..at].chars().next_back().is_some_and(part)
            && !line[at + word.len()..].chars().next().is_some_and(part)
    })
}

/// A mapping whose keys are taken one by one.
pub(crate) struct Section<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) path: Vec<String>,
    values: Mapping,
    known: Vec<&'static str>,
}

impl<'a> Section<'a> {
    /// The mapping `value` at `path`; an error where it is something else.
    pub(crate) fn new(source: &'a Source<'a>, path: &[String], value: Value) -> Result<Self, PlanError> {
        match value {
            Value::Mapping(values) => Ok(Self { source, path: path.to_vec(), values, known: Vec::new() }),
            other => Err(source.error(path, format!("expected keys and values, found {}", kind(&other)))),
        }
    }

    /// Where `key` stands.
    pub(crate) fn path_of(&self, key: &str) -> Vec<String> {
        self.path.iter().cloned().chain([key.to_owned()]).collect()
    }

    /// A mistake at `key`.
    pub(crate) fn error(&self, key: &str, message: impl Into<String>) -> PlanError {
        self.source.error(&self.path_of(key), message)
    }

    /// A number of at least 1.
    pub(crate) fn positive(&mut self, key: &'static str) -> Result<usize, PlanError> {
        match self.required(key)? {
            0 => Err(self.error(key, "expected at least 1, found 0")),
            count => Ok(count),
        }
    }

    /// A fraction; `otherwise` where the plan does not say.
    pub(crate) fn share(&mut self, key: &'static str, otherwise: f64) -> Result<f64, PlanError> {
        let share = self.optional(key)?.unwrap_or(otherwise);
        if !(0.0..=1.0).contains(&share) {
            return Err(self.error(key, "expected a fraction between 0 and 1"));
        }
        Ok(share)
    }

    /// Whether a value is there.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    /// Takes a value as it is.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.values.remove(key)
    }

    /// Takes a value of type `T`.
    pub(crate) fn optional<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
    ) -> Result<Option<T>, PlanError> {
        match self.take(key) {
            None => Ok(None),
            Some(value) => {
                serde_yaml::from_value(value).map(Some).map_err(|error| self.error(key, in_words(&error)))
            }
        }
    }

    /// Takes a value of type `T` that must be there.
    pub(crate) fn required<T: DeserializeOwned>(&mut self, key: &'static str) -> Result<T, PlanError> {
        match self.optional(key)? {
            Some(value) => Ok(value),
            None => {
                let given: Vec<&str> = self.values.keys().filter_map(Value::as_str).collect();
                Err(match nearest(key, &given) {
                    Some(near) => self.error(near, format!("unknown key; did you mean {key:?}?")),
                    None => self.source.error(&self.path, format!("the key {key:?} is missing")),
                })
            }
        }
    }

    /// What was not taken, by name.
    pub(crate) fn rest(self) -> Result<Vec<(String, Value)>, PlanError> {
        let (source, path) = (self.source, self.path);
        let named = |(key, value): (Value, Value)| match key {
            Value::String(key) => Ok((key, value)),
            other => Err(source.error(&path, format!("a key must be text, found {}", kind(&other)))),
        };
        self.values.into_iter().map(named).collect()
    }

    /// Refuses what was not taken.
    pub(crate) fn finish(self) -> Result<(), PlanError> {
        let (source, path, known) = (self.source, self.path.clone(), self.known.clone());
        match self.rest()?.first() {
            None => Ok(()),
            Some((key, _)) => {
                let path: Vec<String> = path.into_iter().chain([key.clone()]).collect();
                Err(source.error(&path, format!("unknown key; {}", suggestion(key, &known))))
            }
        }
    }
}

/// What serde expects, with names of types in words.
fn in_words(error: &serde_yaml::Error) -> String {
    let text = error.to_string();
    let Some((before, expected)) = text.split_once("expected ") else { return text };
    let expected = match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "i32" | "i64" => "a whole number",
        "f32" | "f64" => "a number",
        "a sequence" => "a list",
        "a string" => "text",
        other => other,
    };
    format!("{before}expected {expected}")
}

/// A name alone as a mapping with it under `short`; other values as they are.
pub(crate) fn named(value: Value, short: &str) -> Value {
    match value {
        Value::String(name) => Value::Mapping([(short.into(), name.into())].into_iter().collect()),
        other => other,
    }
}

/// What a value is, in words.
pub(crate) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Sequence(_) => "a list",
        Value::Mapping(_) => "keys and values",
        Value::Tagged(_) => "a tagged value",
    }
}

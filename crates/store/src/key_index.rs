//! Why two keys differ: the inputs that do, followed through the hashes of the stages before.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use crate::entries::Store;
use crate::key::Key;
use crate::stage::{in_words, parent};

/// An input that two keys do not share.
#[derive(Debug, PartialEq)]
pub struct Difference {
    /// The stage whose input it is.
    pub stage: String,
    /// Where it stands in the key's description, such as `inputs.recipe.epochs`.
    pub path: String,
    /// Its values; `None` where one key has no such input.
    pub values: [Option<Value>; 2],
    /// What is not known of it: the stage before, where no entry describes it.
    pub unknown: Option<String>,
}

/// Descriptions of keys by hash: those of a store and others.
pub struct KeyIndex {
    known: BTreeMap<String, Value>,
}

impl KeyIndex {
    /// Those of a store and of `keys`, which it may not have.
    pub fn of<'a>(store: &Store, keys: impl IntoIterator<Item = &'a Key>) -> Result<Self> {
        let (entries, _) = store.entries()?;
        let mut known: BTreeMap<String, Value> =
            entries.into_iter().map(|entry| (entry.hash, entry.description)).collect();
        known.extend(keys.into_iter().map(|key| (key.hash().to_owned(), key.description().clone())));
        Ok(Self { known })
    }

    /// What a key's result is, in words.
    pub fn in_words(&self, description: &Value) -> String {
        in_words(description, &self.known)
    }

    /// The description of the stage before.
    pub fn above(&self, description: &Value) -> Option<&Value> {
        self.known.get(parent(description)?.1)
    }

    /// Every input that two descriptions do not share. Of the stage before they hold hashes alone: where both are
    /// known, its inputs are compared in their place.
    pub fn differences(&self, a: &Value, b: &Value) -> Vec<Difference> {
        let mut found = Vec::new();
        self.compare(a, b, &mut found);
        found
    }

    fn compare(&self, a: &Value, b: &Value, found: &mut Vec<Difference>) {
        let stage = a["stage"].as_str().unwrap_or_default();
        let above = match (parent(a), parent(b)) {
            (Some(a), Some(b)) if a.0 == b.0 => Some((format!("inputs.{}", a.0), a.1, b.1)),
            _ => None,
        };
        let mut own = Vec::new();
        differ(String::new(), Some(a), Some(b), &mut own);
        for (path, values) in own {
            let unknown = match above.as_ref().filter(|(input, ..)| *input == path) {
                None => None,
                Some((_, a, b)) => match (self.known.get(*a), self.known.get(*b)) {
                    (Some(a), Some(b)) => {
                        self.compare(a, b, found);
                        continue;
                    }
                    (None, _) => Some(format!("the store has no {a}, so what differs in it is not known")),
                    (_, None) => Some(format!("the store has no {b}, so what differs in it is not known")),
                },
            };
            found.push(Difference { stage: stage.to_owned(), path, values, unknown });
        }
    }

    /// The description in `stored` that shares most with `key` among those of its stage, its hash and what it does not
    /// share; `None` where there is no other.
    pub fn nearest<'a>(&self, key: &Key, stored: &'a Self) -> Option<(&'a str, &'a Value, Vec<Difference>)> {
        let is_other = |hash: &str, other: &Value| hash != key.hash() && other["stage"] == key.stage();
        let others = stored.known.iter().filter(|(hash, other)| is_other(hash, other));
        let compared =
            others.map(|(hash, other)| (&**hash, other, self.differences(other, key.description())));
        compared.min_by_key(|(_, _, differences)| differences.len())
    }
}

/// Collects the places where two values differ.
fn differ(path: String, a: Option<&Value>, b: Option<&Value>, found: &mut Vec<(String, [Option<Value>; 2])>) {
    match (a, b) {
        (a, b) if a == b => {}
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let names = a.keys().chain(b.keys().filter(|name| !a.contains_key(*name)));
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                differ(path, a.get(name), b.get(name), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for index in 0..a.len().max(b.len()) {
                differ(format!("{path}[{index}]"), a.get(index), b.get(index), found);
            }
        }
        (a, b) => found.push((path, [a.cloned(), b.cloned()])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(stage: &'static str, inputs: Value) -> Key {
        Key::new(stage, 1, "cpu", inputs)
    }

    #[test]
    fn differences_are_followed_down_to_the_input() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let chain = |epochs: u32, rate: f64| {
            let attack = json!({ "name": "a" });
            let trained =
                key("train", json!({ "attack": attack, "recipe": { "epochs": epochs }, "seed": 0 }));
            let defended = json!({ "trained": trained.hash(), "defense": { "name": "d", "rates": [rate] } });
            let defended = key("defend", defended);
            let observed = key("observe", json!({ "model": defended.hash(), "trigger": attack, "seed": 0 }));
            [trained, defended, observed]
        };
        let (one, two) = (chain(8, 0.5), chain(6, 0.25));
        let index = KeyIndex::of(&store, one.iter().chain(&two))?;
        let lines = |index: &KeyIndex| -> Vec<String> {
            let found = index.differences(one[2].description(), two[2].description());
            let line = |found: Difference| format!("{} {}", found.stage, found.path);
            found.into_iter().map(line).collect()
        };
        let all = ["defend inputs.defense.rates[0]", "train inputs.recipe.epochs"];
        assert_eq!(lines(&index), all);
        assert_eq!(index.in_words(one[2].description()), "a::d under a, seed 0");
        let (hash, _, found) = index.nearest(&one[0], &index).ok_or_else(|| anyhow::anyhow!("no other"))?;
        assert_eq!((hash, found[0].values[0].clone()), (two[0].hash(), Some(json!(6))));
        // Without the entry of one model only its hash is known to differ.
        let index = KeyIndex::of(&store, one.iter().chain(&two[1..]))?;
        assert_eq!(lines(&index), [all[0], "defend inputs.trained"]);
        Ok(())
    }
}

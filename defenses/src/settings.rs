//! Settings in groups: structs whose keys stand side by side in a plan, so that methods can share some of them.

use harness::contract::{Preset, preset, settings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};

/// A preset of several groups; `groups` is a tuple of settings structs.
pub(crate) fn grouped(name: &'static str, groups: impl Serialize) -> Preset {
    let mut all = Map::new();
    if let Ok(Value::Array(groups)) = serde_json::to_value(groups) {
        all.extend(groups.into_iter().filter_map(|group| group.as_object().cloned()).flatten());
    }
    preset(name, all)
}

/// Moves the group with these keys out of `resolved`, strictly; what is left is for the next group.
pub(crate) fn take<G: DeserializeOwned>(resolved: &mut Value, keys: &[&str]) -> anyhow::Result<G> {
    let mut own = Map::new();
    if let Value::Object(all) = resolved {
        own.extend(keys.iter().filter_map(|key| all.remove_entry(*key)));
    }
    settings(Value::Object(own))
}

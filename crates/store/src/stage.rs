//! The stages of a cell, and what their keys say.

use std::collections::BTreeMap;

use serde_json::Value;

/// Checks samples that are read from files.
pub const CHECK: &str = "check";
/// Poisons the training pairs and trains a model on them.
pub const TRAIN: &str = "train";
/// Applies a defense.
pub const DEFEND: &str = "defend";
/// Evaluates a model on clean and triggered test samples.
pub const OBSERVE: &str = "observe";

/// The stages that belong to one cell, or to the cells of one attack and seed. The others serve any plan.
pub(crate) const OF_CELLS: [&str; 3] = [TRAIN, DEFEND, OBSERVE];

/// The input that holds the key of the stage before, and that key's hash.
pub(crate) fn parent(description: &Value) -> Option<(&'static str, &str)> {
    let input = match description["stage"].as_str()? {
        DEFEND => "trained",
        OBSERVE => "model",
        _ => return None,
    };
    Some((input, description["inputs"][input].as_str()?))
}

/// What an entry is, in words: attack, defense, trigger and seed where its description has them.
pub(crate) fn in_words(description: &Value, known: &BTreeMap<String, Value>) -> String {
    let inputs = &description["inputs"];
    let seed = || inputs["seed"].as_u64().map_or_else(String::new, |seed| format!(", seed {seed}"));
    let name = |value: &Value| value["name"].as_str().unwrap_or("?").to_owned();
    let above = parent(description).and_then(|(_, hash)| known.get(hash));
    match description["stage"].as_str().unwrap_or_default() {
        TRAIN => format!("{}{}", name(&inputs["attack"]), seed()),
        DEFEND => {
            let attack = above.map_or("?".to_owned(), |above| name(&above["inputs"]["attack"]));
            format!("{attack}::{}{}", name(&inputs["defense"]), seed())
        }
        OBSERVE => {
            let model = above.map_or("?".to_owned(), |above| in_words(above, known));
            let model = model.split(", ").next().unwrap_or_default().to_owned();
            let epoch =
                inputs["epoch"].as_u64().map_or_else(String::new, |epoch| format!(" after epoch {epoch}"));
            format!("{model}{epoch} under {}{}", name(&inputs["trigger"]), seed())
        }
        _ => {
            let named = inputs.as_object().into_iter().flatten();
            let named = named.filter_map(|(name, value)| Some(format!("{name} {:.12}", value.as_str()?)));
            named.collect::<Vec<_>>().join(", ")
        }
    }
}

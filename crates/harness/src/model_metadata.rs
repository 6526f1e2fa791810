//! The metadata of stored models: which cell a file of weights belongs to.

use std::collections::BTreeMap;

use base::BASELINE;
use contract::{Attack, Defense};
use plan::{Choice, Plan};
use record::CellId;
use serde_json::{Value, json};

/// Keys of a model's metadata that say its cell.
const KEYS: [&str; 5] = ["attack", "defense", "target", "recipe", "seed"];

/// The metadata of the model of a cell. A trained model is the undefended one.
pub(crate) fn metadata(
    plan: &Plan,
    attack: &Choice<Attack>,
    defense: Option<&Choice<Defense>>,
    seed: u64,
) -> BTreeMap<String, String> {
    let defense = defense.filter(|defense| !defense.entry.card.is_baseline());
    let values = [
        method(attack.entry.card.name, &attack.settings),
        defense
            .map_or_else(|| method(BASELINE, &json!({})), |own| method(own.entry.card.name, &own.settings)),
        plan.target.clone(),
        json!(plan.recipe).to_string(),
        seed.to_string(),
    ];
    KEYS.map(str::to_owned).into_iter().zip(values).collect()
}

fn method(name: &str, settings: &Value) -> String {
    json!({ "name": name, "settings": settings }).to_string()
}

/// Whose model it is, by its metadata.
#[derive(Debug, PartialEq)]
pub enum Origin {
    /// The cell's.
    This,
    /// Another one's: which.
    Another(String),
    /// It does not say.
    Unsaid,
}

/// Whether a model with this metadata is of a plan's cell.
pub fn origin(
    metadata: &BTreeMap<String, String>,
    plan: &Plan,
    (attack, defense, seed): (&Choice<Attack>, &Choice<Defense>, u64),
) -> Origin {
    let says =
        |facts: &BTreeMap<String, String>| KEYS.iter().all(|key| metadata.get(*key) == facts.get(*key));
    if KEYS.iter().any(|key| !metadata.contains_key(*key)) {
        return Origin::Unsaid;
    }
    if says(&self::metadata(plan, attack, Some(defense), seed)) {
        return Origin::This;
    }
    for seed in &plan.seeds {
        for attack in &plan.attacks {
            let mut defenses = plan.defenses.iter();
            if let Some(defense) = defenses.find(|own| says(&self::metadata(plan, attack, Some(own), *seed)))
            {
                return Origin::Another(CellId::new(&attack.label, &defense.label, *seed).to_string());
            }
        }
    }
    let name = |key: &str| {
        let method: Value = serde_json::from_str(&metadata[key]).unwrap_or_default();
        method["name"].as_str().unwrap_or("unknown").to_owned()
    };
    let cell = format!("{}::{}::seed-{}", name("attack"), name("defense"), metadata["seed"]);
    Origin::Another(format!("{cell} of another plan"))
}

//! How long the stages of a plan will take: by what such stages took before, as the store has it; otherwise by their
//! floating-point operations and a stated speed.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use crate::cost::Cost;
use crate::plan::Plan;
use crate::store::{Key, Library, Store};
use crate::survey::Surveyed;

/// Sustained FLOP/s of a CPU core and of a GPU, where nothing like a stage was timed. Two cores were measured to train
/// the tiny model at 0.16 and RN50 at 0.19 TFLOP/s (results/speed); the GPU's is an assumption.
pub const SPEEDS: [f64; 2] = [1e11, 1e14];

/// Seconds that the stages of a cell will take: training, defense, observation; none where the store has them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Seconds of each.
    pub seconds: [f64; 3],
    /// Whether all of them come from recorded timings.
    pub recorded: bool,
}

/// Forecasts of cells, in their order. `speed` is in FLOP/s.
pub fn forecast(plan: &Plan, store: &Store, cells: &[Surveyed], speed: f64) -> Result<Vec<Forecast>> {
    let timings = Timings::of(store, cells.iter().flat_map(|cell| cell.keys.iter().flatten()))?;
    let cost = Cost::of(plan);
    let per_cell = cells.iter().zip(plan.defenses.iter().cycle()).map(|(cell, defense)| {
        let guesses = [cost.training(), cost.defense(defense), cost.observation()].map(|flop| flop / speed);
        let has = [cell.trained || cell.observed, cell.defended || cell.observed, cell.observed];
        let mut found = Forecast { seconds: [0.0; 3], recorded: true };
        for (index, guess) in guesses.into_iter().enumerate().filter(|(index, _)| !has[*index]) {
            let timed = cell.keys.as_ref().and_then(|keys| timings.seconds(&keys[index]));
            found.recorded &= timed.is_some();
            found.seconds[index] = timed.unwrap_or(guess);
        }
        found
    });
    Ok(per_cell.collect())
}

/// What stages of one kind took for each unit of their work.
struct Timings {
    library: Library,
    rates: BTreeMap<Vec<String>, Vec<f64>>,
}

impl Timings {
    fn of<'a>(store: &Store, keys: impl IntoIterator<Item = &'a Key>) -> Result<Self> {
        let library = Library::of(store, keys)?;
        let mut rates: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for entry in store.entries()?.0 {
            if let Some((kind, units)) = work(&library, &entry.description) {
                rates.entry(kind).or_default().push(entry.seconds / units);
            }
        }
        rates.values_mut().for_each(|rates| rates.sort_by(f64::total_cmp));
        Ok(Self { library, rates })
    }

    /// The median rate of its kind times its work.
    fn seconds(&self, key: &Key) -> Option<f64> {
        let (kind, units) = work(&self.library, key.description())?;
        let rates = self.rates.get(&kind)?;
        rates.get(rates.len() / 2).map(|rate| rate * units)
    }
}

/// What a stage's time is in proportion to among stages of one kind: those of the same model on the same class of
/// device, of trainings with the same batch size, of defenses the same one. Examples trained on or images looked at;
/// of pairs that are read from files how many there are is not in a key, and other data are then another kind.
fn work(library: &Library, description: &Value) -> Option<(Vec<String>, f64)> {
    let inputs = &description["inputs"];
    let above = |description| library.above(description);
    let (trained, of_stage, units) = match description["stage"].as_str()? {
        "train" => {
            let (recipe, count) = (&inputs["recipe"], inputs["pairs"]["count"].as_f64());
            let content = if count.is_some() { Value::Null } else { inputs["pairs"].clone() };
            let of_stage = format!("{} {content}", recipe["batch-size"]);
            (description, of_stage, count.unwrap_or(1.0) * recipe["epochs"].as_f64()?)
        }
        "defend" => {
            let (trained, defense) = (above(description)?, &inputs["defense"]);
            let count = inputs["clean-pairs"]["count"].as_f64();
            let units = match defense["settings"]["epochs"].as_f64() {
                Some(epochs) => epochs * count.unwrap_or(1.0),
                None => work(library, trained)?.1,
            };
            (trained, defense["name"].to_string(), units)
        }
        "observe" => {
            let sets = inputs["tests"].as_array()?.len() as f64;
            let samples = inputs["images"].as_f64()? + inputs["pairs"].as_f64().unwrap_or(0.0);
            (above(above(description)?)?, String::new(), samples * sets)
        }
        _ => return None,
    };
    let kind = [&description["stage"], &description["device"], &trained["inputs"]["model"]];
    let kind = kind.into_iter().map(Value::to_string).chain([of_stage]).collect();
    (units > 0.0).then_some((kind, units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn twice_the_pairs_take_twice_as_long() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let train = |pairs: u32, epochs: u32, model: &str| {
            let recipe = json!({ "epochs": epochs, "batch-size": 64 });
            let inputs = json!({ "pairs": { "count": pairs }, "recipe": recipe, "model": model });
            Key::new("train", 1, "cpu", inputs)
        };
        let repair = |trained: &Key, epochs: u32| {
            let defense = json!({ "name": "a", "settings": { "epochs": epochs } });
            let inputs =
                json!({ "trained": trained.hash(), "defense": defense, "clean-pairs": { "count": 10 } });
            Key::new("defend", 1, "cpu", inputs)
        };
        let [short, long, other] = [train(100, 2, "tiny"), train(200, 6, "tiny"), train(100, 2, "large")];
        for (key, seconds) in [(&short, 3.0), (&repair(&short, 1), 0.5)] {
            store.put(key, seconds, |folder| Ok(std::fs::write(folder.join("value"), "")?))?;
        }
        let timings = Timings::of(&store, [&long, &other])?;
        assert_eq!(timings.seconds(&long), Some(18.0));
        assert_eq!(timings.seconds(&other), None, "another model");
        assert_eq!(timings.seconds(&repair(&long, 4)), Some(2.0));
        Ok(())
    }
}

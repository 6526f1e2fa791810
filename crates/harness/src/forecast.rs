//! How long the stages of a plan will take: by what such stages took before, as the store has it; otherwise by their
//! floating-point operations and a stated speed.

use std::collections::BTreeMap;

use anyhow::Result;
use plan::Plan;
use plan::cost::Cost;
use serde_json::Value;
use store::{Key, KeyIndex, Store, stage};

use crate::survey::Surveyed;

/// Sustained FLOP/s of a CPU core and of a GPU, where nothing like a stage was timed. Two cores were measured to train
/// the tiny model at 0.16 and RN50 at 0.19 TFLOP/s (results/speed); the GPU's is an assumption (f32, in which all is
/// computed: an A100 has 19.5 TFLOP/s at most, an H100 67).
pub const SPEEDS: [f64; 2] = [1e11, 2e13];

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
        let work = [cost.training(), cost.defense(defense), cost.observation()];
        let has = [cell.trained || cell.observed, cell.defended || cell.observed, cell.observed];
        let mut found = Forecast { seconds: [0.0; 3], recorded: true };
        for (index, work) in work.into_iter().enumerate().filter(|(index, _)| !has[*index]) {
            let timed = cell.keys.as_ref().and_then(|keys| timings.seconds(&keys[index], work));
            found.recorded &= timed.is_some();
            found.seconds[index] = timed.unwrap_or(work / speed);
        }
        found
    });
    Ok(per_cell.collect())
}

/// Seconds that stages of one kind took for each floating-point operation.
struct Timings {
    index: KeyIndex,
    rates: BTreeMap<Vec<String>, Vec<f64>>,
}

impl Timings {
    fn of<'a>(store: &Store, keys: impl IntoIterator<Item = &'a Key>) -> Result<Self> {
        let index = KeyIndex::of(store, keys)?;
        let mut rates: BTreeMap<_, Vec<f64>> = BTreeMap::new();
        for entry in store.entries()?.0 {
            if let (Some(kind), Some(work)) = (kind(&index, &entry.description), entry.work) {
                rates.entry(kind).or_default().push(entry.seconds / work);
            }
        }
        rates.values_mut().for_each(|rates| rates.sort_by(f64::total_cmp));
        Ok(Self { index, rates })
    }

    /// The median rate of its kind times its work.
    fn seconds(&self, key: &Key, work: f64) -> Option<f64> {
        let rates = self.rates.get(&kind(&self.index, key.description())?)?;
        rates.get(rates.len() / 2).map(|rate| rate * work)
    }
}

/// Stages of one kind take time in proportion to their work: those of the same model on the same class of device; of
/// trainings with the same batch size and the same source of pairs, of defenses the same one.
fn kind(index: &KeyIndex, description: &Value) -> Option<Vec<String>> {
    let inputs = &description["inputs"];
    let above = |description| index.above(description);
    let (trained, of_stage) = match description["stage"].as_str()? {
        stage::TRAIN => {
            (description, format!("{} {}", inputs["recipe"]["batch-size"], inputs["pairs"]["content"]))
        }
        stage::DEFEND => (above(description)?, inputs["defense"]["name"].to_string()),
        stage::OBSERVE => (above(above(description)?)?, String::new()),
        _ => return None,
    };
    let kind = [&description["stage"], &description["device"], &trained["inputs"]["model"]];
    Some(kind.into_iter().map(Value::to_string).chain([of_stage]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn twice_the_work_takes_twice_as_long() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let train = |seed: u32, model: &str| {
            let inputs = json!({ "recipe": { "batch-size": 64 }, "model": model, "seed": seed });
            Key::new(stage::TRAIN, 1, "cpu", inputs)
        };
        let repair = |trained: &Key| {
            let inputs = json!({ "trained": trained.hash(), "defense": { "name": "a" } });
            Key::new(stage::DEFEND, 1, "cpu", inputs)
        };
        let [first, second, other] = [train(0, "tiny"), train(1, "tiny"), train(0, "large")];
        for (key, work, seconds) in [(&first, 200.0, 3.0), (&repair(&first), 10.0, 0.5)] {
            store.put(key, seconds, work, |folder| Ok(std::fs::write(folder.join("value"), "")?))?;
        }
        let timings = Timings::of(&store, [&second, &other])?;
        assert_eq!(timings.seconds(&second, 1200.0), Some(18.0));
        assert_eq!(timings.seconds(&other, 1200.0), None, "another model");
        assert_eq!(timings.seconds(&repair(&second), 40.0), Some(2.0));
        Ok(())
    }
}

//! What a plan grants a defense, where its row asks for something else than the plan does.

use serde::de::DeserializeOwned;

use super::{Choice, Plan};
use crate::catalog::suggestion;
use crate::contract::{Dataset, Defense, Split};

/// Keys of a defense's row that say what it is granted; each may be swept.
pub(super) const GRANT_KEYS: &[&str] = &[PAIRS, POISON, SOURCE];
/// Keys of a test set's row.
pub(super) const TEST_KEYS: &[&str] = &[SPLIT];

const PAIRS: &str = "granted-pairs";
const POISON: &str = "granted-poison";
const SOURCE: &str = "granted-from";
const SPLIT: &str = "split";

/// The pairs that a defense may use as clean ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// How many there are.
    pub pairs: usize,
    /// How many of them the attacker left poison in, unknown to the defender.
    pub poison: usize,
    /// Index into [`Plan::clean`] of the data set that they come from; `None` for the training set's own.
    pub source: Option<usize>,
}

impl Plan {
    /// What `defense` is granted; an error names the key that cannot be.
    pub fn grant(&self, defense: &Choice<Defense>) -> Result<Grant, String> {
        let pairs = read(defense, PAIRS)?.unwrap_or(self.clean_pairs);
        let poison = read(defense, POISON)?.unwrap_or(0);
        if pairs == 0 || poison > pairs {
            return Err(format!("{PAIRS} {pairs}, {POISON} {poison}: at least 1 pair, and not more poison"));
        }
        let source = match read::<_, String>(defense, SOURCE)? {
            None => None,
            Some(label) => {
                let labels: Vec<&str> = self.clean.iter().map(|set| set.label.as_str()).collect();
                let found = labels.iter().position(|known| *known == label);
                match (found, label == self.train.label) {
                    (Some(index), _) => Some(index),
                    (None, true) => None,
                    (None, false) => {
                        let hint = suggestion(&label, &labels);
                        return Err(format!("{SOURCE}: {label:?} is not under data.clean; {hint}"));
                    }
                }
            }
        };
        Ok(Grant { pairs, poison, source })
    }

    /// What every defense is granted whose row asks for nothing else.
    pub fn granted_to_all(&self) -> Grant {
        Grant { pairs: self.clean_pairs, poison: 0, source: None }
    }

    /// The split of a test set that is looked at.
    pub fn split_of(&self, test: &Choice<Dataset>) -> Result<Split, String> {
        Ok(read(test, SPLIT)?.unwrap_or(self.split))
    }
}

fn read<T, V: DeserializeOwned>(choice: &Choice<T>, key: &str) -> Result<Option<V>, String> {
    match choice.reserved.get(key) {
        None => Ok(None),
        Some(value) => serde_json::from_value(value.clone()).map_err(|error| format!("{key}: {error}")),
    }
}

//! The clean pairs that a plan grants a defense.

use base::suggestion;
use contract::{Dataset, Defense};
use serde::de::DeserializeOwned;

use crate::choice::Choice;

/// Keys of a defense's row that say what it is granted; each may be swept.
pub(crate) const GRANT_KEYS: &[&str] = &[PAIRS, POISON, SOURCE];
/// Keys of a test set's row.
pub(crate) const TEST_KEYS: &[&str] = &[SPLIT];

const PAIRS: &str = "granted-pairs";
const POISON: &str = "granted-poison";
const SOURCE: &str = "granted-from";
pub(crate) const SPLIT: &str = "split";

/// The pairs that a defense may use as clean ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Grant {
    /// How many there are.
    pub pairs: usize,
    /// How many of them are poisoned, unknown to the defender.
    pub poison: usize,
    /// Index into [`crate::Plan::clean`] of the data set that they come from; `None` for the training set's own.
    pub source: Option<usize>,
}

impl Grant {
    /// The grant that a defense's row asks for; `clean_pairs` where it does not say. An error names the key that cannot
    /// be granted.
    pub(crate) fn of(
        defense: &Choice<Defense>,
        clean_pairs: usize,
        train: &Choice<Dataset>,
        clean: &[Choice<Dataset>],
    ) -> Result<Self, String> {
        let pairs = read(defense, PAIRS)?.unwrap_or(clean_pairs);
        let poison = read(defense, POISON)?.unwrap_or(0);
        if pairs == 0 || poison > pairs {
            return Err(format!("{PAIRS} {pairs}, {POISON} {poison}: at least 1 pair, and not more poison"));
        }
        let Some(label) = read::<_, String>(defense, SOURCE)? else {
            return Ok(Self { pairs, poison, source: None });
        };
        let labels: Vec<&str> = clean.iter().map(|set| set.label.as_str()).collect();
        let source = labels.iter().position(|known| *known == label);
        if source.is_none() && label != train.label {
            let hint = suggestion(&label, &labels);
            return Err(format!("{SOURCE}: {label:?} is not under data.clean; {hint}"));
        }
        Ok(Self { pairs, poison, source })
    }
}

/// A key of a row that the plan itself reads; `None` where the row does not give it.
pub(crate) fn read<T, V: DeserializeOwned>(choice: &Choice<T>, key: &str) -> Result<Option<V>, String> {
    match choice.reserved.get(key) {
        None => Ok(None),
        Some(value) => serde_json::from_value(value.clone()).map_err(|error| format!("{key}: {error}")),
    }
}

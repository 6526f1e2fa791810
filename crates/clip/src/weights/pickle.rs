//! Pickles as data, read by a machine for the instructions of protocol 2 that knows values, containers and the few names that
//! weights are saved with. It calls nothing. Values lie in one list and refer to each other by their place in it, so
//! that neither sharing nor nesting costs more than the pickle's own bytes.

use candle_core::Result;

use super::machine::Machine;
use super::pickle_value::{Id, Value};

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle {
    values: Vec<Value>,
    root: Id,
}

impl Pickle {
    /// Reads a pickle. An error where it names, calls or holds anything but the data that weights are saved as.
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        let (values, root) = Machine::run(bytes)?;
        Ok(Self { values, root })
    }

    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id]
    }

    /// The entries of a dictionary whose keys are text; nothing where it is something else. Of equal keys the last
    /// one counts, as in Python.
    pub(super) fn entries(&self, id: Id) -> impl Iterator<Item = (&str, Id)> {
        let entries: &[(Id, Id)] = if let Value::Dict(entries) = &self.values[id] { entries } else { &[] };
        entries.iter().filter_map(|(key, value)| match &self.values[*key] {
            Value::Text(key) => Some((key.as_str(), *value)),
            _ => None,
        })
    }

    /// The value of a key.
    pub(super) fn get(&self, id: Id, key: &str) -> Option<Id> {
        self.entries(id).filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }
}

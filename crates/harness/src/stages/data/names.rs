//! Names of classes.

use std::collections::BTreeMap;

use super::Data;
use super::data_use::DataUse;

impl Data<'_> {
    /// Names that several classes of a test set have, in order.
    pub(super) fn shared_names(&self, purpose: DataUse) -> Vec<String> {
        let DataUse::Test(_) = purpose else { return Vec::new() };
        let mut counts: BTreeMap<&String, usize> = BTreeMap::new();
        for name in self.class_source(purpose).map_or(&[][..], |source| source.classes()) {
            *counts.entry(name).or_default() += 1;
        }
        counts.into_iter().filter(|(_, count)| *count > 1).map(|(name, _)| name.clone()).collect()
    }
}

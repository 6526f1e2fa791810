//! Clean pairs are others than those that are trained on.

use std::collections::HashSet;

use anyhow::Result;
use clip::Pairs;
use rayon::prelude::*;

use super::Data;
use super::data_use::DataUse;
use crate::stages::check::are_read;
use crate::stages::context::Unfit;

impl Data<'_> {
    /// Grants whose pairs are also trained on, as far as both are read from files that are there.
    pub(crate) fn overlaps(&self) -> Result<Vec<Unfit>> {
        let Ok(train) = self.list_pairs(DataUse::Train) else { return Ok(Vec::new()) };
        let clean = self.purposes().into_iter().filter(|purpose| matches!(purpose, DataUse::Clean(..)));
        let overlap = |purpose| {
            let clean = self.list_pairs(purpose).ok()?;
            let shared = shared(&*train, &*clean);
            let (label, trained, granted) = (&self.choice(purpose).label, train.len(), clean.len());
            (shared > 0).then(|| {
                Unfit(format!(
                    "{label}: {shared} of {granted} clean pairs are training pairs too: data.pairs {trained} and \
                     data.clean-pairs (or granted-pairs) {granted} need {}, and {} are there; ask for fewer, or name \
                     other files under data.clean",
                    trained + granted,
                    trained + granted - shared
                ))
            })
        };
        Ok(clean.filter_map(overlap).collect())
    }
}

/// How many pairs of two lists are read from the same place and have the same caption.
fn shared(train: &(dyn Pairs + 'static), clean: &(dyn Pairs + 'static)) -> usize {
    if !are_read(train) || !are_read(clean) {
        return 0;
    }
    let place = |pairs: &dyn Pairs, index: usize| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(pairs.read_from(index)?.to_string().as_bytes());
        // A bad pair has no caption that can be read.
        hasher.update(pairs.caption(index).unwrap_or_default().as_bytes());
        <[u8; 16]>::try_from(&hasher.finalize().as_bytes()[..16]).ok()
    };
    let places: HashSet<[u8; 16]> =
        (0..clean.len()).into_par_iter().filter_map(|index| place(clean, index)).collect();
    (0..train.len())
        .into_par_iter()
        .filter(|index| place(train, *index).is_some_and(|place| places.contains(&place)))
        .count()
}

//! Data that are drawn are kept in memory, which has an end.

use std::sync::Arc;

use anyhow::Result;
use base::size;
use plan::memory;

use super::Data;
use super::data_use::DataUse;
use crate::stages::check::{Samples, are_read};
use crate::stages::context::Unfit;

impl Data<'_> {
    /// Why the data that are drawn do not fit the machine's memory, where they do not.
    pub(crate) fn too_large(&self) -> Result<Option<Unfit>> {
        let Some(there) = memory::of_the_machine() else { return Ok(None) };
        let (image, purposes) = (3.0 * (self.resolution() as f64).powi(2), self.purposes());
        // Nothing need be listed where there is room for all that is asked for.
        if purposes.iter().map(|purpose| self.asked(*purpose) as f64 * image).sum::<f64>() <= there {
            return Ok(None);
        }
        let sizes = purposes.into_iter().map(|purpose| (purpose, self.drawn(purpose) as f64 * image));
        let sizes: Vec<(DataUse, f64)> = sizes.collect();
        let whole: f64 = sizes.iter().map(|(_, bytes)| bytes).sum();
        let Some((largest, bytes)) = sizes.into_iter().max_by(|a, b| a.1.total_cmp(&b.1)) else {
            return Ok(None);
        };
        Ok((whole > there).then(|| {
            Unfit(format!(
                "the images that are drawn take {}, and this machine has {} of memory; most of it, {}, \
                 is for {} of {}: ask for fewer",
                size(whole),
                size(there),
                size(bytes),
                largest.in_words(),
                self.choice(largest).label
            ))
        }))
    }

    /// How many samples are drawn for a purpose; none where they are read from files, or these are not there.
    fn drawn(&self, purpose: DataUse) -> usize {
        match purpose {
            DataUse::CleanImages | DataUse::Test(_) => drawn(self.list_images(purpose)),
            _ => drawn(self.list_pairs(purpose)),
        }
    }
}

fn drawn<T: Samples + ?Sized>(listed: Result<Arc<T>>) -> usize {
    listed.map_or(0, |samples| if are_read(&*samples) { 0 } else { samples.count() })
}

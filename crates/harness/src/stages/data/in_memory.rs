//! Labelled images kept in memory.

use clip::candle_core::{self, bail};
use clip::{Image, Origin};

use contract::Labelled;

/// Labelled images in memory.
pub(super) struct MemoryLabelled(pub(super) Vec<(Image, usize)>);

impl MemoryLabelled {
    fn get(&self, index: usize) -> candle_core::Result<&(Image, usize)> {
        match self.0.get(index) {
            Some(sample) => Ok(sample),
            None => bail!("sample {index} of {}", self.0.len()),
        }
    }
}

impl Labelled for MemoryLabelled {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn label(&self, index: usize) -> candle_core::Result<usize> {
        Ok(self.get(index)?.1)
    }

    fn image(&self, index: usize) -> candle_core::Result<Image> {
        Ok(self.get(index)?.0.clone())
    }

    fn read_from(&self, _index: usize) -> Option<Origin> {
        None
    }
}

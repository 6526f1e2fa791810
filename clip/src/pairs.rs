//! Image–caption pairs.

use candle_core::{Result, bail};

use crate::Image;

/// An image and what is said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// The image.
    pub image: Image,
    /// The caption.
    pub caption: String,
}

/// Image–caption pairs by index.
pub trait Pairs: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The pair at `index`; an error outside `0..len()` or where it cannot be read.
    fn pair(&self, index: usize) -> Result<Pair>;
}

/// Pairs kept in memory.
pub struct MemoryPairs(Vec<Pair>);

impl MemoryPairs {
    /// These pairs.
    pub fn new(pairs: Vec<Pair>) -> Self {
        Self(pairs)
    }
}

impl Pairs for MemoryPairs {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn pair(&self, index: usize) -> Result<Pair> {
        match self.0.get(index) {
            Some(pair) => Ok(pair.clone()),
            None => bail!("pair {index} of {}", self.0.len()),
        }
    }
}

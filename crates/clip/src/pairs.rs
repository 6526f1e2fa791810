//! Image–caption pairs.

use std::fmt;
use std::path::PathBuf;

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

    /// The caption at `index`, without a look at the image; an error outside `0..len()`.
    fn caption(&self, index: usize) -> Result<String>;

    /// The image at `index`; an error outside `0..len()` or where it cannot be read.
    fn image(&self, index: usize) -> Result<Image>;

    /// Image and caption at `index`.
    fn pair(&self, index: usize) -> Result<Pair> {
        Ok(Pair { image: self.image(index)?, caption: self.caption(index)? })
    }

    /// What the pair at `index` is read from; `None` where it is drawn or kept in memory.
    fn read_from(&self, index: usize) -> Option<Origin>;

    /// What was noticed in the files that they are read from, for people: members of tars that belong to none, downloads
    /// that failed. Without it nothing.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

/// What a sample is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: PathBuf,
    /// Its member or row, where a file holds many samples.
    pub member: Option<String>,
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.member {
            Some(member) => write!(formatter, "{}: {member}", self.file.display()),
            None => write!(formatter, "{}", self.file.display()),
        }
    }
}

/// Pairs kept in memory.
pub struct MemoryPairs(Vec<Pair>);

impl MemoryPairs {
    /// These pairs.
    pub fn new(pairs: Vec<Pair>) -> Self {
        Self(pairs)
    }

    fn get(&self, index: usize) -> Result<&Pair> {
        match self.0.get(index) {
            Some(pair) => Ok(pair),
            None => bail!("pair {index} of {}", self.0.len()),
        }
    }
}

impl Pairs for MemoryPairs {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn caption(&self, index: usize) -> Result<String> {
        Ok(self.get(index)?.caption.clone())
    }

    fn image(&self, index: usize) -> Result<Image> {
        Ok(self.get(index)?.image.clone())
    }

    fn read_from(&self, _index: usize) -> Option<Origin> {
        None
    }
}

//! What a data set gives: captioned pairs to train on, labelled images to test on.

use std::sync::Arc;

use clip::candle_core;
use clip::{Image, Origin, Pairs, Seed};
use serde::{Deserialize, Serialize};

/// A data set; most have only one of the two sides.
pub struct Dataset {
    /// Captioned pairs, for training and retrieval.
    pub pairs: Option<Box<dyn PairSource>>,
    /// Labelled images with class names and templates, for zero-shot tests.
    pub classes: Option<Box<dyn ClassSource>>,
    /// Whether its images are drawn, and then kept in memory; otherwise they are read whenever they are needed.
    pub drawn: bool,
}

/// The disjoint parts of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Split {
    /// What the model is trained on and the attacker edits.
    Train,
    /// Clean pairs or labelled images granted to defenders.
    Clean,
    /// Where defenses are tuned.
    Validation,
    /// Where results are measured.
    Test,
}

impl Split {
    /// The name in plans and seed paths.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Clean => "clean",
            Self::Validation => "validation",
            Self::Test => "test",
        }
    }
}

/// The captioned side of a data set.
pub trait PairSource: Send + Sync {
    /// The first `count` pairs of a split in the order that `seed` gives. An error where it has fewer, but for those
    /// that a manifest lists and that are not there: then fewer are given, and the harness reports the coverage.
    /// Images that are drawn are square, `resolution` pixels a side; those that are read have the sizes of their
    /// files, and models see them resized and cut.
    fn pairs(
        &self,
        split: Split,
        count: usize,
        resolution: usize,
        seed: &Seed,
    ) -> anyhow::Result<Arc<dyn Pairs>>;
}

/// The labelled side of a data set.
pub trait ClassSource: Send + Sync {
    /// Class names as they stand in prompts; a label is an index into them.
    fn classes(&self) -> &[String];

    /// Prompt templates with `{}` for the class name.
    fn templates(&self) -> &[String];

    /// The first `count` labelled images of a split; an error where it has fewer.
    fn images(
        &self,
        split: Split,
        count: usize,
        resolution: usize,
        seed: &Seed,
    ) -> anyhow::Result<Arc<dyn Labelled>>;
}

/// Labelled images.
pub trait Labelled: Send + Sync {
    /// How many there are.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The label at `index`, an index into the class names, without a look at the image.
    fn label(&self, index: usize) -> candle_core::Result<usize>;

    /// The image at `index`; an error outside `0..len()` or where it cannot be read.
    fn image(&self, index: usize) -> candle_core::Result<Image>;

    /// What the image at `index` is read from; `None` where it is drawn or kept in memory.
    fn read_from(&self, index: usize) -> Option<Origin>;

    /// What was noticed in the files that they are read from, for people: members of tars that belong to none, downloads
    /// that failed. Without it nothing.
    fn remarks(&self) -> Vec<String> {
        Vec::new()
    }
}

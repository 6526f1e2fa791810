//! ImageNet-Sketch: sketches of the 1 000 classes of ImageNet.
//!
//! Paper: Wang et al., "Learning Robust Global Representations by Penalizing Local Predictive Power", NeurIPS 2019.
//! Follows: HaohanWang/ImageNet-Sketch (folders by synset); the names and templates of `imagenet-1k`.
//! Departs: images are shuffled by the data seed. Never run on the data set itself.

use std::path::PathBuf;

use anyhow::Result;
use harness::contract::{Card, Dataset, Entry, Preset, preset, settings};
use serde_json::Value;

use crate::imagenet::{TestSettings, variant};
use crate::source::Collection;

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "imagenet-sketch",
        title: "ImageNet-Sketch",
        summary: "Sketches of the 1 000 classes of ImageNet.",
        paper: "Wang et al., NeurIPS 2019",
        follows: "HaohanWang/ImageNet-Sketch (folders by synset)",
        departs: "images are shuffled by the data seed; never run on the data set itself",
        version: 1,
    },
    presets,
    build,
};

fn presets() -> Vec<Preset> {
    vec![preset("paper", TestSettings { test: PathBuf::from("data/sketch") })]
}

fn build(resolved: Value) -> Result<Dataset> {
    Ok(collection(resolved)?.dataset())
}

/// The data set's files.
pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    let TestSettings { test } = settings(resolved)?;
    Ok(variant("imagenet-sketch", test, None))
}

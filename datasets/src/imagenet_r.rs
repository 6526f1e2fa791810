//! ImageNet-R: art, cartoons and other renditions of 200 classes of ImageNet.
//!
//! Paper: Hendrycks et al., "The Many Faces of Robustness", ICCV 2021.
//! Follows: hendrycks/imagenet-r@44d3a1d, eval.py (folders by synset); the names and templates of `imagenet-1k`.
//! Departs: labels are places among the 200 classes. Never run on the data set itself.

use std::path::PathBuf;

use anyhow::Result;
use harness::contract::{Card, Dataset, Entry, Preset, preset, settings};
use serde_json::Value;

use crate::imagenet::{TestSettings, variant};
use crate::source::Collection;

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "imagenet-r",
        title: "ImageNet-R",
        summary: "Art, cartoons and other renditions of 200 classes of ImageNet.",
        paper: "Hendrycks et al., ICCV 2021",
        follows: "hendrycks/imagenet-r@44d3a1d, eval.py (folders by synset)",
        departs: "labels are places among the 200 classes; never run on the data set itself",
        version: 1,
    },
    presets,
    build,
};

/// The synsets of its 200 classes, in the order of its labels.
const SYNSETS: &str = include_str!("../assets/imagenet/imagenet-r.json");

fn presets() -> Vec<Preset> {
    vec![preset("paper", TestSettings { test: PathBuf::from("data/imagenet-r") })]
}

fn build(resolved: Value) -> Result<Dataset> {
    Ok(collection(resolved)?.dataset())
}

/// The data set's files.
pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    let TestSettings { test } = settings(resolved)?;
    Ok(variant("imagenet-r", test, Some(SYNSETS)))
}

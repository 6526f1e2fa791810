//! ImageNet-A: natural images that classifiers get wrong, of 200 classes of ImageNet.
//!
//! Paper: Hendrycks et al., "Natural Adversarial Examples", CVPR 2021.
//! Follows: hendrycks/natural-adv-examples (folders by synset); the names and templates of `imagenet-1k`.
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
        name: "imagenet-a",
        title: "ImageNet-A",
        summary: "Natural images that classifiers get wrong, of 200 classes of ImageNet.",
        paper: "Hendrycks et al., CVPR 2021",
        follows: "hendrycks/natural-adv-examples (folders by synset)",
        departs: "labels are places among the 200 classes; never run on the data set itself",
        version: 1,
    },
    presets,
    build,
};

/// The synsets of its 200 classes, in the order of its labels.
const SYNSETS: &str = include_str!("../assets/imagenet/imagenet-a.json");

fn presets() -> Vec<Preset> {
    vec![preset("paper", TestSettings { test: PathBuf::from("data/imagenet-a") })]
}

fn build(resolved: Value) -> Result<Dataset> {
    Ok(collection(resolved)?.dataset())
}

/// The data set's files.
pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    let TestSettings { test } = settings(resolved)?;
    Ok(variant("imagenet-a", test, Some(SYNSETS)))
}

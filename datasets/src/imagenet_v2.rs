//! ImageNet-V2: new test images for the 1 000 classes of ImageNet, gathered as the first were.
//!
//! Paper: Recht et al., "Do ImageNet Classifiers Generalize to ImageNet?", ICML 2019.
//! Follows: modestyachts/ImageNetV2 (folders 0 to 999); the names and templates of `imagenet-1k`.
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
        name: "imagenet-v2",
        title: "ImageNet-V2",
        summary: "New test images for the 1 000 classes of ImageNet, gathered as the first were.",
        paper: "Recht et al., ICML 2019",
        follows: "modestyachts/ImageNetV2 (folders 0 to 999)",
        departs: "images are shuffled by the data seed; never run on the data set itself",
        version: 1,
    },
    presets,
    build,
};

fn presets() -> Vec<Preset> {
    vec![preset(
        "paper",
        TestSettings { test: PathBuf::from("data/imagenetv2-matched-frequency-format-val") },
    )]
}

fn build(resolved: Value) -> Result<Dataset> {
    Ok(collection(resolved)?.dataset())
}

/// The data set's files.
pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    let TestSettings { test } = settings(resolved)?;
    Ok(variant("imagenet-v2", test, None))
}

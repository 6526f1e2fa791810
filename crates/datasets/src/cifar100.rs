//! CIFAR-100: 60 000 images of 32 pixels a side in 100 classes, with the fine labels.

use std::path::PathBuf;

use anyhow::Result;
use contract::{Card, Dataset, Entry, Preset, preset, settings};
use serde_json::Value;

use crate::cifar10::{Settings, of_cifar};
use crate::source::{CIFAR_100, Collection, embedded};

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "cifar100",
        title: "CIFAR-100",
        summary: "60 000 images of 32 pixels a side in 100 classes.",
        paper: "Krizhevsky, \"Learning Multiple Layers of Features from Tiny Images\", 2009",
        follows: "the binary version; the Hub's `cifar100` (`img`, `fine_label`); class names and templates of \
                  openai/CLIP, `data/prompts.md`",
        departs: "as `cifar10`",
        version: 1,
    },
    presets,
    build,
};

fn presets() -> Vec<Preset> {
    vec![preset("paper", Settings { folder: PathBuf::from("data/cifar100") })]
}

fn build(resolved: Value) -> Result<Dataset> {
    Ok(collection(resolved)?.dataset())
}

/// The data set's files.
pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    let names = embedded(include_str!("../assets/prompts/cifar100.json"));
    Ok(of_cifar("cifar100", settings(resolved)?, CIFAR_100, names))
}

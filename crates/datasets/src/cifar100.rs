//! CIFAR-100: 60 000 images of 32 pixels a side in 100 classes, with the fine labels.

use anyhow::Result;
use contract::{Card, Dataset, Entry};
use serde_json::Value;

use crate::cifar10::{of_cifar, presets};
use crate::source::{CIFAR_100, Collection};

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
    presets: || presets("data/cifar100"),
    build: |resolved| Ok(collection(resolved)?.dataset()),
};

pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    of_cifar("cifar100", resolved, CIFAR_100, include_str!("../assets/prompts/cifar100.json"))
}

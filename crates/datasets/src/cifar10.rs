//! CIFAR-10: 60 000 images of 32 pixels a side in 10 classes, from the binary version or the Hub's Parquet files.

use std::path::{Path, PathBuf};

use anyhow::Result;
use contract::{Card, Dataset, Entry, Preset, preset, settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::{
    CIFAR_10, CifarLayout, Collection, Labels, Names, Part, Side, embedded, read_cifar, read_classes,
};

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "cifar10",
        title: "CIFAR-10",
        summary: "60 000 images of 32 pixels a side in 10 classes.",
        paper: "Krizhevsky, \"Learning Multiple Layers of Features from Tiny Images\", 2009",
        follows: "the binary version; the Hub's `cifar10` (`img`, `label`); class names and templates of \
                  openai/CLIP, `data/prompts.md`",
        departs: "images are shuffled by the data seed; tuning uses the back of the test images. The version of \
                  pickles is not read, as pickles are programs. Never run on the data set itself",
        version: 1,
    },
    presets: || presets("data/cifar10"),
    build: |resolved| Ok(collection(resolved)?.dataset()),
};

/// Settings of both sets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// The folder of the binary version or of the Hub's Parquet files.
    folder: PathBuf,
}

pub(crate) fn presets(folder: &str) -> Vec<Preset> {
    vec![preset("paper", Settings { folder: folder.into() })]
}

pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    of_cifar("cifar10", resolved, CIFAR_10, include_str!("../assets/prompts/cifar10.json"))
}

/// CIFAR-10 or CIFAR-100; `names` are class names and templates as embedded JSON.
pub(crate) fn of_cifar(
    name: &'static str,
    resolved: Value,
    layout: CifarLayout,
    names: &str,
) -> Result<Collection> {
    let (Settings { folder }, names): (_, Names) = (settings(resolved)?, embedded(names));
    let side = |test: bool| {
        let (folder, labels) = (folder.clone(), Labels::in_order(&names.classes));
        Side::new(move |_| read(&folder, test, &layout, &labels))
    };
    let (train, test) = (side(false), side(true));
    let parts = [
        Ok(Part::front(&train, "train")),
        Ok(Part::back(&train, "train")),
        Ok(Part::back(&test, "test")),
        Ok(Part::front(&test, "test")),
    ];
    Ok(Collection { name, parts, names: Some(names), manifest: None })
}

fn read(folder: &Path, test: bool, layout: &CifarLayout, labels: &Labels) -> Result<crate::source::Samples> {
    match read_cifar(folder, test, layout)? {
        Some(samples) => Ok(samples),
        None => read_classes(folder, if test { &["test"] } else { &["train"] }, "folder", labels),
    }
}

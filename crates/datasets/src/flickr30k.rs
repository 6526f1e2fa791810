//! Flickr30k with Karpathy's splits.

use std::path::PathBuf;

use anyhow::Result;
use contract::{Card, Dataset, Entry, Preset, preset, settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::{CaptionChoice, Collection, Part, Side, read_karpathy};

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "flickr30k",
        title: "Flickr30k",
        summary: "Photographs with five captions each, for retrieval.",
        paper: "Young et al., TACL 2014; splits: Karpathy and Fei-Fei, \"Deep Visual-Semantic Alignments\", CVPR \
                2015",
        follows: "Karpathy's `dataset_flickr30k.json`; LAION-AI/CLIP_benchmark (retrieval on the test split)",
        departs: "pairs are shuffled by the data seed; a caption is a pair of its own, and retrieval counts each \
                  image's own caption alone. Never run on the data set itself",
        version: 1,
    },
    presets: || presets("data/Flickr30k/dataset_flickr30k.json", "data/Flickr30k/flickr30k-images"),
    build: |resolved| Ok(collection(resolved)?.dataset()),
};

/// Settings of data sets with Karpathy's splits.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Karpathy's JSON.
    file: PathBuf,
    /// The folder that its paths are relative to.
    images: PathBuf,
    /// Of which captions of an image there are pairs: `first` or `all`.
    captions: CaptionChoice,
}

/// One caption of each image, and all of them.
pub(crate) fn presets(file: &str, images: &str) -> Vec<Preset> {
    let of = |captions| Settings { file: file.into(), images: images.into(), captions };
    vec![preset("first", of(CaptionChoice::First)), preset("all", of(CaptionChoice::All))]
}

pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    Ok(of_karpathy("flickr30k", settings(resolved)?))
}

/// A data set with Karpathy's splits; `name` goes into the seed of the order.
pub(crate) fn of_karpathy(name: &'static str, settings: Settings) -> Collection {
    let side = |splits: &'static [&'static str]| {
        let Settings { file, images, captions } = settings.clone();
        Side::new(move |_| read_karpathy(&file, &images, splits, captions))
    };
    let (train, validation, test) = (side(&["train", "restval"]), side(&["val"]), side(&["test"]));
    let parts = [
        Ok(Part::front(&train, "train")),
        Ok(Part::back(&train, "train")),
        Ok(Part::front(&validation, "validation")),
        Ok(Part::front(&test, "test")),
    ];
    Collection { name, parts, names: None, manifest: None }
}

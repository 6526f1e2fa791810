//! Image-caption pairs of a user's own, in any form in which `cc3m` is read.

use std::path::Path;

use anyhow::Result;
use contract::{Card, Dataset, Entry, Preset, preset, settings};
use serde_json::Value;

use crate::cc3m::{Settings, of_pairs};
use crate::source::Collection;

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "pairs",
        title: "Image-caption pairs of your own",
        summary: "Captioned images of your own, in tars, a CSV (image, caption) or a TSV (filepath, title).",
        paper: "none",
        follows: "the same as `cc3m`",
        departs: "nothing",
        version: 1,
    },
    presets,
    build,
};

fn presets() -> Vec<Preset> {
    let folder = Path::new("data/pairs");
    let settings =
        Settings { train: folder.join("train"), validation: folder.join("validation"), manifest: None };
    vec![preset("own", settings)]
}

fn build(resolved: Value) -> Result<Dataset> {
    Ok(collection(resolved)?.dataset())
}

/// The data set's files.
pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    Ok(of_pairs("pairs", settings(resolved)?))
}

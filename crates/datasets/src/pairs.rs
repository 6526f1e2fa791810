//! Image-caption pairs of a user's own, in any form in which `cc3m` is read.

use anyhow::Result;
use contract::{Card, Dataset, Entry};
use serde_json::Value;

use crate::cc3m::{of_pairs, presets};
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
    presets: || presets("own", "data/pairs"),
    build: |resolved| Ok(collection(resolved)?.dataset()),
};

pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    of_pairs("pairs", resolved)
}

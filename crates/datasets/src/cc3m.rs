//! Conceptual Captions 3M, in whichever form it is found: tars as img2dataset and the Hub's `pixparse/cc3m-wds` have
//! them, CleanCLIP's CSV with the columns `image` and `caption`, or open_clip's TSV with `filepath` and `title`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use contract::{Card, Dataset, Entry, Preset, grouped, settings, take};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::{Collection, Form, Part, Side, read_pairs};

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "cc3m",
        title: "Conceptual Captions 3M",
        summary: "Captioned images in tars (webdataset, img2dataset), a CSV or a TSV, whichever is found.",
        paper: "Sharma et al., \"Conceptual Captions\", ACL 2018",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, `src/data.py` (`--image_key image --caption_key caption`); \
                  rom1504/img2dataset; webdataset/webdataset",
        departs: "pairs are shuffled by the data seed; the training pairs are the first of that order and the \
                  clean pairs the last, so that they overlap only where together they are more than there are, \
                  which a run refuses. With a manifest its pairs are given in its order. Never run on CC3M itself",
        version: 2,
    },
    presets: || presets("paper", "data/CC3M"),
    build: |resolved| Ok(collection(resolved)?.dataset()),
};

/// Where the two sides of a data set of pairs are; [`Form`] holds its other settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Sides {
    /// Where the training and the clean pairs are: a folder, a file, or a pattern such as `{00000..00331}.tar`.
    train: PathBuf,
    /// Where the validation and the test pairs are.
    validation: PathBuf,
    /// A list of the training pairs that there are to be, as `cleanbench data subset` writes it; `null` for all.
    manifest: Option<PathBuf>,
}

/// One preset, with the two sides in folders of their own.
pub(crate) fn presets(name: &'static str, folder: &str) -> Vec<Preset> {
    let [train, validation] = ["train", "validation"].map(|side| Path::new(folder).join(side));
    vec![grouped(name, (Sides { train, validation, manifest: None }, Form::usual()))]
}

pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    of_pairs("cc3m", resolved)
}

/// A data set of pairs with these settings; `name` goes into the seed of the order.
pub(crate) fn of_pairs(name: &'static str, mut resolved: Value) -> Result<Collection> {
    let form = Arc::new(take(&mut resolved, &Form::usual())?);
    let Sides { train, validation, manifest } = settings(resolved)?;
    let own = form.clone();
    let train = Side::new(move |urls| read_pairs(&train, &["train"], "train", &own, urls));
    let splits = ["validation", "val", "test"];
    let validation = Side::new(move |urls| read_pairs(&validation, &splits, "validation", &form, urls));
    let parts = [
        Ok(Part::front(&train, "train").listed()),
        Ok(Part::back(&train, "train").listed()),
        Ok(Part::front(&validation, "validation")),
        Ok(Part::back(&validation, "validation")),
    ];
    Ok(Collection { name, parts, names: None, manifest })
}

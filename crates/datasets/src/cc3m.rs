//! Conceptual Captions 3M, in whichever form it is found: tars as img2dataset and the Hub's `pixparse/cc3m-wds` have
//! them, CleanCLIP's CSV with the columns `image` and `caption`, or open_clip's TSV with `filepath` and `title`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use contract::{Card, Dataset, Entry, Preset, preset, settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::{Collection, Part, Side, read_pairs};

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
    presets,
    build,
};

/// Settings of data sets of pairs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Settings {
    /// Where the training and the clean pairs are: a folder, a file, or a pattern such as `{00000..00331}.tar`.
    pub(crate) train: PathBuf,
    /// Where the validation and the test pairs are.
    pub(crate) validation: PathBuf,
    /// A list of the training pairs that there are to be, as `cleanbench data subset` writes it; `null` for all.
    pub(crate) manifest: Option<PathBuf>,
}

fn presets() -> Vec<Preset> {
    let folder = Path::new("data/CC3M");
    let settings =
        Settings { train: folder.join("train"), validation: folder.join("validation"), manifest: None };
    vec![preset("paper", settings)]
}

fn build(resolved: Value) -> Result<Dataset> {
    Ok(collection(resolved)?.dataset())
}

/// The data set's files.
pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    Ok(of_pairs("cc3m", settings(resolved)?))
}

/// A data set of pairs with these settings; `name` goes into the seed of the order.
pub(crate) fn of_pairs(name: &'static str, settings: Settings) -> Collection {
    let Settings { train, validation, manifest } = settings;
    let train = Side::new(move |urls| read_pairs(&train, &["train"], "train", urls));
    let splits = ["validation", "val", "test"];
    let validation = Side::new(move |urls| read_pairs(&validation, &splits, "validation", urls));
    let parts = [
        Ok(Part::front(&train, "train").listed()),
        Ok(Part::back(&train, "train").listed()),
        Ok(Part::front(&validation, "validation")),
        Ok(Part::back(&validation, "validation")),
    ];
    Collection { name, parts, names: None, manifest }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use clip::{Pairs, Seed};
    use contract::Split;

    use super::*;

    fn written(text: &str, images: usize) -> (tempfile::TempDir, Dataset) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train.csv"), text).unwrap();
        std::fs::create_dir(folder.path().join("images")).unwrap();
        for index in 0..images {
            let image = image::RgbImage::from_pixel(4, 3, image::Rgb([index as u8, 0, 0]));
            image.save(folder.path().join(format!("images/{index}.png"))).unwrap();
        }
        let file = folder.path().join("train.csv");
        let settings = Settings { validation: file.clone(), train: file, manifest: None };
        let built = build(serde_json::to_value(settings).unwrap()).unwrap();
        (folder, built)
    }

    fn pairs(set: &Dataset, split: Split, count: usize) -> Result<Arc<dyn Pairs>> {
        set.pairs.as_ref().unwrap().pairs(split, count, 224, &Seed::new(0))
    }

    #[test]
    fn pairs_are_read_and_clean_ones_are_others() {
        let rows: String =
            (0..10).map(|index| format!("images/{index}.png,\"caption, {index}\"\n")).collect();
        let (_folder, set) = written(&format!("image,caption\n{rows},lost\n"), 10);
        let named = |split| -> Vec<String> {
            let pairs = pairs(&set, split, 5).unwrap();
            (0..5).map(|index| pairs.pair(index).unwrap().caption).collect()
        };
        let (train, clean) = (named(Split::Train), named(Split::Clean));
        assert!(train.iter().all(|caption| !clean.contains(caption)), "{train:?} {clean:?}");
        let first = pairs(&set, Split::Train, 5).unwrap().pair(0).unwrap();
        let index: u8 = first.caption.trim_start_matches("caption, ").parse().unwrap();
        assert_eq!((first.image.width(), first.image.pixel(0, 0)), (4, [index, 0, 0]));
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = |set: &Dataset, count| match pairs(set, Split::Train, count) {
            Ok(pairs) => pairs.pair(0).unwrap_err().to_string(),
            Err(error) => format!("{error:#}"),
        };
        let (_folder, set) = written("image,title\nimages/0.png,x\n", 0);
        assert!(error(&set, 1).contains("no column \"caption\"; there are: image, title"));
        let (_folder, set) = written("image,caption\nimages/0.png,x\n", 0);
        assert!(error(&set, 2).contains("1 pairs, but 2 are asked for"));
        assert!(error(&set, 1).contains("images/0.png"));
        let path = PathBuf::from("nowhere.csv");
        let nowhere = Settings { train: path.clone(), validation: path, manifest: None };
        let set = build(serde_json::to_value(nowhere).unwrap()).unwrap();
        assert!(error(&set, 1).contains("nowhere.csv") && error(&set, 1).contains("`train`"));
    }
}

//! Conceptual Captions 3M as CleanCLIP reads it: a CSV with the columns `image` and `caption`, paths relative to the
//! CSV's folder. Any CSV of pairs in that form is read, whatever it is called.
//!
//! Paper: Sharma et al., "Conceptual Captions", ACL 2018.
//! Follows: nishadsinghi/CleanCLIP@d6e2f1d, `src/data.py` (`--image_key image --caption_key caption`).
//! Departs: rows are shuffled by the data seed; the training pairs are the first of that order and the clean pairs the
//! last, so that they overlap only where together they are more than the file has. Never run on CC3M itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail, ensure};
use clip::candle_core::{self, bail as no_pair};
use clip::{Image, Origin, Pairs, Seed};
use harness::contract::{Card, Dataset, Entry, PairSource, Preset, Split, preset, settings};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "cc3m",
        title: "Conceptual Captions 3M",
        summary: "Captioned images listed in a CSV with the columns image and caption, as CleanCLIP keeps CC3M.",
        paper: "Sharma et al., ACL 2018",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, src/data.py",
        departs: "rows are shuffled by the data seed; training pairs are the first, clean pairs the last; held in \
                  memory; never run on CC3M itself",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// The CSV of the training and the clean pairs.
    file: PathBuf,
    /// The CSV of the validation and the test pairs.
    validation_file: PathBuf,
}

fn presets() -> Vec<Preset> {
    let folder = Path::new("data/CC3M");
    let settings =
        Settings { file: folder.join("train/train.csv"), validation_file: folder.join("validation/val.csv") };
    vec![preset("paper", settings)]
}

fn build(resolved: Value) -> Result<Dataset> {
    let Settings { file, validation_file } = settings(resolved)?;
    let table = |path: PathBuf| Table { path, rows: OnceLock::new() };
    let source = Source { train: table(file), validation: table(validation_file) };
    Ok(Dataset { pairs: Some(Box::new(source)), classes: None })
}

/// A CSV, read when first needed.
struct Table {
    path: PathBuf,
    rows: OnceLock<Result<Arc<Vec<Row>>, String>>,
}

/// A pair that is not yet read: the image's path and the caption.
type Row = (PathBuf, String);

impl Table {
    fn rows(&self) -> Result<Arc<Vec<Row>>> {
        let read = || read_rows(&self.path).map(Arc::new).map_err(|error| format!("{error:#}"));
        self.rows.get_or_init(read).clone().map_err(anyhow::Error::msg)
    }
}

fn read_rows(path: &Path) -> Result<Vec<Row>> {
    let named = || {
        format!(
            "cannot read {}; the setting `file` says where the CSV of image and caption is",
            path.display()
        )
    };
    let mut reader = csv::Reader::from_path(path).with_context(named)?;
    let headers = reader.headers().with_context(named)?.clone();
    let column = |name: &str| {
        let found = headers.iter().position(|header| header == name);
        found.with_context(|| {
            let there: Vec<&str> = headers.iter().collect();
            format!("{}: no column {name:?}; there are: {}", path.display(), there.join(", "))
        })
    };
    let (image, caption) = (column("image")?, column("caption")?);
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut rows = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let record = record.with_context(|| format!("{}:{}", path.display(), index + 2))?;
        // A failed download leaves an empty path.
        if !record[image].is_empty() {
            rows.push((folder.join(&record[image]), record[caption].to_owned()));
        }
    }
    ensure!(!rows.is_empty(), "{}: no pairs", path.display());
    Ok(rows)
}

struct Source {
    train: Table,
    validation: Table,
}

impl PairSource for Source {
    fn pairs(&self, split: Split, count: usize, _resolution: usize, seed: &Seed) -> Result<Arc<dyn Pairs>> {
        let (table, side) = match split {
            Split::Train | Split::Clean => (&self.train, "train"),
            Split::Validation | Split::Test => (&self.validation, "validation"),
        };
        let rows = table.rows()?;
        if count > rows.len() {
            bail!("{}: {} pairs, but {count} are asked for", table.path.display(), rows.len());
        }
        let mut order: Vec<usize> = (0..rows.len()).collect();
        order.shuffle(&mut seed.child("cc3m").child(side).rng());
        if matches!(split, Split::Clean | Split::Test) {
            order.reverse();
        }
        order.truncate(count);
        Ok(Arc::new(Listed { rows, order }))
    }
}

/// Pairs read when asked for.
struct Listed {
    rows: Arc<Vec<Row>>,
    order: Vec<usize>,
}

impl Listed {
    fn row(&self, index: usize) -> candle_core::Result<&Row> {
        match self.order.get(index) {
            Some(row) => Ok(&self.rows[*row]),
            None => no_pair!("pair {index} of {}", self.order.len()),
        }
    }
}

impl Pairs for Listed {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn caption(&self, index: usize) -> candle_core::Result<String> {
        Ok(self.row(index)?.1.clone())
    }

    fn image(&self, index: usize) -> candle_core::Result<Image> {
        Image::open(&self.row(index)?.0)
    }

    fn read_from(&self, index: usize) -> Option<Origin> {
        Some(Origin { file: self.row(index).ok()?.0.clone(), member: None })
    }
}

#[cfg(test)]
mod tests {
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
        let settings = Settings { validation_file: file.clone(), file };
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
        let nowhere = Settings { file: "nowhere.csv".into(), validation_file: "nowhere.csv".into() };
        let set = build(serde_json::to_value(nowhere).unwrap()).unwrap();
        assert!(error(&set, 1).contains("nowhere.csv") && error(&set, 1).contains("`file`"));
    }
}

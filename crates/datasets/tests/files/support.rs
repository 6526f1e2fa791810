//! Small data sets in the forms in which people have them.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clip::{BadSample, Image, Pairs, Seed};
use contract::{Dataset, Labelled, Split};
use datasets::source::{Collection, append_member, end_tar};
use image::{ImageFormat, Rgb, RgbImage};
use serde_json::{Value, json};

pub(crate) fn built(name: &str, settings: Value) -> anyhow::Result<Dataset> {
    let entry = datasets::all().into_iter().find(|entry| entry.card.name == name).expect("an entry");
    (entry.build)(settings)
}

/// Settings of a data set in its first preset, with these paths in place of its own.
pub(crate) fn settings(name: &str, own: &[(&str, &Path)]) -> Value {
    let entry = datasets::all().into_iter().find(|entry| entry.card.name == name).expect("an entry");
    let mut settings = (entry.presets)().remove(0).1;
    own.iter().for_each(|(key, path)| settings[key] = json!(path));
    settings
}

/// The data set `pairs` as its files are, with these settings.
pub(crate) fn opened(settings: Value) -> Collection {
    let (_, open) =
        datasets::files().into_iter().find(|(entry, _)| entry.card.name == "pairs").expect("pairs");
    open(settings).expect("settings")
}

/// The data set `pairs` with both sides at a path.
pub(crate) fn pairs_at(path: &Path) -> Dataset {
    built("pairs", settings("pairs", &[("train", path), ("validation", path)])).expect("settings")
}

/// ImageNet-1K with test and clean images at a path.
pub(crate) fn imagenet(path: &Path) -> Dataset {
    built("imagenet-1k", json!({ "test": path, "validation": null, "clean": path })).expect("settings")
}

/// A file of `tests/data`. (`hub.parquet` was written by pyarrow in the form of the Hub's `imagenet-1k`:
/// `make_hub_parquet.py` says how.)
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

pub(crate) fn pairs(set: &Dataset, split: Split, count: usize) -> anyhow::Result<Arc<dyn Pairs>> {
    set.pairs.as_ref().expect("pairs").pairs(split, count, 224, &Seed::new(0))
}

pub(crate) fn images(set: &Dataset, split: Split, count: usize) -> anyhow::Result<Arc<dyn Labelled>> {
    set.classes.as_ref().expect("classes").images(split, count, 224, &Seed::new(0))
}

pub(crate) fn said<T>(result: anyhow::Result<T>) -> String {
    format!("{:#}", result.err().expect("an error"))
}

/// A PNG of one level.
pub(crate) fn png(level: u8) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    RgbImage::from_pixel(4, 3, Rgb([level, 0, 0])).write_to(&mut bytes, ImageFormat::Png).expect("a PNG");
    bytes.into_inner()
}

pub(crate) fn level(image: &Image) -> u8 {
    image.pixel(0, 0)[0]
}

pub(crate) fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, bytes) in members {
        append_member(&mut tar, name, bytes).expect("a member");
    }
    end_tar(&mut tar).expect("an end");
    tar
}

/// A tar of pairs `KEY.png` and `KEY.txt`, numbered in `range`: image and caption say the number.
pub(crate) fn tar_of(range: std::ops::Range<u8>) -> Vec<u8> {
    let mut tar = Vec::new();
    for number in range {
        append_member(&mut tar, &format!("{number:09}.png"), &png(number)).expect("a member");
        append_member(&mut tar, &format!("{number:09}.txt"), caption(number).as_bytes()).expect("a member");
    }
    end_tar(&mut tar).expect("an end");
    tar
}

pub(crate) fn caption(number: u8) -> String {
    format!("caption {number}")
}

pub(crate) fn folder(files: &[(&str, &[u8])]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(path, bytes).expect("a file");
    }
    let path = folder.path().to_owned();
    (folder, path)
}

/// What every pair of a side turns out to be: its number, or why it is bad.
pub(crate) fn outcomes(set: &Dataset, count: usize) -> Vec<Result<u8, BadSample>> {
    let pairs = pairs(set, Split::Train, count).expect("pairs");
    let mut all: Vec<_> = (0..count)
        .map(|index| match pairs.pair(index) {
            Ok(pair) => {
                assert_eq!(pair.caption, caption(level(&pair.image)));
                Ok(level(&pair.image))
            }
            Err(error) => Err(BadSample::of(&error).unwrap_or_else(|| panic!("no reason: {error}"))),
        })
        .collect();
    all.sort();
    all
}

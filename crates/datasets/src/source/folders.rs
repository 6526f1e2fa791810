//! Labelled images in folders by class, or in a `labels.csv` of image and label.
//!
//! Follows: torchvision's `ImageFolder`; nishadsinghi/CleanCLIP@d6e2f1d, `src/data.py` (`labels.csv`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::form::Form;
use super::hub_samples;
use super::layout::{Layout, entries, extension, listed, look};
use super::names::{beside, lines};
use super::place::Place;
use super::root::Root;
use super::samples::Samples;
use super::table::Table;
use super::webdataset::{self, Kind};

/// Endings of images, torchvision's.
const IMAGES: [&str; 10] = ["jpg", "jpeg", "png", "webp", "bmp", "gif", "ppm", "pgm", "tif", "tiff"];

/// Which label a folder's images have.
pub(crate) struct Labels {
    pub(crate) classes: usize,
    pub(crate) folders: BTreeMap<String, usize>,
    /// Whether folders may be called by their labels instead.
    pub(crate) numbered: bool,
    pub(crate) ignored: &'static [&'static str],
}

impl Labels {
    pub(crate) fn in_order(folders: &[String]) -> Self {
        let by_name = folders.iter().cloned().enumerate().map(|(label, name)| (name, label)).collect();
        Self { classes: folders.len(), folders: by_name, numbered: false, ignored: &[] }
    }

    fn of(&self, folder: &str) -> Option<usize> {
        let number = || folder.parse().ok().filter(|label| self.numbered && *label < self.classes);
        self.folders.get(folder).copied().or_else(number)
    }
}

/// The labelled samples of what is found at a path.
pub(crate) fn read_classes(path: &Path, splits: &[&str], setting: &str, labels: &Labels) -> Result<Samples> {
    let (name, kind) = (path.display().to_string(), Kind::Classes(labels.classes));
    match look(path, splits, setting)? {
        Layout::Shards(shards) => {
            check_count(&shards, labels.classes)?;
            webdataset::read_shards(name, shards, kind, &Form::usual(), false)
        }
        Layout::Parquet(files) => hub_samples::read_files(name, files, kind),
        Layout::Table(file) => from_table(&file, labels.classes),
        Layout::Folder(folder) if folder.join("labels.csv").is_file() => {
            from_table(&folder.join("labels.csv"), labels.classes)
        }
        Layout::Folder(folder) => from_folders(&folder, labels),
    }
}

/// Refuses tars beside which CLIP_benchmark names another number of classes: their labels mean others.
fn check_count(shards: &[PathBuf], classes: usize) -> Result<()> {
    let folder = shards.first().and_then(|path| path.parent()).unwrap_or(Path::new(""));
    let Some(file) = beside(folder, &["classnames.txt"]) else { return Ok(()) };
    let named = lines(&file)?.len();
    ensure!(
        named == classes,
        "{}: names {named} classes and not {classes}; the data set `folder` reads such tars with their own names",
        file.display()
    );
    Ok(())
}

fn from_table(path: &Path, classes: usize) -> Result<Samples> {
    let table = Table::open(path)?;
    let (image, label) = (table.column(path, "image")?, table.column(path, "label")?);
    let mut samples = Samples::new(path.display().to_string(), "CSV of image and label");
    samples.root = Root::confined(path.parent().unwrap_or(Path::new("")));
    table.rows(path, |record| {
        let text = |column: usize| String::from_utf8_lossy(record.get(column).unwrap_or_default());
        let (image, label) = (text(image), text(label));
        let (key, place) = samples.loose(&image);
        samples.push_labelled(key, label.trim().parse().ok(), classes, place);
    })?;
    ensure!(!samples.is_empty(), "{}: no images", path.display());
    samples.refuse_outside("make them relative to it")?;
    samples.finish();
    Ok(samples)
}

/// The folders of a folder, by name.
pub(crate) fn class_folders(folder: &Path) -> Result<Vec<PathBuf>> {
    Ok(entries(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

fn from_folders(folder: &Path, labels: &Labels) -> Result<Samples> {
    let found = class_folders(folder)?;
    let mut samples = Samples::new(folder.display().to_string(), "folders of images by class");
    samples.root = Root::listed(folder);
    for class in &found {
        let name = class.file_name().unwrap_or_default().to_string_lossy();
        if labels.ignored.contains(&&*name) {
            continue;
        }
        let Some(label) = labels.of(&name) else {
            bail!(
                "{}: the folder is none of the {} classes; found: {}",
                class.display(),
                labels.classes,
                listed(&found)
            )
        };
        for path in entries(class)?.iter().filter(|path| IMAGES.contains(&extension(path).as_str())) {
            let file = path.file_name().context("a file has a name")?.to_string_lossy();
            samples.push_labelled(
                &format!("{name}/{file}"),
                Some(label as u64),
                labels.classes,
                Place::Loose,
            );
        }
    }
    ensure!(
        !samples.is_empty(),
        "{}: expected labels.csv, tars, Parquet files or folders of images by class; found {} folders and no images",
        folder.display(),
        found.len()
    );
    samples.finish();
    Ok(samples)
}

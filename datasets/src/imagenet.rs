//! ImageNet-1K: labelled images in folders by class, with OpenAI's names of the classes and its 80 prompt templates.
//!
//! Paper: Russakovsky et al., "ImageNet Large Scale Visual Recognition Challenge", IJCV 2015; names and templates:
//! Radford et al., "CLIP", ICML 2021 (MIT).
//! Follows: torchvision's `ImageFolder` (classes are the folders in the order of their names, the synsets) and
//! nishadsinghi/CleanCLIP@d6e2f1d, `src/data.py` (a `labels.csv` with the columns image and label).
//! Departs: images are shuffled by the data seed. Never run on ImageNet itself.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, bail, ensure};
use clip::candle_core::{self, bail as no_image};
use clip::{Image, Origin, Seed};
use harness::contract::{Card, ClassSource, Dataset, Entry, Labelled, Preset, Split, preset, settings};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "imagenet-1k",
        title: "ImageNet-1K",
        summary: "Labelled images in folders by synset, with OpenAI's class names and 80 prompt templates.",
        paper: "Russakovsky et al., IJCV 2015; names and templates: Radford et al., ICML 2021",
        follows: "torchvision's ImageFolder; nishadsinghi/CleanCLIP@d6e2f1d, labels.csv",
        departs: "images are shuffled by the data seed; held in memory; never run on ImageNet itself",
        version: 1,
    },
    presets,
    build,
};

/// OpenAI's names of the 1 000 classes, in the order of the synsets.
static CLASSES: LazyLock<Vec<String>> =
    LazyLock::new(|| listed(include_str!("../assets/imagenet/classes.json")));
/// OpenAI's 80 templates.
static TEMPLATES: LazyLock<Vec<String>> =
    LazyLock::new(|| listed(include_str!("../assets/imagenet/templates.json")));

/// The texts of an embedded JSON list; a broken one has no classes, which every plan refuses.
fn listed(json: &str) -> Vec<String> {
    serde_json::from_str(json).unwrap_or_default()
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Folder of the test images.
    test_folder: PathBuf,
    /// Folder of the images for tuning; `null` where there are none.
    validation_folder: Option<PathBuf>,
    /// Folder of the images granted to defenders.
    clean_folder: PathBuf,
}

fn presets() -> Vec<Preset> {
    let folder = Path::new("data/ImageNet1K");
    let settings = Settings {
        test_folder: folder.join("validation"),
        validation_folder: None,
        clean_folder: folder.join("train50000"),
    };
    vec![preset("paper", settings)]
}

fn build(resolved: Value) -> Result<Dataset> {
    Ok(Dataset { pairs: None, classes: Some(Box::new(Source(settings(resolved)?))) })
}

struct Source(Settings);

impl ClassSource for Source {
    fn classes(&self) -> &[String] {
        &CLASSES
    }

    fn templates(&self) -> &[String] {
        &TEMPLATES
    }

    fn images(
        &self,
        split: Split,
        count: usize,
        _resolution: usize,
        seed: &Seed,
    ) -> Result<Arc<dyn Labelled>> {
        let Settings { test_folder, validation_folder, clean_folder } = &self.0;
        let folder = match split {
            Split::Test => test_folder,
            Split::Validation => {
                validation_folder.as_ref().context("imagenet-1k has no validation-folder to tune on")?
            }
            Split::Train | Split::Clean => clean_folder,
        };
        let mut files = list(folder)?;
        ensure!(
            files.len() >= count,
            "{}: {} images, but {count} are asked for",
            folder.display(),
            files.len()
        );
        files.shuffle(&mut seed.child("imagenet-1k").child(split.name()).rng());
        files.truncate(count);
        Ok(Arc::new(Files(files)))
    }
}

/// Images and labels below a folder, in a fixed order: by its `labels.csv`, or by its 1 000 folders.
fn list(folder: &Path) -> Result<Vec<(PathBuf, usize)>> {
    let labels = folder.join("labels.csv");
    let files = if labels.is_file() { from_csv(folder, &labels)? } else { from_folders(folder)? };
    let classes = CLASSES.len();
    match files.iter().find(|(_, label)| *label >= classes) {
        None => Ok(files),
        Some((path, label)) => bail!("{}: label {label}, but there are {classes} classes", path.display()),
    }
}

fn from_csv(folder: &Path, labels: &Path) -> Result<Vec<(PathBuf, usize)>> {
    #[derive(Deserialize)]
    struct Row {
        image: PathBuf,
        label: usize,
    }
    let named = || format!("{}: expected the columns image and label", labels.display());
    let mut reader = csv::Reader::from_path(labels).with_context(named)?;
    let rows = reader.deserialize::<Row>().collect::<Result<Vec<_>, _>>().with_context(named)?;
    Ok(rows.into_iter().map(|row| (folder.join(row.image), row.label)).collect())
}

fn from_folders(folder: &Path) -> Result<Vec<(PathBuf, usize)>> {
    let synsets = entries(folder)?.into_iter().filter(|path| path.is_dir()).collect::<Vec<_>>();
    let classes = CLASSES.len();
    ensure!(
        synsets.len() == classes,
        "{}: expected labels.csv or {classes} folders of images, found {} folders",
        folder.display(),
        synsets.len()
    );
    let mut files = Vec::new();
    for (label, synset) in synsets.iter().enumerate() {
        files.extend(entries(synset)?.into_iter().map(|path| (path, label)));
    }
    Ok(files)
}

/// What is in a folder, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let named = || format!("cannot read the folder {} of imagenet-1k", folder.display());
    let read = std::fs::read_dir(folder).with_context(named)?;
    let mut paths =
        read.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().with_context(named)?;
    paths.sort();
    Ok(paths)
}

/// Labelled images read when asked for.
struct Files(Vec<(PathBuf, usize)>);

impl Files {
    fn get(&self, index: usize) -> candle_core::Result<&(PathBuf, usize)> {
        match self.0.get(index) {
            Some(file) => Ok(file),
            None => no_image!("image {index} of {}", self.0.len()),
        }
    }
}

impl Labelled for Files {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn label(&self, index: usize) -> candle_core::Result<usize> {
        Ok(self.get(index)?.1)
    }

    fn image(&self, index: usize) -> candle_core::Result<Image> {
        Image::open(&self.get(index)?.0)
    }

    fn read_from(&self, index: usize) -> Option<Origin> {
        Some(Origin { file: self.get(index).ok()?.0.clone(), member: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(folder: &Path) -> Source {
        let folder = folder.to_owned();
        Source(Settings { test_folder: folder.clone(), validation_folder: None, clean_folder: folder })
    }

    fn draw(folder: &Path, split: Split, count: usize) -> Result<Arc<dyn Labelled>> {
        source(folder).images(split, count, 224, &Seed::new(0))
    }

    fn save(path: &Path, level: u8) {
        image::RgbImage::from_pixel(2, 5, image::Rgb([level; 3])).save(path).unwrap();
    }

    #[test]
    fn names_and_templates_are_openais() {
        assert_eq!((CLASSES.len(), TEMPLATES.len(), CLASSES[954].as_str()), (1000, 80, "banana"));
        assert!(TEMPLATES.iter().all(|template| template.contains("{}")));
    }

    #[test]
    fn folders_and_lists_give_the_same_labels() {
        let folder = tempfile::tempdir().unwrap();
        for class in 0..1000 {
            std::fs::create_dir(folder.path().join(format!("n{class:08}"))).unwrap();
        }
        save(&folder.path().join("n00000954/a.png"), 1);
        save(&folder.path().join("n00000007/b.png"), 2);
        let labels = |folder: &Path| -> Vec<(u8, usize)> {
            let images = draw(folder, Split::Test, 2).unwrap();
            let mut all: Vec<(u8, usize)> = (0..2)
                .map(|index| (images.image(index).unwrap().pixel(0, 0)[0], images.label(index).unwrap()))
                .collect();
            all.sort_unstable();
            all
        };
        assert_eq!(labels(folder.path()), [(1, 954), (2, 7)]);
        let text = "image,label\nn00000954/a.png,954\nn00000007/b.png,7\n";
        std::fs::write(folder.path().join("labels.csv"), text).unwrap();
        assert_eq!(labels(folder.path()), [(1, 954), (2, 7)]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |split, count| format!("{:#}", draw(folder.path(), split, count).err().unwrap());
        assert!(error(Split::Test, 1).contains("1000 folders of images, found 0"));
        assert!(error(Split::Validation, 1).contains("validation-folder"));
        std::fs::write(folder.path().join("labels.csv"), "image,label\na.png,1000\n").unwrap();
        assert!(error(Split::Test, 1).contains("label 1000"));
        std::fs::write(folder.path().join("labels.csv"), "image,label\na.png,1\n").unwrap();
        assert!(error(Split::Clean, 2).contains("1 images, but 2 are asked for"));
    }
}

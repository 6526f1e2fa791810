//! ImageNet-1K: labelled images in folders by synset, in a `labels.csv`, in the Hub's Parquet files or in tars with
//! `cls` members, with OpenAI's names of the classes and its 80 prompt templates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use contract::{Card, Dataset, Entry, Preset, preset, settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::{Collection, Labels, Names, Part, Side, embedded, read_classes};

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "imagenet-1k",
        title: "ImageNet-1K",
        summary: "Labelled images by synset, with OpenAI's class names and 80 prompt templates.",
        paper: "Russakovsky et al., \"ImageNet Large Scale Visual Recognition Challenge\", IJCV 2015; names and \
                templates: Radford et al., \"CLIP\", ICML 2021 (MIT)",
        follows: "torchvision's `ImageFolder` (a label is a synset's place among the 1 000), \
                  nishadsinghi/CleanCLIP@d6e2f1d, `src/data.py` (a `labels.csv` with the columns image and label), \
                  the Hub's `imagenet-1k`, LAION-AI/CLIP_benchmark",
        departs: "images are shuffled by the data seed. Never run on ImageNet itself",
        version: 2,
    },
    presets,
    build,
};

/// OpenAI's names of the 1 000 classes, in the order of the synsets.
const CLASSES: &str = include_str!("../assets/imagenet/classes.json");
/// OpenAI's 80 templates.
const TEMPLATES: &str = include_str!("../assets/imagenet/templates.json");
/// The synsets, in the order of the labels.
const SYNSETS: &str = include_str!("../assets/imagenet/synsets.json");

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Where the test images are: a folder, a file, or a pattern of tars.
    test: PathBuf,
    /// Where the images for tuning are; `null` where there are none.
    validation: Option<PathBuf>,
    /// Where the images granted to defenders are.
    clean: PathBuf,
}

fn presets() -> Vec<Preset> {
    let folder = Path::new("data/ImageNet1K");
    let settings =
        Settings { test: folder.join("validation"), validation: None, clean: folder.join("train50000") };
    vec![preset("paper", settings)]
}

fn build(resolved: Value) -> Result<Dataset> {
    Ok(collection(resolved)?.dataset())
}

/// The data set's files.
pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    let Settings { test, validation, clean } = settings(resolved)?;
    let (names, labels) = (names(None), Arc::new(labels(None)));
    let side = |path: PathBuf, splits: &'static [&'static str], setting: &'static str| {
        let labels = labels.clone();
        Side::new(move |_| read_classes(&path, splits, setting, &labels))
    };
    // The Hub's split test has no labels.
    let held_out = &["validation", "val", "test"];
    let (test, clean) = (side(test, held_out, "test"), side(clean, &["train"], "clean"));
    let parts = [
        Ok(Part::front(&clean, "train")),
        Ok(Part::front(&clean, "clean")),
        validation
            .map(|path| Part::front(&side(path, held_out, "validation"), "validation"))
            .ok_or_else(|| "its setting `validation` names nothing to tune on".to_owned()),
        Ok(Part::front(&test, "test")),
    ];
    Ok(Collection { name: "imagenet-1k", parts, names: Some(names), manifest: None })
}

/// A test set of some of the classes, or of all: what it is called, and the synsets of its own classes in the order of
/// its labels, as embedded JSON.
pub(crate) fn variant(name: &'static str, path: PathBuf, subset: Option<&str>) -> Collection {
    let labels = labels(subset);
    let side = Side::new(move |_| read_classes(&path, &["test", "validation", "val"], "test", &labels));
    let none = || Err("it has test images alone".to_owned());
    let parts = [none(), none(), none(), Ok(Part::front(&side, "test"))];
    Collection { name, parts, names: Some(names(subset)), manifest: None }
}

/// Settings of test sets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct TestSettings {
    /// Where the images are: a folder, a file, or a pattern of tars.
    pub(crate) test: PathBuf,
}

/// The synsets of these classes, or of all.
fn synsets(subset: Option<&str>) -> Vec<String> {
    embedded(subset.unwrap_or(SYNSETS))
}

fn labels(subset: Option<&str>) -> Labels {
    // In ImageNet-V2 folders are called 0 to 999.
    Labels { numbered: subset.is_none(), ..Labels::in_order(&synsets(subset)) }
}

fn names(subset: Option<&str>) -> Names {
    let (all, classes): (Vec<String>, Vec<String>) = (embedded(SYNSETS), embedded(CLASSES));
    let name = |synset: &String| {
        let label = all.iter().position(|known| known == synset)?;
        classes.get(label).cloned()
    };
    let classes = synsets(subset).iter().filter_map(name).collect();
    Names { classes, templates: embedded(TEMPLATES), folders: Vec::new() }
}

#[cfg(test)]
mod tests {
    use clip::{BadSample, Seed};
    use contract::{ClassSource, Labelled, Split};

    use super::*;

    fn draw(folder: &Path, split: Split, count: usize) -> Result<Arc<dyn Labelled>> {
        let settings = Settings { test: folder.to_owned(), validation: None, clean: folder.to_owned() };
        collection(serde_json::to_value(settings).unwrap())?.images(split, count, 224, &Seed::new(0))
    }

    fn save(path: &Path, level: u8) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::from_pixel(2, 5, image::Rgb([level; 3])).save(path).unwrap();
    }

    #[test]
    fn names_and_templates_are_openais() {
        let names = names(None);
        assert_eq!((names.classes.len(), names.templates.len()), (1000, 80));
        assert!(names.templates.iter().all(|template| template.contains("{}")));
        let synsets = synsets(None);
        // As in torchvision's and Keras' lists.
        for (label, synset, class) in [
            (0, "n01440764", "tench"),
            (134, "n02012849", "crane bird"),
            (207, "n02099601", "Golden Retriever"),
            (517, "n03126707", "construction crane"),
            (954, "n07753592", "banana"),
            (999, "n15075141", "toilet paper"),
        ] {
            assert_eq!((synsets[label].as_str(), names.classes[label].as_str()), (synset, class));
        }
    }

    #[test]
    fn folders_and_lists_give_the_same_labels() {
        let folder = tempfile::tempdir().unwrap();
        save(&folder.path().join("n07753592/a.png"), 1);
        save(&folder.path().join("n01443537/b.JPEG.png"), 2);
        std::fs::write(folder.path().join("n01443537/Thumbs.db"), "no image").unwrap();
        let labels = |folder: &Path| -> Vec<(u8, usize)> {
            let images = draw(folder, Split::Test, 2).unwrap();
            let mut all: Vec<(u8, usize)> = (0..2)
                .map(|index| (images.image(index).unwrap().pixel(0, 0)[0], images.label(index).unwrap()))
                .collect();
            all.sort_unstable();
            all
        };
        assert_eq!(labels(folder.path()), [(1, 954), (2, 1)]);
        let text = "image,label\nn07753592/a.png,954\nn01443537/b.JPEG.png,1\n";
        std::fs::write(folder.path().join("labels.csv"), text).unwrap();
        assert_eq!(labels(folder.path()), [(1, 954), (2, 1)]);
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = |split, count| format!("{:#}", draw(folder.path(), split, count).err().unwrap());
        assert!(error(Split::Test, 1).contains("found 0 folders"), "{}", error(Split::Test, 1));
        assert!(error(Split::Validation, 1).contains("`validation`"));
        std::fs::create_dir(folder.path().join("n99999999")).unwrap();
        assert!(
            error(Split::Test, 1).contains("n99999999") && error(Split::Test, 1).contains("1000 classes")
        );
        let table = |text: &str| std::fs::write(folder.path().join("labels.csv"), text).unwrap();
        table("image,label\na.png,1000\nb.png,banana\nc.png,-1\n");
        let images = draw(folder.path(), Split::Test, 3).unwrap();
        for index in 0..3 {
            assert_eq!(BadSample::of(&images.label(index).unwrap_err()), Some(BadSample::LabelOutOfRange));
        }
        table("image,label\na.png,1\n");
        assert!(error(Split::Clean, 2).contains("1 images, but 2 are asked for"));
        // As CleanCLIP's own lists name their author's machine.
        table("image,label\n/data0/ImageNet1K/validation/ILSVRC2012_val_00000001.JPEG,65\n");
        assert!(error(Split::Test, 1).contains("make them relative"), "{}", error(Split::Test, 1));
    }
}

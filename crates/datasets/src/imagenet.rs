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
    build: |resolved| Ok(collection(resolved)?.dataset()),
};

/// OpenAI's names of the 1 000 classes, in the order of the synsets.
const CLASSES: &str = include_str!("../assets/imagenet/classes.json");
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
    let [test, clean] = ["validation", "train50000"].map(|side| Path::new("data/ImageNet1K").join(side));
    vec![preset("paper", Settings { test, validation: None, clean })]
}

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
    use super::*;

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
}

//! Caltech101: photographs of 101 kinds of objects, in folders by class.

use std::path::PathBuf;

use anyhow::Result;
use contract::{Card, Dataset, Entry, preset, settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::{Collection, Labels, Names, Part, Side, beside, embedded, lines, read_classes};

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "caltech101",
        title: "Caltech101",
        summary: "Photographs of 101 kinds of objects, in folders by class.",
        paper: "Fei-Fei, Fergus and Perona, \"Learning Generative Visual Models from Few Training Examples\", \
                CVPR 2004 workshops",
        follows: "torchvision's `Caltech101` (101 classes: `BACKGROUND_Google` is left out, and `Faces` and \
                  `Faces_easy` are two classes); class names and templates of openai/CLIP, `data/prompts.md`, \
                  without its \"background\". Tars of LAION-AI/CLIP_benchmark have the classes of the \
                  `classnames.txt` beside them, of which background is one",
        departs: "there is no published split: images are shuffled by the data seed, tests take the front of that \
                  order, and tuning and clean images the back, so that they overlap only where together they are \
                  more than there are. Never run on the data set itself",
        version: 1,
    },
    presets: || vec![preset("paper", Settings { folder: "data/caltech101".into() })],
    build: |resolved| Ok(collection(resolved)?.dataset()),
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// The folder of `101_ObjectCategories`, of the classes' folders, or of CLIP_benchmark's tars.
    folder: PathBuf,
}

pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    let Settings { mut folder } = settings(resolved)?;
    let mut names: Names = embedded(include_str!("../assets/prompts/caltech101.json"));
    if folder.join("101_ObjectCategories").is_dir() {
        folder.push("101_ObjectCategories");
    } else if let Some(file) = beside(&folder, &["classnames.txt"]) {
        (names.classes, names.folders) = (lines(&file)?, lines(&file)?);
    }
    let labels = Labels { ignored: &["BACKGROUND_Google"], ..Labels::in_order(&names.folders) };
    let side = Side::new(move |_| read_classes(&folder, &["test"], "folder", &labels));
    let back = || Ok(Part::back(&side, "all"));
    let parts = [back(), back(), back(), Ok(Part::front(&side, "all"))];
    Ok(Collection { name: "caltech101", parts, names: Some(names), manifest: None })
}

//! Labelled images of a user's own: folders by class, a `labels.csv`, Parquet files, or tars with `cls` members.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use contract::{Card, Dataset, Entry, Preset, preset, settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::{Collection, Labels, Names, Part, Side, beside, class_folders, lines, read_classes};

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "folder",
        title: "Labelled images of your own",
        summary: "Labelled images of your own: folders by class, a labels.csv, Parquet files or tars.",
        paper: "none",
        follows: "torchvision's `ImageFolder`; LAION-AI/CLIP_benchmark (`classnames.txt`, in which the names stand \
                  in the order of the labels, and `zeroshot_classification_templates.txt`)",
        departs: "images are shuffled by the data seed",
        version: 1,
    },
    presets,
    build: |resolved| Ok(collection(resolved)?.dataset()),
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Where the test images are: a folder, a file, or a pattern of tars.
    test: PathBuf,
    /// Where the images for tuning are; `null` where there are none.
    validation: Option<PathBuf>,
    /// Where the images granted to defenders are; `null` where there are none.
    clean: Option<PathBuf>,
    /// A file of the classes' names, a line each; `null` for `classnames.txt` or `classes.txt` beside the test images,
    /// or else for the names of the folders, with spaces for underscores.
    classes: Option<PathBuf>,
    /// Prompt templates with `{}` for the name of the class; none for those beside the test images.
    templates: Vec<String>,
}

fn presets() -> Vec<Preset> {
    let settings = Settings {
        test: PathBuf::from("data/folder/test"),
        validation: None,
        clean: None,
        classes: None,
        templates: vec!["a photo of a {}.".to_owned()],
    };
    vec![preset("own", settings)]
}

pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    let settings: Settings = settings(resolved)?;
    let templates = templates(&settings)?;
    let (classes, folders) = classes(&settings)?;
    let labels = Arc::new(Labels::in_order(&folders));
    let side = |path: PathBuf, splits: &'static [&'static str], setting: &'static str| {
        let labels = labels.clone();
        Side::new(move |_| read_classes(&path, splits, setting, &labels))
    };
    let missing = |setting| format!("its setting `{setting}` names nothing");
    let clean = settings.clean.map(|path| side(path, &["train"], "clean"));
    let granted = |order| clean.as_ref().map(|side| Part::front(side, order)).ok_or_else(|| missing("clean"));
    let tuned = settings.validation.map(|path| side(path, &["validation", "val", "test"], "validation"));
    let parts = [
        granted("train"),
        granted("clean"),
        tuned.map(|side| Part::front(&side, "validation")).ok_or_else(|| missing("validation")),
        Ok(Part::front(&side(settings.test, &["test", "validation", "val"], "test"), "test")),
    ];
    let names = Names { classes, templates, folders: Vec::new() };
    Ok(Collection { name: "folder", parts, names: Some(names), manifest: None })
}

fn templates(settings: &Settings) -> Result<Vec<String>> {
    let mut templates = settings.templates.clone();
    if templates.is_empty() {
        let file = beside(&settings.test, &["zeroshot_classification_templates.txt"]);
        let file = file.context("templates: there are none, and no zeroshot_classification_templates.txt")?;
        // CLIP_benchmark writes {c} for the class.
        templates = lines(&file)?.into_iter().map(|line| line.replace("{c}", "{}")).collect();
    }
    if let Some(template) = templates.iter().find(|template| !template.contains("{}")) {
        bail!("templates: {template:?} has no {{}} for the class");
    }
    Ok(templates)
}

/// Names of the classes, and of the folders where these are called otherwise.
fn classes(settings: &Settings) -> Result<(Vec<String>, Vec<String>)> {
    let file =
        settings.classes.clone().or_else(|| beside(&settings.test, &["classnames.txt", "classes.txt"]));
    let folders = match settings.test.is_dir() {
        true => class_folders(&settings.test)?,
        false => Vec::new(),
    };
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let folders: Vec<String> = folders.iter().map(name).collect();
    let Some(file) = file else {
        ensure!(
            !folders.is_empty(),
            "{}: no folders of classes there; the setting `test` says where they are, and `classes` may name a file \
             of the classes' names",
            settings.test.display()
        );
        return Ok((folders.iter().map(|name| name.replace('_', " ")).collect(), folders));
    };
    let classes = lines(&file)?;
    ensure!(!classes.is_empty(), "{}: names no classes", file.display());
    let spaced = |name: &String| classes.contains(&name.replace('_', " ")) || classes.contains(name);
    if folders.len() == classes.len() && !folders.iter().all(spaced) {
        // Called otherwise than the classes: in their order.
        return Ok((classes, folders));
    }
    let folders = classes.iter().map(|class| {
        let called = |name: &&String| **name == *class || name.replace('_', " ") == *class;
        folders.iter().find(called).unwrap_or(class).clone()
    });
    Ok((classes.clone(), folders.collect()))
}

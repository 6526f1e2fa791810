//! Class names and prompt templates, those that come with the program and those that lie beside images.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

/// Class names and prompt templates with `{}` for the name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Names {
    /// In the order of the labels.
    pub(crate) classes: Vec<String>,
    pub(crate) templates: Vec<String>,
    /// The folders of the classes, where they are called otherwise.
    #[serde(default)]
    pub(crate) folders: Vec<String>,
}

/// An embedded JSON file; a broken one holds nothing, which every plan refuses and a test of its entry meets.
pub(crate) fn embedded<T: Default + for<'de> Deserialize<'de>>(json: &str) -> T {
    serde_json::from_str(json).unwrap_or_default()
}

/// The first of these files that lies in a folder or in the one above it.
pub(crate) fn beside(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let folders = [Some(folder), folder.parent()];
    let paths = folders.into_iter().flatten().flat_map(|folder| names.iter().map(|name| folder.join(name)));
    paths.into_iter().find(|path| path.is_file())
}

/// The lines of a file that are not empty.
pub(crate) fn lines(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect())
}

//! Class names and prompt templates that come with the program.

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

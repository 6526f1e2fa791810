//! How image–caption pairs lie in files, as far as it is not the same everywhere.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What data sets of pairs set of their files.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Form {
    /// The folder that paths in a table are relative to and may not leave; absolute paths below it are read too. `null`
    /// for the folder of the table.
    pub(crate) images: Option<PathBuf>,
    /// Endings of images in tars: what follows the key and a dot, in lower case. What an image is its bytes say.
    pub(crate) image_endings: Vec<String>,
    /// Endings of captions in tars. Captions in `json` are read besides.
    pub(crate) caption_endings: Vec<String>,
}

/// What a member of a tar is of its sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Image,
    Caption,
    Json,
    Label,
}

/// What the name of a member of a tar says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named<'a> {
    /// What the members of a sample share.
    pub(crate) key: &'a str,
    pub(crate) ending: String,
    pub(crate) part: Part,
    /// The key up to the first dot of the file's name, which is webdataset's, where only a part of what follows it is an
    /// ending that is known: `a` in `a.seg.jpg`, whose own key is then `a.seg`.
    pub(crate) shorter: Option<&'a str>,
}

/// Why a member is of no sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// webdataset's `__…__`, which say something of the tar.
    Meta,
    /// Hidden, or without an ending that is known.
    Unknown,
}

impl Form {
    /// What webdataset, img2dataset and cameras call images that are read here, and captions.
    pub(crate) fn usual() -> Self {
        let owned = |endings: &[&str]| endings.iter().map(|ending| (*ending).to_owned()).collect();
        Self {
            images: None,
            image_endings: owned(&["jpg", "jpeg", "jpe", "jfif", "png", "webp", "gif"]),
            caption_endings: owned(&["txt", "text", "caption"]),
        }
    }

    fn part(&self, ending: &str) -> Option<Part> {
        match ending {
            _ if self.image_endings.iter().any(|own| own == ending) => Some(Part::Image),
            _ if self.caption_endings.iter().any(|own| own == ending) => Some(Part::Caption),
            "json" => Some(Part::Json),
            "cls" => Some(Part::Label),
            _ => None,
        }
    }

    /// Reads a member's name: its ending is the longest one that is known.
    pub(crate) fn read<'a>(&self, name: &'a str) -> Result<Named<'a>, Stranger> {
        let name = name.strip_prefix("./").unwrap_or(name);
        let file = name.rfind('/').map_or(0, |slash| slash + 1);
        let dots: Vec<usize> = name[file..].match_indices('.').map(|(at, _)| file + at).collect();
        let Some(first) = dots.first().copied().filter(|first| *first > file) else {
            return Err(Stranger::Unknown);
        };
        if name[file..].starts_with("__") && name[..first].ends_with("__") {
            return Err(Stranger::Meta);
        }
        let named = |dot: usize| {
            let ending = name[dot + 1..].to_lowercase();
            let part = self.part(&ending)?;
            let shorter = (dot > first).then_some(&name[..first]);
            Some(Named { key: &name[..dot], ending, part, shorter })
        };
        dots.into_iter().find_map(named).ok_or(Stranger::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_known_ending_is_meant() {
        let mut form = Form::usual();
        let read =
            |form: &Form, name: &str| form.read(name).map(|found| (found.key.to_owned(), found.ending));
        let of = |key: &str, ending: &str| Ok((key.to_owned(), ending.to_owned()));
        assert_eq!(read(&form, "./a/harbour 2.4.JPG"), of("a/harbour 2.4", "jpg"));
        assert_eq!(form.read("b.c/x.y.txt").map(|found| found.shorter), Ok(Some("b.c/x")));
        assert_eq!(read(&form, "b.c/000.jpg"), of("b.c/000", "jpg"));
        assert_eq!(read(&form, "x.input.jpg"), of("x.input", "jpg"));
        form.image_endings.push("input.jpg".to_owned());
        assert_eq!(read(&form, "x.input.jpg"), of("x", "input.jpg"));
        for name in ["README", ".hidden.jpg", "x.md5", "x.", "a/.b"] {
            assert_eq!(form.read(name), Err(Stranger::Unknown), "{name}");
        }
        assert_eq!(form.read("__key__.json"), Err(Stranger::Meta));
    }
}

//! Data sets: tars, tables, folders of labelled images, manifests.

use std::path::Path;

use clip::{Image, Seed};
use contract::{Dataset, Split};
use datasets::source::{append_member, end_tar};
use serde_json::{Value, json};

use crate::support::{borrowed, copies, folder, root, withstands};

fn built(name: &str, settings: Value) -> anyhow::Result<Dataset> {
    let entry = datasets::all().into_iter().find(|entry| entry.card.name == name).expect("an entry");
    (entry.build)(settings)
}

/// Settings of a data set in its only preset, with these in place of its own.
fn settings(name: &str, own: &[(&str, &Path)]) -> Value {
    let entry = datasets::all().into_iter().find(|entry| entry.card.name == name).expect("an entry");
    let mut settings = (entry.presets)().remove(0).1;
    own.iter().for_each(|(key, path)| settings[key] = json!(path));
    settings
}

/// Whether every one of `count` pairs can be read.
fn pairs_read(path: &Path, count: usize) -> bool {
    let read = || -> anyhow::Result<bool> {
        let set = built("pairs", settings("pairs", &[("train", path), ("validation", path)]))?;
        let pairs = set.pairs.as_ref().expect("pairs").pairs(Split::Train, count, 32, &Seed::new(0))?;
        Ok((0..pairs.len()).map(|index| pairs.pair(index).is_ok()).fold(true, |all, one| all & one))
    };
    read().unwrap_or(false)
}

fn classes_read(name: &str, path: &Path, count: usize) -> bool {
    let read = || -> anyhow::Result<bool> {
        let set = built(name, settings(name, &[("test", path)]))?;
        let images = set.classes.as_ref().expect("classes").images(Split::Test, count, 32, &Seed::new(0))?;
        Ok((0..images.len()).map(|index| images.image(index).is_ok()).fold(true, |all, one| all & one))
    };
    read().unwrap_or(false)
}

/// A PNG of one level.
fn png(level: u8) -> Vec<u8> {
    Image::new(4, 3, vec![level; 36]).and_then(|image| image.to_png()).expect("a PNG")
}

#[test]
fn tars() {
    let folder = folder("tars");
    let mut tar = Vec::new();
    for number in 0..4u8 {
        for (ending, bytes) in
            [("png", png(number)), ("txt", b"a caption".to_vec()), ("json", b"{\"url\": \"x\"}".to_vec())]
        {
            append_member(&mut tar, &format!("{number:03}.{ending}"), &bytes).expect("a member");
        }
    }
    end_tar(&mut tar).expect("an end");
    let files = [(folder.join("00000.tar"), tar)];
    withstands("tars", &borrowed(&files), |_| pairs_read(&folder, 4));
}

#[test]
fn tables() {
    let folder = folder("tables");
    for number in 0..4u8 {
        std::fs::write(folder.join(format!("{number}.png")), png(number)).expect("an image");
    }
    let rows = |head: &str, separator: &str| {
        let row = |number| format!("{number}.png{separator}a \"quoted\" caption, number {number}\n");
        format!("{head}\n{}", (0..4).map(row).collect::<String>()).into_bytes()
    };
    let mut files = copies(&folder, [root("crates/datasets/tests/data/hub.parquet")]);
    files.push((folder.join("pairs.tsv"), rows("filepath\ttitle", "\t")));
    let quoted = rows("image,caption", ",\"").iter().map(|byte| *byte as char).collect::<String>();
    let quoted = quoted.replace("\"quoted\"", "\"\"quoted\"\"").replace("image,\"caption", "image,caption");
    let quoted: String = quoted
        .lines()
        .enumerate()
        .map(|(at, line)| format!("{line}{}\n", if at > 0 { "\"" } else { "" }))
        .collect();
    files.push((folder.join("pairs.csv"), quoted.into_bytes()));
    let read = |path: &Path| match path.extension().is_some_and(|ending| ending == "parquet") {
        true => classes_read("imagenet-1k", path, 1),
        false => pairs_read(path, 4),
    };
    withstands("tables", &borrowed(&files), read);
}

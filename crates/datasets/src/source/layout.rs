//! What is found at a path: which files, and by their names of which split.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::form::Form;
use super::hub_samples;
use super::samples::Samples;
use super::table;
use super::webdataset::{self, Kind};

/// Words in the names of files and folders that say which split they are of.
const SPLITS: [&str; 4] = ["train", "validation", "val", "test"];
/// Folders of the Hub's repositories that hold Parquet files.
const HUB_FOLDERS: [&str; 4] = ["data", "plain_text", "cifar100", "default"];
/// The most names that a message lists.
const LISTED: usize = 8;

#[derive(Debug)]
pub(crate) enum Layout {
    /// Tars, in the order of their names.
    Shards(Vec<PathBuf>),
    /// Parquet files, in the order of their names.
    Parquet(Vec<PathBuf>),
    /// A CSV or TSV.
    Table(PathBuf),
    /// A folder with none of these.
    Folder(PathBuf),
}

/// Looks at a file, a folder or a pattern such as `{00000..00331}.tar`. Where a folder holds the files of several
/// splits, the first of `splits` that is among them is meant; `setting` is what errors name.
pub(crate) fn look(path: &Path, splits: &[&str], setting: &str) -> Result<Layout> {
    if path.to_string_lossy().contains("{") {
        return Ok(Layout::Shards(expand(path, setting)?));
    }
    let named = || format!("cannot read {}; the setting `{setting}` says where it is", path.display());
    if !std::fs::metadata(path).with_context(named)?.is_dir() {
        let file = path.to_owned();
        return match extension(path).as_str() {
            "tar" => Ok(Layout::Shards(vec![file])),
            "parquet" => Ok(Layout::Parquet(vec![file])),
            "csv" | "tsv" | "txt" => Ok(Layout::Table(file)),
            other => bail!("{}: {other:?} is none of .tar, .parquet, .csv and .tsv", path.display()),
        };
    }
    let entries = entries(path).with_context(named)?;
    let of = |wanted: &[&str]| -> Vec<PathBuf> {
        entries.iter().filter(|path| wanted.contains(&extension(path).as_str())).cloned().collect()
    };
    let (tars, parquet, tables) = (of(&["tar"]), of(&["parquet"]), of(&["csv", "tsv"]));
    if !tars.is_empty() {
        return Ok(Layout::Shards(of_split(path, tars, splits)?));
    }
    if !parquet.is_empty() {
        return Ok(Layout::Parquet(of_split(path, parquet, splits)?));
    }
    if let [file] = tables.as_slice() {
        return Ok(Layout::Table(file.clone()));
    }
    if let Some(file) = splits.iter().find_map(|split| {
        tables.iter().find(|path| path.file_stem().is_some_and(|stem| stem.eq_ignore_ascii_case(split)))
    }) {
        return Ok(Layout::Table(file.clone()));
    }
    ensure!(
        tables.is_empty() || tables.iter().any(|path| path.ends_with("labels.csv")),
        "{}: several tables: {}; `{setting}` is to name one of them",
        path.display(),
        listed(&tables)
    );
    let inner = splits.iter().chain(&HUB_FOLDERS).map(|name| path.join(name)).find(|path| holds_shards(path));
    match inner {
        Some(folder) => look(&folder, splits, setting),
        None => Ok(Layout::Folder(path.to_owned())),
    }
}

/// The captioned samples of what is found at a path.
pub(crate) fn read_pairs(
    path: &Path,
    splits: &[&str],
    setting: &str,
    form: &Form,
    urls: bool,
) -> Result<Samples> {
    let name = path.display().to_string();
    match look(path, splits, setting)? {
        Layout::Shards(shards) => webdataset::read_shards(name, shards, Kind::Pairs, form, urls),
        Layout::Parquet(files) => hub_samples::read_files(name, files, Kind::Pairs),
        Layout::Table(file) => table::read_pairs(&file, form.images.as_deref()),
        Layout::Folder(folder) => bail!(
            "{}: no pairs there: expected tars (webdataset), Parquet files, or a CSV of image and caption; `{setting}` \
             says where they are, and `cleanbench data fetch` downloads them",
            folder.display()
        ),
    }
}

/// What is in a folder, by name, but for what systems and editors leave there: hidden names, and `__MACOSX`.
pub(crate) fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let left = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with('.') || name == "__MACOSX"
    };
    let named = || format!("cannot read the folder {}", folder.display());
    let read = std::fs::read_dir(folder).with_context(named)?;
    let mut paths =
        read.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>().with_context(named)?;
    paths.retain(|path| !left(path));
    paths.sort();
    Ok(paths)
}

/// The lower-case ending of a file's name.
pub(crate) fn extension(path: &Path) -> String {
    path.extension().map_or_else(String::new, |ending| ending.to_string_lossy().to_lowercase())
}

/// The first few names of these paths.
pub(crate) fn listed(paths: &[PathBuf]) -> String {
    let name =
        |path: &PathBuf| path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let names: Vec<String> = paths.iter().take(LISTED).map(name).collect();
    let more =
        if paths.len() > LISTED { format!(" and {} more", paths.len() - LISTED) } else { String::new() };
    names.join(", ") + &more
}

fn holds_shards(folder: &Path) -> bool {
    let shard = |path: &PathBuf| ["tar", "parquet"].contains(&extension(path).as_str());
    folder.is_dir() && entries(folder).is_ok_and(|paths| paths.iter().any(shard))
}

fn split_of(path: &Path) -> Option<&'static str> {
    let name = path.file_stem()?.to_string_lossy().to_lowercase();
    let mut words = name.split(|letter: char| !letter.is_ascii_alphanumeric());
    words.find_map(|word| SPLITS.into_iter().find(|split| *split == word))
}

/// The files of the first split that is there; all of them where their names say nothing of splits.
fn of_split(folder: &Path, files: Vec<PathBuf>, splits: &[&str]) -> Result<Vec<PathBuf>> {
    if files.iter().all(|path| split_of(path).is_none()) {
        return Ok(files);
    }
    let found = splits.iter().find(|split| files.iter().any(|path| split_of(path) == Some(**split)));
    let Some(split) = found else {
        bail!("{}: no files of {}; there are: {}", folder.display(), splits.join(" or "), listed(&files))
    };
    Ok(files.into_iter().filter(|path| split_of(path) == Some(*split)).collect())
}

/// The files that `a-{0000..0575}.tar` stands for, all of which must be there.
fn expand(pattern: &Path, setting: &str) -> Result<Vec<PathBuf>> {
    let text = pattern.to_string_lossy();
    let parts = text.split_once('{').and_then(|(before, rest)| {
        let (range, after) = rest.split_once('}')?;
        let (first, last) = range.split_once("..")?;
        Some((before, first.to_owned(), last.parse::<u32>().ok()?, after))
    });
    let Some((before, first, last, after)) = parts else {
        bail!("{setting}: {text:?} is no pattern such as {{00000..00331}}.tar")
    };
    let from: u32 = first.parse().with_context(|| format!("{setting}: {text:?}"))?;
    ensure!(from <= last && last - from < 65_536, "{setting}: {text:?} names no files, or over 65 536");
    let file = |number| PathBuf::from(format!("{before}{number:0width$}{after}", width = first.len()));
    let files: Vec<PathBuf> = (from..=last).map(file).collect();
    if let Some(missing) = files.iter().find(|path| !path.is_file()) {
        bail!(
            "{}: not there, but `{setting}` names it; name those that are, or their folder",
            missing.display()
        )
    }
    Ok(files)
}

//! `cleanbench data fetch`: known sources from the Hub into the folders where presets look.

pub mod catalogue;
mod receipt;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use base::Progress;
use rayon::prelude::*;

use crate::hub::{Hub, RemoteFile, link};
pub use catalogue::{Files, Source};
pub use receipt::Receipt;

/// What is wanted of a source.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// The source.
    pub source: &'a Source,
    /// A branch, tag or commit in place of the source's own.
    pub revision: Option<&'a str>,
    /// At most so many shards of each of its patterns, the first.
    pub limit: Option<usize>,
}

/// What will be fetched.
#[derive(Clone, Debug)]
pub struct Choice<'a> {
    source: &'a Source,
    /// The commit.
    pub commit: String,
    /// Its files, shards in the order of their numbers.
    pub files: Vec<Chosen>,
    /// Bytes that are not in the cache.
    pub missing: u64,
}

/// A file that will be fetched.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// On the Hub.
    pub file: RemoteFile,
    /// Where it goes, below the folder, with `/`.
    pub path: String,
}

impl Choice<'_> {
    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|chosen| chosen.file.size).sum()
    }
}

/// Looks up which files of a source are wanted.
pub fn choose<'a>(hub: &Hub, wanted: &Wanted<'a>) -> Result<Choice<'a>> {
    let source = wanted.source;
    let repository = source.repository();
    let online = || format!("run `cleanbench data fetch {}` once without HF_HUB_OFFLINE", source.name);
    let commit = hub.commit(repository, wanted.revision.unwrap_or(source.revision));
    let commit = if hub.is_offline() { commit.with_context(online)? } else { commit? };
    let mut listed = hub.files(repository, &commit)?;
    listed.sort_by_cached_key(|file| natural(&file.path));
    let mut files = Vec::new();
    for Files { pattern, into } in source.files {
        let matching = listed.iter().filter(|file| matches(pattern, &file.path));
        let limit = wanted.limit.filter(|_| pattern.contains('*')).unwrap_or(usize::MAX);
        files.extend(matching.take(limit).map(|file| {
            let name = file.path.rsplit('/').next().unwrap_or_default();
            let path = into.map_or_else(|| file.path.clone(), |folder| format!("{folder}/{name}"));
            Chosen { file: file.clone(), path }
        }));
    }
    if files.is_empty() && hub.is_offline() {
        bail!("nothing of {} at {commit} is in {}; {}", repository.name, hub.cache().display(), online());
    }
    let patterns = || source.files.iter().map(|files| files.pattern).collect::<Vec<_>>().join(", ");
    ensure!(!files.is_empty(), "{} at {commit} has no {}", repository.name, patterns());
    let mut counted = BTreeSet::new();
    let missing = files.iter().map(|chosen| &chosen.file).filter(|file| counted.insert(file.hash.name()));
    let missing = missing.map(|file| hub.missing(repository, &commit, file)).sum();
    Ok(Choice { source, commit, files, missing })
}

/// Fetches what was chosen into the Hub's cache and links it into `folder`, `jobs` (at least 1) files at a time, and
/// writes the receipt beside it. Asks first whether the disk has room.
pub fn fetch(
    hub: &Hub,
    choice: &Choice<'_>,
    folder: &Path,
    jobs: usize,
    progress: &Progress,
) -> Result<Receipt> {
    let (source, commit) = (choice.source, choice.commit.as_str());
    check_space(hub.cache(), choice.missing)?;
    let repository = source.repository();
    let fetch_one = |Chosen { file, path }: &Chosen| -> Result<receipt::Line> {
        let missing = hub.missing(repository, commit, file);
        let there = file.size - missing.min(file.size);
        let started = Instant::now();
        progress.begin(&file.path, missing as f64);
        let watch = |length: u64| {
            let come = length.saturating_sub(there) as f64;
            let speed = bytes((come / started.elapsed().as_secs_f64().max(1e-3)) as u64);
            let text = format!("{} of {}, {speed}/s", bytes(length), bytes(file.size));
            progress.advance(&file.path, come / missing.max(1) as f64, text);
        };
        let fetched = hub.download(repository, commit, file, &watch)?;
        progress.end(&file.path, fetched.cached, true);
        place(&fetched.path, &folder.join(path))?;
        let (repository_path, sha256) = (file.path.clone(), fetched.sha256);
        Ok(receipt::Line { path: path.clone(), repository_path, size: file.size, sha256 })
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs.max(1)).build()?;
    // A queue: files are begun in their order, and after a failure the others end with the file that they are at.
    let queue = choice.files.iter().enumerate().par_bridge();
    let lines: Result<Vec<_>> =
        pool.install(|| queue.map(|(index, chosen)| Ok((index, fetch_one(chosen)?))).collect());
    progress.clear();
    let mut lines = lines?;
    lines.sort_by_key(|(index, _)| *index);
    let files = lines.into_iter().map(|(_, line)| line).collect();
    let receipt = Receipt::new(source, commit, hub.endpoint(), files);
    receipt.write(folder)?;
    Ok(receipt)
}

/// An error where less than `needed` bytes are free where `folder` is or will be.
fn check_space(folder: &Path, needed: u64) -> Result<()> {
    let folder = std::path::absolute(folder)?;
    let there = folder.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let free = fs4::available_space(there).with_context(|| format!("cannot look at {}", there.display()))?;
    ensure!(
        needed <= free,
        "needs {}, {} are free in {}; HF_HOME puts the Hub's cache elsewhere, --limit N takes fewer shards",
        bytes(needed),
        bytes(free),
        folder.display()
    );
    Ok(())
}

/// Links a file of the cache to where it is wanted; what this program did not put there stays.
fn place(cached: &Path, path: &Path) -> Result<()> {
    let blob = cached.canonicalize().with_context(|| format!("cannot find {}", cached.display()))?;
    if let Ok(found) = path.symlink_metadata() {
        if found.is_symlink() && path.canonicalize().is_ok_and(|target| target == blob) {
            return Ok(());
        }
        let own = found.is_symlink() || (found.is_file() && found.len() == blob.metadata()?.len());
        ensure!(
            own,
            "{} is there and is another file; move it away, or fetch --to another folder",
            path.display()
        );
    }
    link(&blob, &blob, path)
}

/// Whether a path is one that a pattern means; `*` stands for any characters but `/`, and stands at most once.
fn matches(pattern: &str, path: &str) -> bool {
    let Some((start, end)) = pattern.split_once('*') else { return pattern == path };
    let Some(middle) = path.strip_prefix(start).and_then(|rest| rest.strip_suffix(end)) else { return false };
    !middle.contains('/')
}

/// A key that puts `2.tar` before `10.tar`.
fn natural(path: &str) -> Vec<(String, u64)> {
    let mut parts = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| letter.is_ascii_digit()).unwrap_or(rest.len());
        let (text, after) = rest.split_at(digits);
        let end = after.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(after.len());
        let (number, after) = after.split_at(end);
        parts.push((text.to_owned(), number.parse().unwrap_or(u64::MAX)));
        rest = after;
    }
    parts
}

/// Bytes as people read them, in powers of ten.
pub fn bytes(count: u64) -> String {
    let units = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= 1000.0;
        unit += 1;
    }
    if unit == 0 || value >= 10.0 {
        format!("{value:.0} {}", units[unit])
    } else {
        format!("{value:.1} {}", units[unit])
    }
}

/// Where a source goes when no folder is named: where the preset looks that reads it.
pub fn default_folder(source: &Source) -> PathBuf {
    Path::new("data").join(source.folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_taken_by_number_and_pattern() {
        let mut paths = ["test/10.tar", "test/2.tar", "test/nshards.txt", "test/deep/1.tar", "train/1.tar"];
        paths.sort_by_key(|path| natural(path));
        let taken: Vec<&str> = paths.into_iter().filter(|path| matches("test/*.tar", path)).collect();
        assert_eq!(taken, ["test/2.tar", "test/10.tar"]);
        assert!(
            matches("classnames.txt", "classnames.txt") && !matches("classnames.txt", "a/classnames.txt")
        );
    }

    #[test]
    fn bytes_are_read_by_people() {
        assert_eq!(
            [0, 999, 1000, 12_345, 999_600, 31_000_000_000].map(bytes),
            ["0 B", "999 B", "1.0 kB", "12 kB", "1.0 MB", "31 GB"]
        );
    }

    #[test]
    fn full_disks_are_known_before() {
        let folder = tempfile::tempdir().unwrap();
        let below = folder.path().join("not/yet/there");
        check_space(&below, 1).unwrap();
        let error = check_space(&below, u64::MAX).unwrap_err().to_string();
        assert!(error.contains("are free in") && error.contains("HF_HOME"), "{error}");
    }
}

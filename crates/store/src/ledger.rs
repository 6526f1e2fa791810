//! The list of a store's entries.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use base::Build;
use serde_json::Value;

use crate::entries::{ENTRY, EntryFile, LOCKS, PARTIAL, Store, TEMPORARY, children, name_of, remove_folder};

/// An entry of a store, as its `entry.json` describes it; its files are not looked at.
pub struct StoredEntry {
    /// The stage.
    pub stage: String,
    /// The key's hash.
    pub hash: String,
    /// All that decided the result.
    pub description: Value,
    /// Bytes of its files.
    pub bytes: u64,
    /// Seconds that it took to make.
    pub seconds: f64,
    /// Floating-point operations of its work; `None` for entries of earlier versions.
    pub work: Option<f64>,
    /// Time since it was made.
    pub age: Duration,
    /// The program that made it; `None` for those of older ones.
    pub made_by: Option<Build>,
    pub(crate) folder: PathBuf,
}

/// An entry that is not what it says.
pub struct Damage {
    /// Its folder.
    pub folder: PathBuf,
    /// What is wrong.
    pub problem: String,
}

impl Store {
    /// Every entry, by stage and hash, and those whose description cannot be read.
    pub fn entries(&self) -> Result<(Vec<StoredEntry>, Vec<Damage>)> {
        let (mut entries, mut damaged) = (Vec::new(), Vec::new());
        for stage in children(&self.root)? {
            if [LOCKS, PARTIAL, TEMPORARY].contains(&&*name_of(&stage)) || !stage.is_dir() {
                continue;
            }
            for folder in children(&stage)? {
                match EntryFile::read(&folder) {
                    Err(error) => damaged.push(Damage { folder, problem: format!("{error:#}") }),
                    Ok(EntryFile { key: description, seconds, work, made_by, .. }) => {
                        entries.push(StoredEntry {
                            stage: name_of(&stage),
                            hash: name_of(&folder),
                            description,
                            bytes: bytes_of(&folder),
                            seconds,
                            work,
                            made_by,
                            age: age_of(&folder.join(ENTRY)),
                            folder,
                        })
                    }
                }
            }
        }
        Ok((entries, damaged))
    }

    /// The entry whose hash begins with `start`.
    pub fn entry(&self, start: &str) -> Result<StoredEntry> {
        let (entries, _) = self.entries()?;
        let mut found = entries.into_iter().filter(|entry| entry.hash.starts_with(start));
        match (found.next(), found.next()) {
            (Some(entry), None) => Ok(entry),
            (None, _) => {
                let store = self.root.display();
                bail!("{store}: no key begins with {start:?}; `cleanbench store list` has them")
            }
            (Some(a), Some(b)) => bail!("{start:?} begins {} and {}; give more of it", a.hash, b.hash),
        }
    }

    /// Checks every file of every entry against its hash; `looked` is called after each entry.
    pub fn verify(&self, mut looked: impl FnMut(usize, usize)) -> Result<Vec<Damage>> {
        let (entries, mut damaged) = self.entries()?;
        for (index, entry) in entries.iter().enumerate() {
            if let Err(problem) = Self::check(&entry.folder, &entry.hash) {
                damaged.push(Damage { folder: entry.folder.clone(), problem: format!("{problem:#}") });
            }
            looked(index + 1, entries.len());
        }
        Ok(damaged)
    }

    /// Removes damaged entries; refuses while a run uses the store.
    pub fn remove_damaged(&self, damaged: &[Damage]) -> Result<()> {
        let _lock = self.lock_all()?;
        damaged.iter().try_for_each(|damage| remove_folder(&damage.folder))
    }
}

/// Bytes of all files in a folder and below.
pub(crate) fn bytes_of(path: &Path) -> u64 {
    match path.symlink_metadata() {
        Ok(file) if file.is_dir() => children(path).iter().flatten().map(|child| bytes_of(child)).sum(),
        file => file.map_or(0, |file| file.len()),
    }
}

/// Time since a file or folder was changed; none where that is not known.
pub(crate) fn age_of(path: &Path) -> Duration {
    let changed = path.metadata().and_then(|file| file.modified()).ok();
    changed.and_then(|changed| SystemTime::now().duration_since(changed).ok()).unwrap_or_default()
}

/// Reads `30d`, `12h`, `45m` or `90s`.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let units = [('s', 1), ('m', 60), ('h', 3600), ('d', 86400)];
    let seconds = units.into_iter().find_map(|(unit, seconds)| {
        let count = text.strip_suffix(unit)?.parse::<u64>().ok()?;
        count.checked_mul(seconds)
    });
    let seconds =
        seconds.with_context(|| format!("{text:?} is not a length of time; write 30d, 12h, 45m or 90s"))?;
    Ok(Duration::from_secs(seconds))
}

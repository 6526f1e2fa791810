//! The content-addressed store: what a stage made, under the hash of all that decided it.
//!
//! `<root>/<stage>/<key>/` holds a stage's files and `entry.json`, which describes the key in full and gives the
//! hash of each file. An entry appears whole or not at all (written aside, synced, renamed) and is checked whenever
//! it is read. A lock per key, released by the operating system when its owner dies, lets several processes share a
//! store. `<root>/partial/<key>/` holds the snapshots of a stage that is not done.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Raised whenever stored bytes would no longer be read in the same way.
const FORMAT: u32 = 1;
const ENTRY: &str = "entry.json";

/// The address of what a stage makes: its name and everything that decides its result.
#[derive(Clone, Debug)]
pub struct Key {
    stage: &'static str,
    description: Value,
    hash: String,
}

impl Key {
    /// The key of `stage` (its code in `version`) for these inputs, computed on a device of this class: another one
    /// rounds differently.
    pub fn new(stage: &'static str, version: u32, device: &str, inputs: Value) -> Self {
        let description = serde_json::json!({
            "format": FORMAT, "stage": stage, "version": version, "dtype": "f32", "device": device, "inputs": inputs,
        });
        // Keys of JSON objects are sorted, so that equal descriptions are equal bytes.
        let hash = blake3::hash(description.to_string().as_bytes()).to_hex()[..32].to_owned();
        Self { stage, description, hash }
    }

    /// The hash, 32 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }
}

#[derive(Serialize, Deserialize)]
struct EntryFile {
    key: Value,
    files: BTreeMap<String, String>,
    /// What it took, for predictions; not part of the result.
    seconds: f64,
}

/// A store in a folder.
pub struct Store {
    root: PathBuf,
}

/// What looking for an entry found.
pub enum Found {
    /// A whole entry: its folder.
    Whole(PathBuf),
    /// None.
    Nothing,
    /// One that does not match its hashes, which has been removed; says what was wrong.
    Damaged(String),
}

/// The right to make an entry; others wait until it is dropped.
pub struct Lock {
    /// The lock ends with the file handle.
    _file: File,
}

impl Store {
    /// A store to look into; makes nothing.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// Opens or makes a store.
    pub fn open(root: &Path) -> Result<Self> {
        for folder in ["locks", "partial", "temporary"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).with_context(|| {
                format!("cannot make the store's folder {}; choose another with --store", folder.display())
            })?;
        }
        Ok(Self::at(root))
    }

    /// What the entry of `key` took to make; `None` where there is none.
    pub fn seconds(&self, key: &Key) -> Option<f64> {
        let text = fs::read(self.folder(key).join(ENTRY)).ok()?;
        serde_json::from_slice::<EntryFile>(&text).ok().map(|entry| entry.seconds)
    }

    /// Where the entry of `key` lies, if there is one.
    pub(crate) fn folder(&self, key: &Key) -> PathBuf {
        self.root.join(key.stage).join(&key.hash)
    }

    /// Whether there is an entry, unchecked.
    pub fn has(&self, key: &Key) -> bool {
        self.folder(key).join(ENTRY).is_file()
    }

    /// Looks for an entry and checks every file of it.
    pub fn find(&self, key: &Key) -> Result<Found> {
        let folder = self.folder(key);
        if !folder.exists() {
            return Ok(Found::Nothing);
        }
        match Self::check(&folder, key) {
            Ok(()) => Ok(Found::Whole(folder)),
            Err(problem) => {
                fs::remove_dir_all(&folder)
                    .with_context(|| format!("cannot remove the damaged entry {}", folder.display()))?;
                Ok(Found::Damaged(format!("{problem:#}")))
            }
        }
    }

    fn check(folder: &Path, key: &Key) -> Result<()> {
        let path = folder.join(ENTRY);
        let text = fs::read(&path).with_context(|| format!("{}", path.display()))?;
        let entry: EntryFile =
            serde_json::from_slice(&text).with_context(|| format!("{}", path.display()))?;
        if entry.key != key.description {
            bail!("{}: describes another key", path.display());
        }
        for (name, expected) in &entry.files {
            let path = folder.join(name);
            if hash_file(&path)? != *expected {
                bail!("{}: its bytes have changed", path.display());
            }
        }
        Ok(())
    }

    /// Waits for the right to make the entry of `key`; `waiting` is called once if another process has it.
    pub fn lock(&self, key: &Key, waiting: impl FnOnce()) -> Result<Lock> {
        let path = self.root.join("locks").join(&key.hash);
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .with_context(|| format!("cannot open {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                waiting();
                file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        Ok(Lock { _file: file })
    }

    /// Where a stage that is not done keeps its snapshots.
    pub fn partial(&self, key: &Key) -> Result<PathBuf> {
        let folder = self.root.join("partial").join(&key.hash);
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Makes an entry: `fill` writes files into a folder that then takes its place and is returned; the partial one goes.
    pub fn put(&self, key: &Key, seconds: f64, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
        let temporary = tempfile::Builder::new()
            .prefix(&key.hash)
            .tempdir_in(self.root.join("temporary"))
            .with_context(|| format!("cannot write to the store {}", self.root.display()))?;
        fill(temporary.path())?;
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(temporary.path())? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            File::open(&path)?.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
            files.insert(name, hash_file(&path)?);
        }
        let entry = EntryFile { key: key.description.clone(), files, seconds };
        let path = temporary.path().join(ENTRY);
        let mut file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        file.write_all(serde_json::to_string_pretty(&entry)?.as_bytes())
            .and_then(|()| file.sync_all())
            .with_context(|| format!("cannot write {}", path.display()))?;
        let folder = self.folder(key);
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        }
        fs::rename(temporary.keep(), &folder)
            .with_context(|| format!("cannot move into {}", folder.display()))?;
        let partial = self.root.join("partial").join(&key.hash);
        if partial.exists() {
            fs::remove_dir_all(&partial).with_context(|| format!("cannot remove {}", partial.display()))?;
        }
        Ok(folder)
    }
}

fn hash_file(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let mut file = File::open(path).with_context(|| format!("{}", path.display()))?;
    std::io::copy(&mut file, &mut hasher).with_context(|| format!("{}", path.display()))?;
    Ok(hasher.finalize().to_hex().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(number: u32) -> Key {
        Key::new("test", 1, "cpu", json!({ "number": number }))
    }

    fn put(store: &Store, number: u32) -> Result<PathBuf> {
        store.put(&key(number), 1.0, |folder| Ok(fs::write(folder.join("value"), format!("{number}"))?))
    }

    #[test]
    fn what_is_put_is_found_and_damage_is_noticed() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        assert!(matches!(store.find(&key(1))?, Found::Nothing));
        put(&store, 1)?;
        let Found::Whole(folder_of_one) = store.find(&key(1))? else { panic!("not found") };
        assert_eq!(fs::read_to_string(folder_of_one.join("value"))?, "1");
        assert!(matches!(store.find(&key(2))?, Found::Nothing));
        fs::write(folder_of_one.join("value"), "2")?;
        let Found::Damaged(problem) = store.find(&key(1))? else { panic!("damage not noticed") };
        assert!(problem.contains("value"), "{problem}");
        assert!(matches!(store.find(&key(1))?, Found::Nothing));
        Ok(())
    }

    #[test]
    fn a_failed_stage_leaves_nothing() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        assert!(store.put(&key(1), 1.0, |_| bail!("no")).is_err());
        assert!(matches!(store.find(&key(1))?, Found::Nothing));
        assert_eq!(fs::read_dir(folder.path().join("temporary"))?.count(), 0);
        Ok(())
    }

    #[test]
    fn one_owner_at_a_time() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        let first = store.lock(&key(1), || panic!("nobody has it"))?;
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let waited = sender.clone();
                let _second = store.lock(&key(1), move || waited.send("waits").unwrap_or_default());
                sender.send("has it").unwrap_or_default();
            });
            assert_eq!(receiver.recv().ok(), Some("waits"));
            drop(first);
            assert_eq!(receiver.recv().ok(), Some("has it"));
        });
        Ok(())
    }
}

//! Entries on disk: written aside, synced, renamed, checked whenever they are read.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use base::{Build, hash_file};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::key::{Key, hash_of};

pub(crate) const ENTRY: &str = "entry.json";
pub(crate) const LOCKS: &str = "locks";
pub(crate) const PARTIAL: &str = "partial";
pub(crate) const TEMPORARY: &str = "temporary";
/// What to do where nothing can be written.
pub const REMEDY: &str = "make room or choose another with --store";
/// The lock that runs share.
const IN_USE: &str = "in-use";

#[derive(Serialize, Deserialize)]
pub(crate) struct EntryFile {
    pub(crate) key: Value,
    files: BTreeMap<String, String>,
    /// What it took, for predictions; not part of the result.
    pub(crate) seconds: f64,
    /// Floating-point operations of its work; entries of earlier versions do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) work: Option<f64>,
    /// The program that made it; entries of older ones do not say.
    #[serde(default)]
    pub(crate) made_by: Option<Build>,
}

impl EntryFile {
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(ENTRY);
        let text = fs::read(&path).with_context(|| path.display().to_string())?;
        serde_json::from_slice(&text).with_context(|| path.display().to_string())
    }
}

/// A store in a folder.
pub struct Store {
    pub(crate) root: PathBuf,
    /// Why nothing can be written into it, where that is so.
    unwritable: Option<String>,
    /// Held while entries may be read, so that nobody prunes them.
    _in_use: Option<Lock>,
}

/// The result of looking for an entry.
pub enum Lookup {
    /// A whole entry: its folder.
    Whole(PathBuf),
    /// None.
    Nothing,
    /// One that does not match its hashes; says what is wrong.
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
        Self { root: root.to_owned(), unwritable: None, _in_use: None }
    }

    /// Opens or makes a store; waits where another process is removing entries of it. One that is there and belongs to
    /// another user, or lies on a disk that is mounted read-only, is opened to be read.
    pub fn open(root: &Path) -> Result<Self> {
        match Self::open_to_write(root) {
            Err(error) if root.is_dir() && is_forbidden(&error) => {
                let in_use = File::open(root.join(LOCKS).join(IN_USE));
                let in_use = in_use.and_then(|file| file.lock_shared().map(|()| Lock { _file: file })).ok();
                let unwritable = Some(error.root_cause().to_string());
                Ok(Self { root: root.to_owned(), unwritable, _in_use: in_use })
            }
            opened => opened,
        }
    }

    /// Why nothing can be written into it; `None` where it was opened to be written.
    pub fn unwritable(&self) -> Option<&str> {
        self.unwritable.as_deref()
    }

    fn open_to_write(root: &Path) -> Result<Self> {
        for folder in [LOCKS, PARTIAL, TEMPORARY] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).with_context(|| {
                format!("cannot make the store's folder {}; choose another with --store", folder.display())
            })?;
        }
        let store = Self::at(root);
        let lock = store.lock_file(IN_USE, |file| file.lock_shared())?;
        Ok(Self { _in_use: Some(lock), ..store })
    }

    /// Opens a file of locks and locks it.
    fn lock_file(&self, name: &str, lock: impl FnOnce(&File) -> io::Result<()>) -> Result<Lock> {
        let path = self.root.join(LOCKS).join(name);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.with_context(|| format!("cannot open {}; {REMEDY}", path.display()))?;
        lock(&file).with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Lock { _file: file })
    }

    /// What an entry took to make, in seconds, and the build that made it; `None` where there is none.
    pub fn made(&self, stage: &str, hash: &str) -> Option<(f64, Build)> {
        let entry = EntryFile::read(&self.root.join(stage).join(hash)).ok()?;
        Some((entry.seconds, entry.made_by.unwrap_or_else(Build::unknown)))
    }

    /// Where the entry of `key` lies, if there is one.
    pub fn folder(&self, key: &Key) -> PathBuf {
        self.root.join(key.stage()).join(key.hash())
    }

    /// Whether there is an entry, unchecked.
    pub fn has(&self, key: &Key) -> bool {
        self.folder(key).join(ENTRY).is_file()
    }

    /// Looks for an entry and checks every file of it.
    pub fn find(&self, key: &Key) -> Result<Lookup> {
        let folder = self.folder(key);
        if !folder.exists() {
            return Ok(Lookup::Nothing);
        }
        match Self::check(&folder, key.hash()) {
            Ok(()) => Ok(Lookup::Whole(folder)),
            Err(problem) => Ok(Lookup::Damaged(format!("{problem:#}"))),
        }
    }

    /// Removes the damaged entry of a key that is locked.
    pub fn remove(&self, key: &Key, _lock: &Lock) -> Result<()> {
        remove_folder(&self.folder(key))
    }

    /// Whether the entry in `folder` is the one with this hash, and whole.
    pub(crate) fn check(folder: &Path, hash: &str) -> Result<()> {
        let (path, entry) = (folder.join(ENTRY), EntryFile::read(folder)?);
        if hash_of(&entry.key) != hash {
            bail!("{}: describes another key", path.display());
        }
        for (name, expected) in &entry.files {
            let path = folder.join(name);
            if hash_file(&path).with_context(|| format!("{}", path.display()))? != *expected {
                bail!("{}: its bytes have changed", path.display());
            }
        }
        Ok(())
    }

    /// Waits for the right to make the entry of `key`; `waiting` is called once if another process has it. An error
    /// where the store cannot be written.
    pub fn lock(&self, key: &Key, waiting: impl FnOnce()) -> Result<Lock> {
        if let Some(why) = &self.unwritable {
            let store = self.root.display();
            bail!("not in the store {store}, which cannot be written ({why}); choose another with --store");
        }
        self.lock_file(key.hash(), |file| match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                waiting();
                file.lock()
            }
            locked => Ok(locked?),
        })
    }

    /// The right to remove anything; runs wait until it is dropped.
    pub(crate) fn lock_all(&self) -> Result<Lock> {
        let mut is_used = false;
        let lock = self.lock_file(IN_USE, |file| match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                is_used = true;
                Ok(())
            }
            locked => Ok(locked?),
        })?;
        let store = self.root.display();
        ensure!(!is_used, "a run uses the store {store}; nothing was removed; try again when it is done");
        Ok(lock)
    }

    /// Where a stage that is not done keeps its snapshots.
    pub fn partial(&self, key: &Key) -> Result<PathBuf> {
        let folder = self.root.join(PARTIAL).join(key.hash());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}; {REMEDY}", folder.display()))?;
        Ok(folder)
    }

    /// Makes an entry: `fill` writes files into a folder that then takes its place and is returned; the partial one goes.
    /// The key must be locked.
    pub fn put(
        &self,
        key: &Key,
        seconds: f64,
        work: f64,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        self.clear_temporary(key.hash())?;
        let problem = || format!("cannot write to the store {}; {REMEDY}", self.root.display());
        let temporary = tempfile::Builder::new().prefix(key.hash()).tempdir_in(self.root.join(TEMPORARY));
        let temporary = temporary.with_context(problem)?;
        let filled = fill(temporary.path()).and_then(|()| describe(key, seconds, work, temporary.path()));
        filled.with_context(problem)?;
        let folder = self.folder(key);
        if let Some(parent) = folder.parent() {
            fs::create_dir_all(parent)
                .with_context(|| format!("cannot make {}; {REMEDY}", parent.display()))?;
        }
        fs::rename(temporary.path(), &folder)
            .with_context(|| format!("cannot move into {}", folder.display()))?;
        let _moved = temporary.keep();
        self.remove_partial(key)?;
        Ok(folder)
    }

    /// Removes the snapshots of a stage whose entry is there.
    pub fn remove_partial(&self, key: &Key) -> Result<()> {
        if self.unwritable.is_some() {
            return Ok(());
        }
        remove_folder(&self.root.join(PARTIAL).join(key.hash()))
    }

    /// Removes what processes that died left of the locked key `hash`.
    fn clear_temporary(&self, hash: &str) -> Result<()> {
        for entry in children(&self.root.join(TEMPORARY))? {
            if name_of(&entry).starts_with(hash) {
                remove_folder(&entry)?;
            }
        }
        Ok(())
    }
}

/// Whether it is not allowed to write, in contrast to what more room would mend.
fn is_forbidden(error: &anyhow::Error) -> bool {
    let kind = error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem))
}

/// Syncs the files of an entry, and writes what describes them.
fn describe(key: &Key, seconds: f64, work: f64, folder: &Path) -> Result<()> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        File::open(&path)?.sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
        let hash = hash_file(&path).with_context(|| format!("{}", path.display()))?;
        files.insert(name_of(&path), hash);
    }
    let (key, made_by) = (key.description().clone(), Some(Build::this().clone()));
    let entry = EntryFile { key, files, seconds, work: Some(work), made_by };
    let (path, text) = (folder.join(ENTRY), serde_json::to_string_pretty(&entry)?);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// Removes a folder, if it is there.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// What lies in a folder, sorted; nothing where there is none.
pub(crate) fn children(folder: &Path) -> Result<Vec<PathBuf>> {
    let named = || format!("cannot read {}", folder.display());
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(named)?,
    };
    let found = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut found = found.with_context(named)?;
    found.sort();
    Ok(found)
}

pub(crate) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(number: u32) -> Key {
        Key::new("test", 1, "cpu", json!({ "number": number }))
    }

    fn put(store: &Store, number: u32) -> Result<PathBuf> {
        store.put(&key(number), 1.0, 1.0, |folder| Ok(fs::write(folder.join("value"), format!("{number}"))?))
    }

    #[test]
    fn what_is_put_is_found_and_damage_is_noticed() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        assert!(matches!(store.find(&key(1))?, Lookup::Nothing));
        put(&store, 1)?;
        let Lookup::Whole(folder_of_one) = store.find(&key(1))? else { panic!("not found") };
        assert_eq!(fs::read_to_string(folder_of_one.join("value"))?, "1");
        assert!(matches!(store.find(&key(2))?, Lookup::Nothing));
        fs::write(folder_of_one.join("value"), "2")?;
        let Lookup::Damaged(problem) = store.find(&key(1))? else { panic!("damage not noticed") };
        assert!(problem.contains("value"), "{problem}");
        store.remove(&key(1), &store.lock(&key(1), || ())?)?;
        assert!(matches!(store.find(&key(1))?, Lookup::Nothing));
        Ok(())
    }

    #[test]
    fn a_failed_stage_leaves_nothing() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let store = Store::open(folder.path())?;
        assert!(store.put(&key(1), 1.0, 1.0, |_| bail!("no")).is_err());
        assert!(matches!(store.find(&key(1))?, Lookup::Nothing));
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

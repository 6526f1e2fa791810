//! The Hub's cache on disk, as `huggingface_hub` lays it out: `blobs/HASH`, `snapshots/COMMIT/PATH` pointing at them,
//! `refs/BRANCH` holding commits, and locks aside.

use std::fs::{self, File};
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{Hash, RemoteFile, Repository};

/// Refuses a path that is not below the folder it is joined to.
pub(super) fn check_path(path: &str) -> Result<()> {
    let below = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    ensure!(below && !path.is_empty() && !path.contains('\\'), "{path:?} leads out of the repository");
    Ok(())
}

fn folder_name(repository: Repository<'_>) -> String {
    format!("{}--{}", repository.kind.plural(), repository.name.replace('/', "--"))
}

/// Where a file of a commit is kept.
pub(super) struct Place {
    /// The bytes, named by their hash.
    pub(super) blob: PathBuf,
    /// What is there of them until they are complete.
    pub(super) incomplete: PathBuf,
    /// Where the commit shows it.
    pub(super) pointer: PathBuf,
    lock: PathBuf,
}

impl Place {
    pub(super) fn new(cache: &Path, repository: Repository<'_>, commit: &str, file: &RemoteFile) -> Self {
        let folder = cache.join(folder_name(repository));
        let hash = file.hash.name();
        Self {
            blob: folder.join("blobs").join(hash),
            incomplete: folder.join("blobs").join(format!("{hash}.incomplete")),
            pointer: folder.join("snapshots").join(commit).join(&file.path),
            lock: cache.join(".locks").join(folder_name(repository)).join(format!("{hash}.lock")),
        }
    }

    /// Whether the whole file is there. Large files were checked when they were written and are told by their size.
    pub(super) fn holds(&self, file: &RemoteFile) -> bool {
        fs::metadata(&self.pointer).is_ok_and(|found| found.len() == file.size)
    }

    /// Keeps other processes from the file until what is returned is dropped; they wait.
    pub(super) fn lock(&self) -> Result<File> {
        for path in [&self.lock, &self.blob, &self.pointer] {
            create_parent(path)?;
        }
        let named = || format!("cannot lock {}", self.lock.display());
        let lock = File::options().create(true).append(true).open(&self.lock).with_context(named)?;
        lock.lock().with_context(named)?;
        Ok(lock)
    }

    /// Shows the blob in the commit.
    pub(super) fn point(&self) -> Result<()> {
        let folders = self.pointer.components().count() - self.blob.components().count();
        let mut relative: PathBuf = std::iter::repeat_n("..", folders + 1).collect();
        relative.push("blobs");
        relative.push(self.blob.file_name().context("a blob has a name")?);
        link(&relative, &self.blob, &self.pointer)
    }
}

fn create_parent(path: &Path) -> Result<()> {
    let folder = path.parent().context("a path below the cache")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Puts a symbolic link to `target` at `path`, or where that cannot be, a hard link or a copy of `file`. What was at
/// `path` is replaced in one step.
pub(crate) fn link(target: &Path, file: &Path, path: &Path) -> Result<()> {
    create_parent(path)?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.new", std::process::id()));
    let aside = PathBuf::from(aside);
    let _ = fs::remove_file(&aside);
    std::os::unix::fs::symlink(target, &aside)
        .or_else(|_| fs::hard_link(file, &aside))
        .or_else(|_| fs::copy(file, &aside).map(|_| ()))
        .and_then(|()| fs::rename(&aside, path))
        .with_context(|| format!("cannot link {} to {}", path.display(), file.display()))
}

/// The file that holds what a branch stood for.
pub(super) struct Reference(PathBuf);

impl Reference {
    pub(super) fn new(cache: &Path, repository: Repository<'_>, revision: &str) -> Result<Self> {
        check_path(revision)?;
        Ok(Self(cache.join(folder_name(repository)).join("refs").join(revision)))
    }

    pub(super) fn read(&self) -> Option<String> {
        let commit = fs::read_to_string(&self.0).ok()?;
        Some(commit.trim().to_owned()).filter(|commit| super::is_commit(commit))
    }

    pub(super) fn write(&self, commit: &str) -> Result<()> {
        create_parent(&self.0)?;
        fs::write(&self.0, commit).with_context(|| format!("cannot write {}", self.0.display()))
    }
}

/// The files of a commit that are in the cache; their hashes are what their blobs are called.
pub(super) fn files(cache: &Path, repository: Repository<'_>, commit: &str) -> Result<Vec<RemoteFile>> {
    let root = cache.join(folder_name(repository)).join("snapshots").join(commit);
    let mut files = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let (Ok(found), Ok(blob)) = (fs::metadata(&path), fs::canonicalize(&path)) else { continue };
            let name = blob.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let hash = match name.len() {
                64 => Hash::Sha256(name),
                40 => Hash::GitBlob(name),
                _ => continue,
            };
            let below: Vec<_> = path.strip_prefix(&root)?.iter().map(|part| part.to_string_lossy()).collect();
            files.push(RemoteFile { path: below.join("/"), size: found.len(), hash });
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

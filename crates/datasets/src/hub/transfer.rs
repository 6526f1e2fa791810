//! One file from the Hub into the cache: from where it stopped, checked, and only then shown.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use futures_util::StreamExt;
use hf_hub::RepoTypeAny;
use sha2::{Digest, Sha256};

use super::cache::Place;
use super::failure::Failure;
use super::{Hash, Hub, Kind, RemoteFile, Repository};

/// A file in the cache.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Where the commit shows it.
    pub path: PathBuf,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// Whether it was there already.
    pub cached: bool,
}

impl Hub {
    /// Whether a whole file is in the cache.
    pub fn holds(&self, repository: Repository<'_>, commit: &str, file: &RemoteFile) -> bool {
        Place::new(self.cache(), repository, commit, file).holds(file)
    }

    /// Bytes of a file that must still come.
    pub fn missing(&self, repository: Repository<'_>, commit: &str, file: &RemoteFile) -> u64 {
        let place = Place::new(self.cache(), repository, commit, file);
        let length = |path| std::fs::metadata(path).map_or(0, |found| found.len());
        if place.holds(file) || length(&place.blob) == file.size {
            return 0;
        }
        file.size.saturating_sub(length(&place.incomplete))
    }

    /// A file of a commit, downloaded unless it is in the cache. `watch` is told how many bytes are there, now and then.
    /// Another process that wants the same file waits and then finds it.
    ///
    /// An error where the Hub cannot be reached, does not give the file, or gives bytes with another hash; those are
    /// deleted.
    pub fn download(
        &self,
        repository: Repository<'_>,
        commit: &str,
        file: &RemoteFile,
        watch: &dyn Fn(u64),
    ) -> Result<Fetched> {
        let place = Place::new(self.cache(), repository, commit, file);
        let fetched = |sha256, cached| Ok(Fetched { path: place.pointer.clone(), sha256, cached });
        if self.offline {
            let name = &file.path;
            ensure!(
                place.holds(file),
                "HF_HUB_OFFLINE is set and {name} is not in {}",
                self.cache().display()
            );
            return fetched(place.sha256(file)?, true);
        }
        let _lock = place.lock()?;
        let cached = place.sha256(file);
        if cached.is_err() {
            Transfer { hub: self, repository, commit, file, watch }.complete(&place)?;
            std::fs::rename(&place.incomplete, &place.blob)
                .with_context(|| format!("cannot write {}", place.blob.display()))?;
        }
        place.point()?;
        fetched(place.sha256(file)?, cached.is_ok())
    }
}

/// A file that is being downloaded.
struct Transfer<'a> {
    hub: &'a Hub,
    repository: Repository<'a>,
    commit: &'a str,
    file: &'a RemoteFile,
    watch: &'a dyn Fn(u64),
}

impl Transfer<'_> {
    /// Makes the incomplete file complete and right.
    fn complete(&self, place: &Place) -> Result<()> {
        let mut partial = Partial::open(&place.incomplete, self.file)?;
        // What an earlier run left may be bad, so one more try is due to it.
        let resumed = partial.length > 0;
        self.receive(&mut partial)?;
        let mut checked = partial.check(self.file);
        if checked.is_err() && resumed {
            partial.restart()?;
            self.receive(&mut partial)?;
            checked = partial.check(self.file);
        }
        checked.or_else(|wrong| {
            std::fs::remove_file(&place.incomplete)?;
            Err(wrong.context(format!("{} came wrong and was deleted", self.file.path)))
        })
    }

    /// Receives bytes until all are there; failures in a row count, and each new byte sets the count back.
    fn receive(&self, partial: &mut Partial) -> Result<()> {
        let mut failures = 0;
        while partial.length < self.file.size {
            let before = partial.length;
            let Err(failure) = self.hub.runtime.block_on(self.receive_once(partial)) else { continue };
            failures = if partial.length > before { 1 } else { failures + 1 };
            let waited = self.hub.wait_after(failure, failures);
            waited.with_context(|| format!("cannot fetch {}", self.file.path))?;
        }
        Ok(())
    }

    /// Receives what one answer gives.
    async fn receive_once(&self, partial: &mut Partial) -> Result<(), Failure> {
        let Self { hub, repository, file, .. } = *self;
        let (owner, name) = hf_hub::split_id(repository.name);
        let kind = match repository.kind {
            Kind::Dataset => RepoTypeAny::Dataset,
            Kind::Model => RepoTypeAny::Model,
        };
        let remote = hub.client.repository(kind, owner, name);
        let range = (partial.length > 0).then_some(partial.length..file.size);
        let request = remote.download_file_stream().filename(&file.path).revision(self.commit);
        let answer = request.maybe_range(range).send().await;
        let (_, mut stream) = answer.map_err(|error| Failure::of(error, repository, hub.endpoint()))?;
        let timeout = hub.patience.timeout;
        loop {
            let chunk = match tokio::time::timeout(timeout, stream.next()).await {
                Err(_) => {
                    return Err(Failure::passing(format!("no byte within {} s", timeout.as_secs_f64())));
                }
                Ok(None) => break,
                // In the middle of a file every failure is a cut.
                Ok(Some(chunk)) => chunk.map_err(|error| Failure::passing(base::describe(&error.into())))?,
            };
            if partial.length == 0 && is_page(&chunk) && !file.path.ends_with(".html") {
                return Err(Failure::Final(anyhow!(
                    "{} answers with a web page in place of the file: is a login page or a proxy in between?",
                    hub.endpoint()
                )));
            }
            // A server that does not know ranges begins again.
            if partial.length + chunk.len() as u64 > file.size {
                partial.restart().map_err(Failure::Final)?;
                return Err(Failure::passing(format!("more than the {} bytes of the file", file.size)));
            }
            partial.write(&chunk).map_err(Failure::Final)?;
            (self.watch)(partial.length);
        }
        if partial.length < file.size {
            return Err(Failure::passing(format!("cut off after {} of {} bytes", partial.length, file.size)));
        }
        Ok(())
    }
}

impl Place {
    /// SHA-256 of the blob; an error where it is not there or not right. Of a large file, which was checked when it was
    /// written, the size alone is looked at.
    fn sha256(&self, file: &RemoteFile) -> Result<String> {
        let length = std::fs::metadata(&self.blob)?.len();
        ensure!(length == file.size, "{}: {length} bytes in place of {}", self.blob.display(), file.size);
        if let Hash::Sha256(hash) = &file.hash {
            return Ok(hash.clone());
        }
        let partial = Partial::open(&self.blob, file)?;
        partial.check(file)?;
        Ok(partial.sha256())
    }
}

fn is_page(bytes: &[u8]) -> bool {
    let start = String::from_utf8_lossy(&bytes[..bytes.len().min(64)]).trim_start().to_lowercase();
    start.starts_with("<!doctype html") || start.starts_with("<html")
}

/// The first bytes of a file, and their hashes so far.
struct Partial {
    file: File,
    path: PathBuf,
    length: u64,
    size: u64,
    sha256: Sha256,
    /// Of a small file, what git takes too.
    git_blob: Option<sha1::Sha1>,
}

impl Partial {
    /// What is at `path` of a file, or nothing.
    fn open(path: &Path, file: &RemoteFile) -> Result<Self> {
        let is_small = matches!(file.hash, Hash::GitBlob(_));
        let named = || format!("cannot open {}", path.display());
        let options = File::options().create(true).truncate(false).read(true).write(true).open(path);
        let mut partial = Self {
            file: options.with_context(named)?,
            path: path.to_owned(),
            length: 0,
            size: file.size,
            sha256: Sha256::new(),
            git_blob: is_small.then(|| git_blob(file.size)),
        };
        if partial.file.metadata().with_context(named)?.len() > file.size {
            partial.restart()?;
        }
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = partial.file.read(&mut buffer).with_context(named)?;
            if count == 0 {
                return Ok(partial);
            }
            partial.count(&buffer[..count]);
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(hash) = &mut self.git_blob {
            hash.update(bytes);
        }
        self.length += bytes.len() as u64;
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).with_context(|| format!("cannot write {}", self.path.display()))?;
        self.count(bytes);
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.rewind());
        emptied.with_context(|| format!("cannot empty {}", self.path.display()))?;
        (self.length, self.sha256) = (0, Sha256::new());
        self.git_blob = self.git_blob.take().map(|_| git_blob(self.size));
        Ok(())
    }

    fn sha256(&self) -> String {
        hexadecimal(&self.sha256.clone().finalize())
    }

    /// Whether these are all bytes and the right ones.
    fn check(&self, file: &RemoteFile) -> Result<()> {
        self.file.sync_all().with_context(|| format!("cannot write {}", self.path.display()))?;
        let expected = file.hash.name();
        let found = match &self.git_blob {
            Some(hash) => hexadecimal(&hash.clone().finalize()),
            None => self.sha256(),
        };
        if self.length != file.size || expected != found {
            bail!(
                "the Hub lists {} bytes with the hash {expected}, but {} came with {found}",
                file.size,
                self.length
            );
        }
        Ok(())
    }
}

/// The hash of a file of `size` bytes as git takes it, before the bytes.
fn git_blob(size: u64) -> sha1::Sha1 {
    let mut hash = sha1::Sha1::new();
    hash.update(format!("blob {size}\0"));
    hash
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

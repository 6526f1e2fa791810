//! Files that hold many samples, opened when first read and read at any place by many threads at once.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use clip::candle_core::{self, Error};

/// Files that stay open at a time; systems allow 1 024 and a run needs others.
const OPEN: usize = 256;

/// Files by number.
#[derive(Default)]
pub(crate) struct Files {
    paths: Vec<PathBuf>,
    /// The open ones, oldest first.
    open: Mutex<VecDeque<(u16, Arc<File>)>>,
}

impl Files {
    pub(crate) fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, open: Mutex::default() }
    }

    pub(crate) fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// A file's path; empty for a number that none has.
    pub(crate) fn path(&self, file: u16) -> &Path {
        self.paths.get(usize::from(file)).map_or(Path::new(""), PathBuf::as_path)
    }

    /// The open file; the lock is held while it is looked up and not while it is read.
    pub(crate) fn handle(&self, file: u16) -> candle_core::Result<Arc<File>> {
        let lock = || self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, handle)) = lock().iter().find(|(number, _)| *number == file) {
            return Ok(handle.clone());
        }
        let path = self.path(file);
        let named = |error: io::Error| Error::from(error).context(format!("cannot read {}", path.display()));
        let handle = Arc::new(File::open(path).map_err(named)?);
        let mut open = lock();
        if open.len() >= OPEN {
            open.pop_front();
        }
        open.push_back((file, handle.clone()));
        Ok(handle)
    }

    /// The `length` bytes at `offset` of a file. `length` is bounded by whoever made the index.
    pub(crate) fn read(&self, file: u16, offset: u64, length: usize) -> candle_core::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let path = self.path(file).display();
        match self.handle(file)?.read_exact_at(&mut bytes, offset) {
            Ok(()) => Ok(bytes),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(clip::BadSample::Truncated.because(format!("{path} has become shorter")))
            }
            Err(error) => Err(Error::from(error).context(format!("cannot read {path}"))),
        }
    }
}

/// A window on a file that is read from front to back, with leaps.
pub(crate) struct Window<'a> {
    file: &'a File,
    /// Bytes of the file.
    length: u64,
    start: u64,
    bytes: Vec<u8>,
}

/// Bytes that a window reads at a time.
const WINDOW: usize = 16 << 10;

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a File) -> io::Result<Self> {
        Ok(Self { file, length: file.metadata()?.len(), start: 0, bytes: Vec::new() })
    }

    /// Bytes of the file.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// The `length` bytes at `offset`; fewer where the file ends.
    pub(crate) fn read(&mut self, offset: u64, length: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.length.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = length.min(left);
        let held = offset
            .checked_sub(self.start)
            .is_some_and(|from| usize::try_from(from).is_ok_and(|from| from + length <= self.bytes.len()));
        if !held {
            self.bytes.resize(length.max(WINDOW).min(left), 0);
            self.start = offset;
            self.file.read_exact_at(&mut self.bytes, offset)?;
        }
        let from = (offset - self.start) as usize;
        Ok(&self.bytes[from..from + length])
    }
}

//! Shows a training run, saves it after each epoch and stops it when asked.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

use base::hash_file;
use clip::candle_core::Error;
use clip::{Monitor, Snapshot, Step};
use store::REMEDY;

use super::context::Context;
use super::epochs;

/// What a stage tells of itself while it is done, and what it keeps of the epochs that are.
pub(super) struct StageMonitor<'a> {
    name: &'a str,
    context: Context<'a>,
    /// Where snapshots lie.
    pub(super) partial: PathBuf,
    /// Whether the model of each epoch is kept.
    keeps_epochs: bool,
    started: Instant,
    /// Seconds that the epochs took which an earlier run had done.
    before: f64,
    /// Whether the run's time was up when an epoch ended.
    out_of_time: bool,
}

impl<'a> StageMonitor<'a> {
    pub(super) fn new(name: &'a str, context: Context<'a>, partial: PathBuf, keeps_epochs: bool) -> Self {
        let started = Instant::now();
        Self { name, context, partial, keeps_epochs, started, before: 0.0, out_of_time: false }
    }

    /// Where the last finished epoch lies.
    pub(super) fn snapshot(&self) -> PathBuf {
        self.partial.join("snapshot.safetensors")
    }

    /// The hashes that the snapshot may have, a line each: a machine that died may have left half of it.
    fn hashes(&self) -> PathBuf {
        self.partial.join("snapshot.blake3")
    }

    /// Seconds that the epochs in the snapshot took.
    fn spent(&self) -> PathBuf {
        self.partial.join("seconds")
    }

    /// Seconds that the stage took, with what earlier runs did of it.
    pub(super) fn seconds(&self) -> f64 {
        self.before + self.started.elapsed().as_secs_f64()
    }

    /// Puts a snapshot in the place of the one before. A process may be killed anywhere in here, and one of the two is
    /// whole and has its hash written down.
    fn save(&self, snapshot: &Snapshot<'_>) -> clip::candle_core::Result<()> {
        let (path, new) = (self.snapshot(), self.partial.join("next.safetensors"));
        let replace = || -> io::Result<()> {
            let mut hashes = hash_file(&new)?;
            if path.exists() {
                hashes = format!("{}\n{hashes}", hash_file(&path)?);
            }
            replace(&self.hashes(), &hashes)?;
            std::fs::rename(&new, &path)?;
            replace(&self.spent(), &self.seconds().to_string())
        };
        snapshot.save(&new).and_then(|()| replace().map_err(Error::wrap)).map_err(|error| {
            let _ = std::fs::remove_file(&new);
            self.problem(error)
        })
    }

    fn problem(&self, error: Error) -> Error {
        error.context(format!("cannot save to {}; {REMEDY}", self.partial.display()))
    }
}

/// Writes a small file that appears whole or not at all.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path))
}

impl Monitor for StageMonitor<'_> {
    fn resume(&mut self) -> Option<PathBuf> {
        let snapshot = self.snapshot();
        if !snapshot.exists() {
            return None;
        }
        let hashes = std::fs::read_to_string(self.hashes()).unwrap_or_default();
        if hash_file(&snapshot).is_ok_and(|hash| hashes.lines().any(|line| line == hash)) {
            let spent = std::fs::read_to_string(self.spent()).ok().and_then(|text| text.parse().ok());
            self.before = spent.unwrap_or(0.0);
            self.context.progress.say(&format!("{}: resumes from its last finished epoch", self.name));
            return Some(snapshot);
        }
        self.context.progress.warn(&format!("{}: its snapshot is not whole; it starts again", self.name));
        None
    }

    fn step(&mut self, step: &Step) -> ControlFlow<()> {
        self.context.progress.step(self.name, step);
        if self.stops() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn stops(&mut self) -> bool {
        self.context.stops() || self.out_of_time
    }

    fn epoch_end(&mut self, epoch: usize, snapshot: &Snapshot<'_>) -> clip::candle_core::Result<()> {
        if self.keeps_epochs {
            epochs::keep(&self.partial, epoch, snapshot).map_err(|error| self.problem(error))?;
        }
        self.out_of_time = self.context.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        self.save(snapshot)
    }
}

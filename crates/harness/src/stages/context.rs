//! What all stages of a run share, and how they end early.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Result;
use base::{Progress, Stopped};
use store::{Key, Store};

/// A plan and the files that it names do not go together, which its author can put right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub(crate) String);

/// Nothing is to be computed, and the store does not have it.
#[derive(Debug, thiserror::Error)]
#[error("not in the store")]
pub(crate) struct NotStored;

/// Where stages are looked up and computed.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) store: &'a Store,
    pub(crate) progress: &'a Progress,
    pub(crate) interrupted: &'a AtomicBool,
    /// When trainings stop at the end of an epoch.
    pub(crate) deadline: Option<Instant>,
    /// Whether stages are only looked up: what the store does not have is then [`NotStored`].
    pub(crate) only_looks: bool,
}

/// The folder that a stage filled, and the key that it is stored under.
pub(crate) struct StageOutput {
    pub(crate) key: Key,
    pub(crate) folder: PathBuf,
}

impl Context<'_> {
    /// Whether the user asked the run to stop.
    pub(crate) fn stops(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// An error where they did.
    pub(crate) fn go_on(&self) -> Result<()> {
        if self.stops() { Err(Stopped.into()) } else { Ok(()) }
    }
}

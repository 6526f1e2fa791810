//! The stages of a cell's life, each looked up in the store before it is done.

mod check;
mod data;
mod defend;
mod epochs;
mod measure;
mod memory;
mod monitor;
mod observe;
mod overlap;
pub(crate) mod poison;
mod purpose;
mod room;
mod train;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result};
use clip::candle_core::Device;

use crate::plan::Plan;
use crate::progress::Progress;
use crate::store::{self, Key, Store};
pub use check::Bad;
use data::Data;
pub(crate) use data::Found;
pub use measure::measure_checkpoint;
use monitor::StageMonitor;
pub(crate) use observe::STAGE as OBSERVE;
pub(crate) use train::{Left, MANIFEST};

/// The user asked the run to stop. Nothing is lost but the epochs under way.
#[derive(Debug, thiserror::Error)]
#[error("stopped before the end")]
pub struct Interrupted;

/// A plan and the files that it names do not go together, which its author can put right.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(pub(crate) String);

/// Nothing is to be computed, and the store does not have it.
#[derive(Debug, thiserror::Error)]
#[error("not in the store")]
pub(crate) struct NotStored;

/// Where stages are looked up and done.
#[derive(Clone, Copy)]
pub(crate) struct Desk<'a> {
    pub(crate) store: &'a Store,
    pub(crate) progress: &'a Progress,
    pub(crate) interrupted: &'a AtomicBool,
    /// When trainings stop at the end of an epoch.
    pub(crate) deadline: Option<Instant>,
    /// Whether stages are only looked up: what the store does not have is then [`NotStored`].
    pub(crate) only_looks: bool,
}

/// What all stages of a run share.
pub(crate) struct Laboratory<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) desk: Desk<'a>,
    data: Data<'a>,
    /// The plan's device, opened when the first model needs it.
    device: Mutex<Option<Device>>,
}

/// What a stage made and under which key.
pub(crate) struct Made {
    pub(crate) key: Key,
    pub(crate) folder: PathBuf,
}

impl<'a> Laboratory<'a> {
    /// A laboratory for a plan; loads no data yet.
    pub(crate) fn new(plan: &'a Plan, desk: Desk<'a>) -> Result<Self> {
        Ok(Self { plan, desk, data: Data::new(plan, desk)?, device: Mutex::new(None) })
    }

    /// What keeps the plan from being run, as far as files tell before any sample is looked at. Files that are not
    /// there are left to [`Laboratory::found`], but for those of initial weights.
    pub(crate) fn problems(&self) -> Result<Vec<Unfit>> {
        let weights = self.initial_model().err();
        let first = weights.into_iter().chain(self.data.too_large()?);
        let all: Vec<Unfit> = first.collect();
        // Lists that are too large are not compared.
        if all.is_empty() { self.data.overlaps() } else { Ok(all) }
    }

    /// What was found of all data that is read from files.
    pub(crate) fn found(&self) -> Result<Vec<Found>> {
        self.data.found()
    }
}

impl Desk<'_> {
    /// Whether the user asked the run to stop.
    pub(crate) fn stops(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// An error where they did.
    fn go_on(&self) -> Result<()> {
        if self.stops() { Err(Interrupted.into()) } else { Ok(()) }
    }

    /// Looks `key` up, or does the stage: `work` computes, and writes its files into the folder it is given.
    fn stage<T>(
        &self,
        name: &str,
        key: Key,
        expected: f64,
        work: impl FnOnce(&mut StageMonitor<'_>) -> Result<T>,
        write: impl FnOnce(T, &Path) -> Result<()>,
    ) -> Result<Made> {
        self.stage_of_epochs(name, key, expected, false, work, write)
    }

    /// The same; `keeps_epochs` says whether the models at the end of each epoch are kept too.
    fn stage_of_epochs<T>(
        &self,
        name: &str,
        key: Key,
        expected: f64,
        keeps_epochs: bool,
        work: impl FnOnce(&mut StageMonitor<'_>) -> Result<T>,
        write: impl FnOnce(T, &Path) -> Result<()>,
    ) -> Result<Made> {
        self.progress.begin(name, expected);
        let done = self.look_up_or_do(name, &key, keeps_epochs, work, write);
        self.progress.end(name, matches!(&done, Ok((_, true))), done.is_ok());
        let (folder, _) = done?;
        Ok(Made { key, folder })
    }

    /// The entry's folder, and whether it was there.
    fn look_up_or_do<T>(
        &self,
        name: &str,
        key: &Key,
        keeps_epochs: bool,
        work: impl FnOnce(&mut StageMonitor<'_>) -> Result<T>,
        write: impl FnOnce(T, &Path) -> Result<()>,
    ) -> Result<(PathBuf, bool)> {
        if let store::Found::Whole(folder) = self.store.find(key)? {
            // A process may have died between making the entry and removing what led to it.
            if !self.only_looks {
                self.store.remove_partial(key)?;
            }
            return Ok((folder, true));
        }
        if self.only_looks {
            return Err(NotStored.into());
        }
        let lock =
            self.store.lock(key, || self.progress.say(&format!("{name}: waiting for another process")))?;
        // Only now: before, another process may have been making it good.
        match self.store.find(key)? {
            store::Found::Whole(folder) => return Ok((folder, true)),
            store::Found::Nothing => {}
            store::Found::Damaged(problem) => {
                self.progress
                    .warn(&format!("{name}: the store's entry was damaged and is made again ({problem})"));
                self.store.remove(key, &lock)?;
            }
        }
        self.go_on()?;
        let mut monitor = StageMonitor::new(name, *self, self.store.partial(key)?, keeps_epochs);
        let result = work(&mut monitor)?;
        let folder = self.store.put(key, monitor.seconds(), |folder| {
            epochs::collect(&monitor.partial, folder)?;
            write(result, folder)
        })?;
        Ok((folder, false))
    }
}

impl Laboratory<'_> {
    /// The model on the plan's device.
    fn on_device(&self, model: clip::Clip) -> Result<clip::Clip> {
        if self.plan.device == clip::DeviceChoice::Cpu {
            return Ok(model);
        }
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        let device = match &*device {
            Some(device) => device.clone(),
            None => device.insert(self.plan.device.open()?).clone(),
        };
        Ok(model.to_device(&device)?)
    }

    /// Opens a model that a stage saved, on the plan's device.
    fn load_model(&self, path: &Path) -> Result<clip::Clip> {
        let (model, _) = clip::Clip::load(path).context("a stored model")?;
        self.on_device(model)
    }
}

/// The file that holds a model's towers.
const MODEL: &str = "model.safetensors";
/// The file that holds the moments of the optimizer that trained it. Models that were stored before this file was
/// written lack it, and are as good for everything that does not ask for it.
const OPTIMIZER: &str = "optimizer.safetensors";

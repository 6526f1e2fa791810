//! Every stage is looked up in the store before it is computed.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use store::{Key, Lookup};

use super::context::{Context, NotStored, StageOutput};
use super::epochs;
use super::monitor::StageMonitor;

impl Context<'_> {
    /// Looks `key` up, or does the stage: `work` computes, and `write` writes its files into the folder it is given.
    /// `keeps_epochs` says whether the models at the end of each epoch are kept too.
    pub(super) fn stage<T>(
        &self,
        name: &str,
        key: Key,
        expected: f64,
        keeps_epochs: bool,
        work: impl FnOnce(&mut StageMonitor<'_>) -> Result<T>,
        write: impl FnOnce(T, &Path) -> Result<()>,
    ) -> Result<StageOutput> {
        self.progress.begin(name, expected);
        let done = self.look_up_or_do(name, &key, expected, keeps_epochs, work, write);
        self.progress.end(name, matches!(&done, Ok((_, true))), done.is_ok());
        let (folder, _) = done?;
        Ok(StageOutput { key, folder })
    }

    /// The entry's folder, and whether it was there.
    fn look_up_or_do<T>(
        &self,
        name: &str,
        key: &Key,
        expected: f64,
        keeps_epochs: bool,
        work: impl FnOnce(&mut StageMonitor<'_>) -> Result<T>,
        write: impl FnOnce(T, &Path) -> Result<()>,
    ) -> Result<(PathBuf, bool)> {
        if let Lookup::Whole(folder) = self.store.find(key)? {
            // A process may have died between making the entry and removing what led to it.
            if !self.only_looks {
                self.store.remove_partial(key)?;
            }
            return Ok((folder, true));
        }
        if self.only_looks {
            return Err(NotStored.into());
        }
        let waiting = || self.progress.say(&format!("{name}: waiting for another process"));
        let lock = self.store.lock(key, waiting).with_context(|| name.to_owned())?;
        // Only now: before, another process may have been making it good.
        match self.store.find(key)? {
            Lookup::Whole(folder) => return Ok((folder, true)),
            Lookup::Nothing => {}
            Lookup::Damaged(problem) => {
                self.progress
                    .warn(&format!("{name}: the store's entry was damaged and is made again ({problem})"));
                self.store.remove(key, &lock)?;
            }
        }
        self.go_on()?;
        let mut monitor = StageMonitor::new(name, *self, self.store.partial(key)?, keeps_epochs);
        let result = work(&mut monitor)?;
        let folder = self.store.put(key, monitor.seconds(), expected, |folder| {
            epochs::collect(&monitor.partial, folder)?;
            write(result, folder)
        })?;
        Ok((folder, false))
    }
}

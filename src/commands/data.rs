//! `cleanbench data`: which data set of files is meant.

pub(crate) mod inspect;
pub(crate) mod subset;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use base::{Progress, describe, suggestion};
use contract::{Split, find};
use datasets::source::{Collection, Samples};
use serde_json::{Value, json};

use super::fetch::remedy;
use super::progress;
use crate::cli::FilesChoice;
use crate::{UserError, user_error};

/// A data set of files and the side of it that is looked at.
pub(crate) struct Chosen {
    pub(crate) name: &'static str,
    pub(crate) settings: Value,
    pub(crate) split: Split,
    pub(crate) collection: Collection,
    pub(crate) samples: Arc<Samples>,
}

impl FilesChoice {
    /// Opens the named data set, or the files at the path, which may be of pairs or of labelled images.
    pub(crate) fn open(&self) -> Result<Chosen> {
        let names = datasets::files();
        let named = names.iter().any(|(entry, _)| entry.card.name == self.name);
        let path = Path::new(&self.name);
        if named || !(path.exists() || self.name.contains(['/', '{'])) {
            return self.open_as(&self.name, &[]);
        }
        let paired = self.open_as("pairs", &[("train", json!(path)), ("validation", json!(path))]);
        let without =
            |chosen: &Chosen| (0..chosen.samples.len()).all(|index| chosen.samples.bad(index).is_some());
        match paired {
            Ok(chosen) if !without(&chosen) => Ok(chosen),
            paired => match (self.open_as("folder", &[("test", json!(path))]), paired) {
                (Ok(chosen), _) | (Err(_), Ok(chosen)) => Ok(chosen),
                // A setting that only one of the two has says which is meant.
                (Err(labelled), Err(paired)) if paired.is::<UserError>() => {
                    Err(if labelled.is::<UserError>() { paired } else { labelled })
                }
                (Err(labelled), Err(paired)) => {
                    Err(anyhow!("no pairs: {paired:#}\nand no labelled images: {labelled:#}"))
                }
            },
        }
    }

    fn open_as(&self, name: &str, own: &[(&str, Value)]) -> Result<Chosen> {
        let files = datasets::files();
        let Some((entry, open)) = files.iter().find(|(entry, _)| entry.card.name == name) else {
            // Generated data sets are known and have no files.
            let all = datasets::all();
            let name = find("data set", &all, name).map_err(user_error)?.card.name;
            let message =
                format!("{name} is generated and has no files; `cleanbench data show` shows samples");
            return Err(user_error(message));
        };
        let presets = (entry.presets)();
        let known: Vec<&str> = presets.iter().map(|(name, _)| *name).collect();
        let wanted = self.preset.as_deref().unwrap_or(known[0]);
        let Some((_, mut settings)) = presets.iter().find(|(name, _)| *name == wanted).cloned() else {
            return Err(user_error(format!("no preset {wanted:?}; {}", suggestion(wanted, &known))));
        };
        for (key, value) in own {
            settings[*key] = value.clone();
        }
        self.edit(&mut settings)?;
        let collection = open(settings.clone()).map_err(|error| user_error(describe(&error)))?;
        let split = self.split(&collection)?;
        let samples = collection.samples(split).map_err(|error| {
            let said = describe(&error);
            anyhow!("{said}{}", remedy(&said))
        })?;
        Ok(Chosen { name: entry.card.name, settings, split, collection, samples })
    }

    /// Puts `--set` into a preset's settings.
    fn edit(&self, settings: &mut Value) -> Result<()> {
        for set in &self.settings {
            let parts = set.split_once('=');
            let (key, value) =
                parts.ok_or_else(|| user_error(format!("--set {set:?}: expected KEY=VALUE")))?;
            let known = settings.as_object().into_iter().flatten();
            let known: Vec<&str> = known.map(|(key, _)| key.as_str()).collect();
            if !known.contains(&key) {
                return Err(user_error(format!("--set {key}: no such setting; {}", suggestion(key, &known))));
            }
            // A path stands without quotes.
            settings[key] = serde_json::from_str(value).unwrap_or_else(|_| json!(value));
        }
        Ok(())
    }

    fn split(&self, collection: &Collection) -> Result<Split> {
        let splits = [Split::Train, Split::Clean, Split::Validation, Split::Test];
        let Some(wanted) = &self.split else {
            return Ok(if collection.class_names().is_empty() { Split::Train } else { Split::Test });
        };
        splits.into_iter().find(|split| split.name() == wanted).ok_or_else(|| {
            user_error(format!("--split {wanted:?}: {}", suggestion(wanted, &splits.map(Split::name))))
        })
    }

    /// Progress over `total` images.
    pub(crate) fn progress(&self, total: usize) -> Progress {
        progress(self.quiet, total as f64)
    }
}

/// Bytes in the unit that suits them.
pub(crate) fn bytes(count: u64) -> String {
    let units = ["bytes", "KB", "MB", "GB", "TB"];
    let power = (0..units.len()).rev().find(|power| count >= 1000_u64.pow(*power as u32)).unwrap_or(0);
    match power {
        0 => format!("{count} bytes"),
        _ => format!("{:.1} {}", count as f64 / 1000_f64.powi(power as i32), units[power]),
    }
}

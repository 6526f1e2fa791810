//! What every defense must do.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail, ensure};
use clip::candle_core::{Device, Tensor};
use clip::{Clip, Seed, Stopped};
use serde_json::Value;

use super::fixture::{self, GRANTED, Watch, numbers};
use super::{Checks, Presets, skip};
use crate::{Defense, Entry, Model};

/// A defense and what it is tried on.
struct Trial<'a> {
    entry: &'a Entry<Defense>,
    settings: &'a Value,
    folder: &'a Path,
}

impl Trial<'_> {
    fn build(&self) -> Result<Defense> {
        (self.entry.build)(self.settings.clone())
    }

    /// The file with the optimizer's moments.
    fn moments(&self) -> PathBuf {
        self.folder.join("moments.safetensors")
    }

    /// The model that a new defense leaves, with this number of threads.
    fn repaired(&self, seed: u64, threads: usize, watch: &mut Watch) -> Result<Model> {
        let defense = self.build()?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build()?;
        let (moments, model) = (self.moments(), fixture::model()?);
        pool.install(|| fixture::repair(&defense, model, seed, Some(&moments), watch))
    }

    /// The same to its end: its numbers, and how many steps were seen.
    fn finished(&self, seed: u64, threads: usize) -> Result<(Model, usize)> {
        let mut watch = Watch::default();
        let model = self.repaired(seed, threads, &mut watch)?;
        Ok((model, watch.losses.len()))
    }
}

/// Makes every check of a defense.
pub(super) fn checks(checks: &mut Checks, entry: &Entry<Defense>, presets: &Presets) {
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => return checks.add("there is a temporary folder", || Err(error.into())),
    };
    let trial = Trial { entry, settings: &presets.tried, folder: folder.path() };
    match trial.build() {
        Err(error) => checks.add("it can be built", || Err(error)),
        Ok(Defense::RepairModel(_) | Defense::TrainSafely(_)) => of_model(checks, &trial),
        Ok(Defense::FilterData(_)) => {
            checks.add("judges every pair, the same for the same seed", || filter(&trial))
        }
        Ok(Defense::Anchor(_)) => {
            checks.add("keeps pairs that there are, the same for the same seed", || anchor(&trial))
        }
    }
}

fn of_model(checks: &mut Checks, trial: &Trial<'_>) {
    let mut first = None;
    checks.add("it runs on small data", || {
        fixture::write_moments(&trial.moments())?;
        let moments = std::fs::read(trial.moments())?;
        let (model, steps) = trial.finished(0, 1)?;
        first = Some((numbers(&model)?, steps, model, moments));
        Ok(())
    });
    let Some((first, steps, model, moments)) = first else { return };
    checks.add("its weights are finite", || model.check_finite());
    checks.add("names and shapes of the weights stay", || same_shapes(&model));
    checks.add("same seed, same bytes, with any number of threads", || {
        ensure!(numbers(&trial.finished(0, 3)?.0)? == first, "three threads give another model than one");
        Ok(())
    });
    checks.add("another seed gives another result", || {
        if steps == 0 {
            return Err(skip("it showed no steps of training"));
        }
        ensure!(numbers(&trial.finished(1, 2)?.0)? != first, "seeds 0 and 1 give the same model");
        Ok(())
    });
    checks.add("stopped and started again, the same bytes", || {
        if steps == 0 {
            return Err(skip("it showed no steps of training"));
        }
        let file = Some(trial.folder.join("snapshot.safetensors"));
        let stop_after = Some(steps / 2 + 1);
        match trial.repaired(0, 2, &mut Watch { file: file.clone(), stop_after, ..Watch::default() }) {
            Err(error) if error.is::<Stopped>() => {}
            Err(error) => return Err(error.context("stopped by the monitor, it fails otherwise")),
            Ok(_) => bail!("it went on when the monitor stopped it"),
        }
        let has_snapshot = file.as_ref().is_some_and(|file| file.exists());
        let mut watch = Watch { file, ..Watch::default() };
        let resumed = trial.repaired(0, 2, &mut watch)?;
        ensure!(numbers(&resumed)? == first, "another model after it was stopped at half its steps");
        ensure!(!has_snapshot || watch.losses.len() < steps, "it began again and did not go on");
        Ok(())
    });
    checks.add("the input stays as it was", || {
        ensure!(std::fs::read(trial.moments())? == moments, "it changed the file of the optimizer's moments");
        Ok(())
    });
    checks.add("a model with NaN weights is refused", || refuses_nan(trial));
}

fn same_shapes(model: &Model) -> Result<()> {
    let shapes = |model: &Model| -> BTreeSet<(String, Vec<usize>)> {
        model.tensors().into_iter().map(|(name, tensor)| (name, tensor.dims().to_vec())).collect()
    };
    let before = shapes(&Model { clip: fixture::model()?, head: None });
    let after = shapes(&Model { clip: model.clip.deep_clone()?, head: None });
    let other: Vec<_> = before.symmetric_difference(&after).collect();
    ensure!(other.is_empty(), "other names or shapes than it was given: {other:?}");
    Ok(())
}

/// Either the defense says that it cannot work with such a model, or the harness refuses what it makes of it.
fn refuses_nan(trial: &Trial<'_>) -> Result<()> {
    let model: Clip = fixture::model()?;
    for parameter in model.all_parameters() {
        parameter.var.set(&Tensor::full(f32::NAN, parameter.var.shape(), &Device::Cpu)?)?;
    }
    match fixture::repair(&trial.build()?, model, 0, Some(&trial.moments()), &mut Watch::default()) {
        Err(_) => Ok(()),
        Ok(left) => match trial.build()? {
            // What begins anew may well leave finite weights.
            Defense::RepairModel(_) if left.check_finite().is_ok() => {
                bail!("NaN weights became finite ones unsaid")
            }
            _ => Ok(()),
        },
    }
}

fn filter(trial: &Trial<'_>) -> Result<()> {
    let judge = || -> Result<Vec<(f32, bool)>> {
        let Defense::FilterData(filter) = trial.build()? else {
            bail!("another kind of defense than before")
        };
        let pairs = fixture::pairs(GRANTED, 16)?;
        fixture::with_view(&pairs, 0, None, |view| filter.filter(view))
    };
    let judged = judge()?;
    ensure!(judged.len() == GRANTED, "{} judgements of {GRANTED} pairs", judged.len());
    ensure!(judged.iter().all(|(suspicion, _)| suspicion.is_finite()), "a suspicion is not finite");
    ensure!(judged.iter().any(|(_, kept)| *kept), "it keeps no pair");
    ensure!(judged == judge()?, "another run with the same seed judges otherwise");
    Ok(())
}

fn anchor(trial: &Trial<'_>) -> Result<()> {
    let keep = |poisoned: &[usize]| -> Result<Vec<usize>> {
        let Defense::Anchor(anchor) = trial.build()? else { bail!("another kind of defense than before") };
        anchor.keep(GRANTED, poisoned, &Seed::new(0))
    };
    let kept = keep(&[0, 3, 4, 90, 99])?;
    let in_order = kept.is_sorted_by(|a, b| a < b) && kept.iter().all(|pair| *pair < GRANTED);
    ensure!(!kept.is_empty() && in_order, "expected distinct pairs in ascending order, found {kept:?}");
    ensure!(kept == keep(&[0, 3, 4, 90, 99])?, "another run with the same seed keeps others");
    Ok(())
}

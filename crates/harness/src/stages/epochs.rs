//! The models at the end of each epoch of a defense, kept beside the last one where the plan looks at them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clip::Snapshot;
use clip::candle_core::safetensors;

use super::MODEL;
use contract::{LinearHead, Model};

pub(super) const HEAD: &str = "head.safetensors";

/// A file of the model after `epoch`; of the last one where there is none.
pub(super) fn file(folder: &Path, epoch: Option<usize>, name: &str) -> PathBuf {
    folder.join(epoch.map_or_else(|| name.to_owned(), |epoch| format!("epoch-{epoch}-{name}")))
}

/// Keeps the model as it is after `epoch`.
pub(super) fn keep(folder: &Path, epoch: usize, snapshot: &Snapshot<'_>) -> clip::candle_core::Result<()> {
    snapshot.model().save(&file(folder, Some(epoch), MODEL), &BTreeMap::new())?;
    let named = |name: &str| {
        let mut parameters = snapshot.parameters().iter();
        parameters.find(|parameter| parameter.name == name).map(|found| found.var.as_detached_tensor())
    };
    match (named(LinearHead::WEIGHT), named(LinearHead::BIAS)) {
        (Some(weight), Some(bias)) => write_head(&LinearHead { weight, bias }, folder, Some(epoch)),
        _ => Ok(()),
    }
}

fn write_head(head: &LinearHead, folder: &Path, epoch: Option<usize>) -> clip::candle_core::Result<()> {
    let tensors = HashMap::from([("weight", head.weight.clone()), ("bias", head.bias.clone())]);
    safetensors::save(&tensors, file(folder, epoch, HEAD))
}

/// Writes the model that a defense left, and what it says of itself.
pub(super) fn write_model(model: &Model, folder: &Path, facts: &BTreeMap<String, String>) -> Result<()> {
    model.clip.save(&file(folder, None, MODEL), facts)?;
    model.head.as_ref().map_or(Ok(()), |head| write_head(head, folder, None)).map_err(Into::into)
}

/// Moves what [`keep`] kept of all epochs but the last one, which is the defended model itself.
pub(super) fn collect(partial: &Path, folder: &Path) -> Result<()> {
    let epochs = kept(partial);
    for epoch in epochs.iter().filter(|epoch| Some(*epoch) != epochs.last()) {
        for name in [MODEL, HEAD] {
            let from = file(partial, Some(*epoch), name);
            if from.exists() {
                std::fs::copy(&from, file(folder, Some(*epoch), name))
                    .with_context(|| format!("cannot keep {}", from.display()))?;
            }
        }
    }
    Ok(())
}

/// The epochs whose models `folder` holds, from the first.
pub(super) fn kept(folder: &Path) -> Vec<usize> {
    (1..).take_while(|epoch| file(folder, Some(*epoch), MODEL).exists()).collect()
}

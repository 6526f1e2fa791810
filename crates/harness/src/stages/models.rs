//! Models: fresh, stored, and on the plan's device.

use std::collections::HashMap;
use std::path::Path;
use std::sync::PoisonError;

use anyhow::{Context, Result};
use base::describe;
use clip::candle_core::{Device, Tensor, safetensors};
use clip::weights::Weights;
use clip::{Clip, Seed, Tokenizer};
use contract::{LinearHead, Model};

use super::context::{StageOutput, Unfit};
use super::epochs::{HEAD, file, kept};
use super::{MODEL, Stages};

impl Stages<'_> {
    /// The model on the plan's device.
    fn on_device(&self, model: clip::Clip) -> Result<clip::Clip> {
        if self.plan.device == clip::DeviceChoice::Cpu {
            return Ok(model);
        }
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        let device = match &*device {
            Some(device) => device.clone(),
            None => device.insert(self.plan.device.open(self.plan.precision)?).clone(),
        };
        Ok(model.to_device(&device)?.with_precision(self.plan.precision)?)
    }

    /// Opens a model that a stage saved, on the plan's device.
    pub(super) fn load_model(&self, path: &Path) -> Result<clip::Clip> {
        let (model, _) = clip::Clip::load(path).context("a stored model")?;
        self.on_device(model)
    }

    /// The epochs whose models were kept beside a defended one.
    pub(crate) fn epochs(&self, defended: &StageOutput) -> Vec<usize> {
        kept(&defended.folder)
    }

    /// Opens a model that a defense left, or the one after `epoch`.
    pub(super) fn read_model(&self, folder: &Path, epoch: Option<usize>) -> Result<Model> {
        let clip = self.load_model(&file(folder, epoch, MODEL))?;
        let path = file(folder, epoch, HEAD);
        if !path.exists() {
            return Ok(Model { clip, head: None });
        }
        let mut tensors: HashMap<String, Tensor> = safetensors::load(&path, &Device::Cpu)?;
        let mut take =
            |name: &str| tensors.remove(name).with_context(|| format!("{}: no {name}", path.display()));
        let head = LinearHead { weight: take("weight")?, bias: take("bias")? };
        Ok(Model { clip, head: Some(head) })
    }

    /// The model that training goes on from; `None` where it begins with the seed's own weights.
    pub(super) fn initial_model(&self) -> Result<Option<Clip>, Unfit> {
        let Some(path) = &self.plan.initial_weights else { return Ok(None) };
        if !path.exists() {
            return Err(Unfit(format!("initial-weights: {} is not there", path.display())));
        }
        let model = Weights::read(path).and_then(|weights| weights.into_clip(Some(&self.plan.model)));
        let said = |error: clip::candle_core::Error| describe(&error.into());
        model.map(Some).map_err(|error| Unfit(format!("initial-weights and model: {}", said(error))))
    }

    /// A model with the plan's or the seed's initial weights, the same for all attacks.
    pub(super) fn fresh_model(&self, seed: u64) -> Result<Clip> {
        if let Some(model) = self.initial_model()? {
            return self.on_device(model);
        }
        let mut read = Ok(());
        let texts = self.data.texts()?.map_while(|text| text.map_err(|error| read = Err(error)).ok());
        let tokenizer = Tokenizer::cut(texts)?;
        read?;
        let model = Clip::new(&self.plan.model, tokenizer, &Seed::new(seed).child("initial"))?;
        self.on_device(model)
    }
}

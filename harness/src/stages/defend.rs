//! Lets a defense act.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clip::candle_core::{Device, safetensors};
use clip::{Pair, Pairs, Seed, TrainOutcome};
use serde_json::{Value, json};

use super::train::Poisoned;
use super::{Interrupted, Laboratory, MODEL, Made, OPTIMIZER, StageMonitor};
use crate::contract::{Attack, DefenderView, Defense, LinearHead, Model, Split};
use crate::plan::Choice;
use crate::store::Key;

/// Raised whenever the code of this stage would give another result.
const VERSION: u32 = 1;
const HEAD: &str = "head.safetensors";

/// Some of the pairs of another set.
struct Kept {
    pairs: Arc<dyn Pairs>,
    indices: Vec<usize>,
}

impl Pairs for Kept {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn pair(&self, index: usize) -> clip::candle_core::Result<Pair> {
        match self.indices.get(index) {
            Some(index) => self.pairs.pair(*index),
            None => clip::candle_core::bail!("pair {index} of {}", self.indices.len()),
        }
    }
}

impl Laboratory<'_> {
    /// The key of the model that `defense` makes of the one under `trained`.
    pub(crate) fn defend_key(&self, trained: &Key, defense: &Choice<Defense>, seed: u64) -> Key {
        let plan = self.plan;
        let inputs: Value = json!({
            "trained": trained.hash(),
            "defense": defense.identity(),
            "clean-pairs": self.data.identity(Split::Clean, plan.clean_pairs),
            "clean-images": plan.clean_images,
            "seed": seed,
        });
        Key::new("defend", VERSION, self.plan.device.class(), inputs)
    }

    /// The model as the defense leaves it.
    pub(crate) fn defend(
        &self,
        attack: &Choice<Attack>,
        trained: &Made,
        defense: &Choice<Defense>,
        seed: u64,
    ) -> Result<Made> {
        let name = format!("{}::{}::seed-{seed}", attack.label, defense.label);
        self.stage(
            &name,
            self.defend_key(&trained.key, defense, seed),
            self.expected_defense(),
            |monitor| self.defended(attack, trained, &defense.build()?, seed, monitor),
            |model, folder| write_model(&model, folder),
        )
    }

    /// Work that a defense is expected to take before one is known, in training examples.
    fn expected_defense(&self) -> f64 {
        (self.plan.clean_pairs * 12) as f64
    }

    /// The same for a defense and what is observed after it.
    pub(crate) fn expected_cell(&self) -> f64 {
        self.expected_defense() + self.expected_observation()
    }

    fn defended(
        &self,
        attack: &Choice<Attack>,
        trained: &Made,
        defense: &Defense,
        seed: u64,
        monitor: &mut StageMonitor<'_>,
    ) -> Result<Model> {
        let Poisoned { pairs: poisoned, manifest } = self.poisoned(attack, &attack.build()?, seed)?;
        let optimizer = Some(trained.folder.join(OPTIMIZER)).filter(|path| path.exists());
        let (clean, images) = (self.data.clean()?, self.data.clean_images()?);
        let view = DefenderView {
            training_pairs: &*poisoned,
            clean_pairs: &*clean,
            clean_images: &*images,
            classes: self.data.classes()?,
            recipe: &self.plan.recipe,
            optimizer: optimizer.as_deref(),
            seed: Seed::new(seed).child("defend"),
        };
        match defense {
            Defense::RepairModel(method) => method
                .repair(self.load_model(&trained.folder)?, &view, monitor)?
                .ok_or_else(|| Interrupted.into()),
            Defense::TrainSafely(method) => {
                let clip = self.fresh_model(seed)?;
                match method.train(&clip, &view, monitor)? {
                    TrainOutcome::Finished => Ok(Model { clip, head: None }),
                    TrainOutcome::Stopped => Err(Interrupted.into()),
                }
            }
            Defense::FilterData(method) => {
                let judged = method.filter(&view)?;
                ensure!(
                    judged.len() == poisoned.len(),
                    "{} judgements of {} pairs",
                    judged.len(),
                    poisoned.len()
                );
                let indices = (0..judged.len()).filter(|index| judged[*index].1).collect();
                self.trained_on(Kept { pairs: poisoned, indices }, seed, monitor)
            }
            Defense::Anchor(method) => {
                let edited: Vec<usize> = manifest.iter().map(|row| row.pair as usize).collect();
                let indices = method.keep(poisoned.len(), &edited, &view.seed)?;
                self.trained_on(Kept { pairs: poisoned, indices }, seed, monitor)
            }
        }
    }

    /// A model trained by the plan's recipe on some of the training pairs, from the seed's initial weights.
    fn trained_on(&self, kept: Kept, seed: u64, monitor: &mut StageMonitor<'_>) -> Result<Model> {
        let clip = self.fresh_model(seed)?;
        self.fit(&clip, &kept, seed, monitor)?;
        Ok(Model { clip, head: None })
    }
}

fn write_model(model: &Model, folder: &Path) -> Result<()> {
    model.clip.save(&folder.join(MODEL), &BTreeMap::new())?;
    if let Some(head) = &model.head {
        let tensors = HashMap::from([("weight", head.weight.clone()), ("bias", head.bias.clone())]);
        safetensors::save(&tensors, folder.join(HEAD))?;
    }
    Ok(())
}

impl Laboratory<'_> {
    /// Opens what [`Laboratory::defend`] left.
    pub(super) fn read_model(&self, folder: &Path) -> Result<Model> {
        let clip = self.load_model(folder)?;
        let path = folder.join(HEAD);
        let head = if path.exists() {
            let mut tensors = safetensors::load(&path, &Device::Cpu)?;
            let mut take =
                |name: &str| tensors.remove(name).with_context(|| format!("{}: no {name}", path.display()));
            Some(LinearHead { weight: take("weight")?, bias: take("bias")? })
        } else {
            None
        };
        Ok(Model { clip, head })
    }
}

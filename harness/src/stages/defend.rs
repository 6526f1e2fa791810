//! Lets a defense act.

use std::sync::Arc;

use anyhow::{Error, Result, ensure};
use clip::{Image, Origin, Pairs, Seed, TrainOutcome};
use rand::seq::SliceRandom;
use serde_json::{Value, json};

use super::epochs::write_model;
use super::monitor::StageMonitor;
use super::train::Poisoned;
use super::{Interrupted, Laboratory, MODEL, Made, OPTIMIZER};
use crate::contract::{Attack, DefenderView, Defense, Model};
use crate::plan::{Choice, Grant};
use crate::provenance::facts;
use crate::store::Key;

/// Raised whenever the code of this stage would give another result.
const VERSION: u32 = 1;

/// Epochs of a defense before one is known, for predictions.
const EXPECTED_EPOCHS: f64 = 8.0;

/// Pairs picked from other sets.
struct Picked {
    pairs: Vec<(Arc<dyn Pairs>, usize)>,
}

impl Picked {
    fn get(&self, index: usize) -> clip::candle_core::Result<(&dyn Pairs, usize)> {
        match self.pairs.get(index) {
            Some((pairs, index)) => Ok((&**pairs, *index)),
            None => clip::candle_core::bail!("pair {index} of {}", self.pairs.len()),
        }
    }
}

impl Pairs for Picked {
    fn len(&self) -> usize {
        self.pairs.len()
    }

    fn caption(&self, index: usize) -> clip::candle_core::Result<String> {
        let (pairs, index) = self.get(index)?;
        pairs.caption(index)
    }

    fn image(&self, index: usize) -> clip::candle_core::Result<Image> {
        let (pairs, index) = self.get(index)?;
        pairs.image(index)
    }

    fn read_from(&self, index: usize) -> Option<Origin> {
        let (pairs, index) = self.get(index).ok()?;
        pairs.read_from(index)
    }
}

impl Laboratory<'_> {
    /// The key of the model that `defense` makes of the one under `trained`.
    pub(crate) fn defend_key(&self, trained: &Key, defense: &Choice<Defense>, seed: u64) -> Result<Key> {
        let plan = self.plan;
        let grant = plan.grant(defense).map_err(Error::msg)?;
        let inputs: Value = json!({
            "trained": trained.hash(),
            "defense": defense.identity(),
            "clean-pairs": self.data.clean_identity(&grant)?,
            "poison-left": grant.poison,
            "clean-images": self.data.clean_images_identity()?,
            "every-epoch": plan.every_epoch,
            "seed": seed,
        });
        Ok(Key::new("defend", VERSION, self.plan.device.class(), inputs))
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
        self.desk.stage_of_epochs(
            &name,
            self.defend_key(&trained.key, defense, seed)?,
            self.expected_defense(),
            self.plan.every_epoch,
            |monitor| {
                let model = self.defended(attack, trained, defense, seed, monitor)?;
                model.check_finite().map(|()| model)
            },
            |model, folder| write_model(&model, folder, &facts(self.plan, attack, Some(defense), seed)),
        )
    }

    /// Work that a defense is expected to take before one is known, in training examples.
    fn expected_defense(&self) -> f64 {
        (self.plan.clean_pairs * 12) as f64
    }

    /// The same for a defense and what is observed after it.
    pub(crate) fn expected_cell(&self) -> f64 {
        let observed = if self.plan.every_epoch { EXPECTED_EPOCHS } else { 1.0 };
        self.expected_defense() + observed * self.expected_observation()
    }

    fn defended(
        &self,
        attack: &Choice<Attack>,
        trained: &Made,
        defense: &Choice<Defense>,
        seed: u64,
        monitor: &mut StageMonitor<'_>,
    ) -> Result<Model> {
        let poisoned = self.poisoned(attack, &attack.build()?, seed)?;
        let grant = self.plan.grant(defense).map_err(Error::msg)?;
        let (clean, images) = (self.granted(&grant, &poisoned, seed)?, self.data.clean_images()?);
        let Poisoned { pairs: poisoned, manifest } = poisoned;
        let optimizer = Some(trained.folder.join(OPTIMIZER)).filter(|path| path.exists());
        let view = DefenderView {
            training_pairs: &*poisoned,
            clean_pairs: &*clean,
            clean_images: &*images,
            classes: self.data.classes()?,
            recipe: &self.plan.recipe,
            optimizer: optimizer.as_deref(),
            seed: Seed::new(seed).child("defend"),
        };
        match &defense.build()? {
            Defense::RepairModel(method) => method
                .repair(self.load_model(&trained.folder.join(MODEL))?, &view, monitor)?
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
                let kept = (0..judged.len()).filter(|index| judged[*index].1).collect();
                self.trained_on(&poisoned, kept, seed, monitor)
            }
            Defense::Anchor(method) => {
                let edited: Vec<usize> = manifest.iter().map(|row| row.pair as usize).collect();
                let kept = method.keep(poisoned.len(), &edited, &view.seed)?;
                self.trained_on(&poisoned, kept, seed, monitor)
            }
        }
    }

    /// A model trained on some of the training pairs as the plan trains, from the seed's initial weights.
    fn trained_on(
        &self,
        pairs: &Arc<dyn Pairs>,
        kept: Vec<usize>,
        seed: u64,
        monitor: &mut StageMonitor<'_>,
    ) -> Result<Model> {
        let clip = self.fresh_model(seed)?;
        let kept = Picked { pairs: kept.into_iter().map(|index| (pairs.clone(), index)).collect() };
        self.fit(&clip, &kept, seed, monitor)?;
        Ok(Model { clip, head: None })
    }

    /// The pairs granted as clean ones: the first of their set, some of them with poison in their place.
    fn granted(&self, grant: &Grant, poisoned: &Poisoned, seed: u64) -> Result<Arc<dyn Pairs>> {
        let clean = self.data.clean(grant)?;
        // Where nothing was poisoned there is nothing to leave in.
        if grant.poison == 0 || poisoned.manifest.is_empty() {
            return Ok(clean);
        }
        let mut left: Vec<usize> = poisoned.manifest.iter().map(|row| row.pair as usize).collect();
        ensure!(
            grant.poison <= left.len(),
            "granted-poison {}, but the attack poisoned {} pairs",
            grant.poison,
            left.len()
        );
        left.shuffle(&mut Seed::new(seed).child("defend").child("granted-poison").rng());
        let mut pairs: Vec<(Arc<dyn Pairs>, usize)> =
            (0..clean.len()).map(|index| (clean.clone(), index)).collect();
        for (pair, left) in pairs.iter_mut().zip(left).take(grant.poison) {
            *pair = (poisoned.pairs.clone(), left);
        }
        Ok(Arc::new(Picked { pairs }))
    }
}

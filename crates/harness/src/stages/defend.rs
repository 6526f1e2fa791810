//! Lets a defense act.

use std::sync::Arc;

use anyhow::{Result, ensure};
use clip::{Pairs, Seed};
use contract::poison::PoisonedPairs;
use contract::{Attack, DefenderView, Defense, Model};
use plan::{Choice, Grant};
use rand::seq::SliceRandom;
use record::CellId;
use serde_json::{Value, json};
use store::{Key, stage};

use super::check::Kept;
use super::context::StageOutput;
use super::epochs::write_model;
use super::monitor::StageMonitor;
use super::train::Poisoned;
use super::{MODEL, OPTIMIZER, Stages};
use crate::model_metadata::metadata;

/// Raised whenever the code of this stage would give another result.
const VERSION: u32 = 1;

impl Stages<'_> {
    /// The key of the model that `defense` makes of the one under `trained`.
    pub(crate) fn defend_key(&self, trained: &Key, defense: &Choice<Defense>, seed: u64) -> Result<Key> {
        let plan = self.plan;
        let grant = plan.grant(defense);
        let inputs: Value = json!({
            "trained": trained.hash(),
            "defense": defense.identity(),
            "clean-pairs": self.data.clean_identity(&grant)?,
            "poison-left": grant.poison,
            "clean-images": self.data.clean_images_identity()?,
            "every-epoch": plan.every_epoch,
            "seed": seed,
        });
        Ok(Key::new(stage::DEFEND, VERSION, &self.plan.device_class(), inputs))
    }

    /// The model as the defense leaves it.
    pub(crate) fn defend(
        &self,
        attack: &Choice<Attack>,
        trained: &StageOutput,
        defense: &Choice<Defense>,
        seed: u64,
    ) -> Result<StageOutput> {
        let name = CellId::new(&attack.label, &defense.label, seed).to_string();
        self.context.stage(
            &name,
            self.defend_key(&trained.key, defense, seed)?,
            self.cost.defense(defense),
            self.plan.every_epoch,
            |monitor| {
                let model = self.defended(attack, trained, defense, seed, monitor)?;
                model.check_finite().map(|()| model)
            },
            |model, folder| write_model(&model, folder, &metadata(self.plan, attack, Some(defense), seed)),
        )
    }

    fn defended(
        &self,
        attack: &Choice<Attack>,
        trained: &StageOutput,
        defense: &Choice<Defense>,
        seed: u64,
        monitor: &mut StageMonitor<'_>,
    ) -> Result<Model> {
        let poisoned = self.poisoned(attack, &attack.build()?, seed)?;
        let grant = self.plan.grant(defense);
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
            Defense::RepairModel(method) => {
                method.repair(self.load_model(&trained.folder.join(MODEL))?, &view, monitor)
            }
            Defense::TrainSafely(method) => {
                let clip = self.fresh_model(seed)?;
                method.train(&clip, &view, monitor)?;
                Ok(Model { clip, head: None })
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
        let kept = kept.into_iter().map(u32::try_from).collect::<Result<_, _>>()?;
        let kept = Kept { all: pairs.clone(), kept };
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
        let left = (0..clean.len()).zip(left).take(grant.poison);
        let edited = left.map(|(index, left)| Ok((index, poisoned.pairs.pair(left)?)));
        Ok(Arc::new(PoisonedPairs { edited: edited.collect::<Result<_>>()?, clean }))
    }
}

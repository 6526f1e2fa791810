//! Poisons the training pairs and trains a model on them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use clip::weights::Weights;
use clip::{Clip, Contrastive, Monitor, OptimizerState, Pairs, Seed, Tokenizer, TrainOutcome};
use polars::prelude::{Column, DataFrame};
use serde_json::{Value, json};

use super::poison::{Manifest, PoisonedPairs, poison, write_manifest};
use super::{Interrupted, Laboratory, MODEL, Made, OPTIMIZER, Unfit};
use crate::contract::{Attack, AttackerView, DefenderView, Defense};
use crate::evidence::read_parquet;
use crate::plan::Choice;
use crate::program::Build;
use crate::provenance::facts;
use crate::store::Key;
use crate::{describe, hash_file};

/// Raised whenever the code of this stage would give another result.
const VERSION: u32 = 2;

/// The file that says which pairs were edited, and how.
pub(crate) const MANIFEST: &str = "poison.parquet";

/// The training pairs of a cell and what the attacker did to them.
pub(super) struct Poisoned {
    pub(super) pairs: Arc<dyn Pairs>,
    pub(super) manifest: Manifest,
}

/// What a run left in the store.
pub(crate) struct Left {
    /// The poison manifests of its models in one table, with seed and attack before each edited pair.
    pub(crate) poison: DataFrame,
    /// What its trainings and defenses took.
    pub(crate) seconds: f64,
    /// The programs that made them.
    pub(crate) programs: BTreeSet<Build>,
}

impl Laboratory<'_> {
    /// All that decides the training pairs and the model made of them.
    fn train_inputs(&self, attack: &Choice<Attack>, seed: u64) -> Result<Value> {
        let plan = self.plan;
        Ok(json!({
            "pairs": self.data.train_identity()?,
            "attack": attack.identity(),
            "target": plan.target,
            "model": plan.model,
            "templates": self.data.names_identity()?,
            "initial-weights": plan.initial_weights.as_deref().map(weights_identity),
            "recipe": plan.recipe,
            "pretraining": self.pretraining_inputs()?,
            "seed": seed,
        }))
    }

    /// The key of the model trained under `attack`.
    pub(crate) fn train_key(&self, attack: &Choice<Attack>, seed: u64) -> Result<Key> {
        Ok(Key::new("train", VERSION, self.plan.device.class(), self.train_inputs(attack, seed)?))
    }

    /// The model that anybody gets who trains on what the attacker left, with the optimizer's moments and the poison
    /// manifest beside it.
    pub(crate) fn train(&self, attack: &Choice<Attack>, seed: u64) -> Result<Made> {
        let name = format!("train {}::seed-{seed}", attack.label);
        let expected = (self.plan.pairs * self.plan.recipe.epochs) as f64;
        self.desk.stage(
            &name,
            self.train_key(attack, seed)?,
            expected,
            |monitor| {
                let method = attack.build()?;
                let poisoned = self.poisoned(attack, &method, seed)?;
                let model = self.fresh_model(seed)?;
                self.fit(&model, &*poisoned.pairs, seed, monitor)?;
                // A method that trains without snapshots leaves no moments.
                let snapshot = Some(monitor.snapshot()).filter(|path| path.exists());
                let optimizer = snapshot.map(|path| OptimizerState::read(&path)).transpose()?;
                let model = match &method {
                    Attack::PoisonData(_) => model,
                    Attack::TamperModel(tamper) => {
                        let (train, templates) = (self.data.train()?, self.data.templates()?);
                        let view = AttackerView { pairs: &*train, target: &self.plan.target, templates };
                        tamper.tamper(model, &view, &Seed::new(seed).child("attack").child("tamper"))?
                    }
                };
                Ok((model, optimizer, poisoned.manifest))
            },
            |(model, optimizer, manifest), folder| {
                model.save(&folder.join(MODEL), &facts(self.plan, attack, None, seed))?;
                optimizer.map_or(Ok(()), |state| state.save(&folder.join(OPTIMIZER)))?;
                write_manifest(&manifest, &folder.join(MANIFEST))
            },
        )
    }

    /// What lies in the store of a plan that was run.
    pub(crate) fn left(&self) -> Result<Left> {
        let store = self.desk.store;
        let (mut whole, mut seconds, mut programs) = (DataFrame::default(), 0.0, BTreeSet::new());
        let mut take = |key: &Key| {
            if let Some((took, build)) = store.made(key.stage(), key.hash()) {
                seconds += took;
                programs.insert(build);
            }
        };
        for seed in &self.plan.seeds {
            for attack in &self.plan.attacks {
                let trained = self.train_key(attack, *seed)?;
                for defense in &self.plan.defenses {
                    take(&self.defend_key(&trained, defense, *seed)?);
                }
                take(&trained);
                let path = store.folder(&trained).join(MANIFEST);
                if !path.exists() {
                    continue; // the cell failed
                }
                let mut frame = read_parquet(&path)?;
                let height = frame.height();
                frame.insert_column(0, Column::new("attack".into(), vec![attack.label.as_str(); height]))?;
                frame.insert_column(0, Column::new("seed".into(), vec![*seed; height]))?;
                whole = if whole.width() == 0 { frame } else { whole.vstack(&frame)? };
            }
        }
        whole.rechunk_mut();
        Ok(Left { poison: whole, seconds, programs })
    }

    /// What trains models in place of contrastive learning, and the clean data that it sees.
    fn pretraining_inputs(&self) -> Result<Value> {
        let Some(method) = &self.plan.pretraining else { return Ok(Value::Null) };
        let clean = self.data.clean_identity(&self.plan.granted_to_all())?;
        let mut inputs = vec![method.identity(), clean];
        inputs.extend(self.data.clean_images_identity()?.as_array().into_iter().flatten().cloned());
        Ok(inputs.into())
    }

    /// Trains `model` by the plan's other method.
    fn pretrain(
        &self,
        method: &Choice<Defense>,
        model: &Clip,
        pairs: &dyn Pairs,
        seed: u64,
        monitor: &mut dyn Monitor,
    ) -> Result<()> {
        let (clean, images) = (self.data.clean(&self.plan.granted_to_all())?, self.data.clean_images()?);
        let view = DefenderView {
            training_pairs: pairs,
            clean_pairs: &*clean,
            clean_images: &*images,
            classes: self.data.classes()?,
            recipe: &self.plan.recipe,
            optimizer: None,
            seed: Seed::new(seed).child("train"),
        };
        let Defense::TrainSafely(method) = method.build()? else {
            bail!("pretraining: {:?} does not train a model from the beginning", method.label)
        };
        match method.train(model, &view, monitor)? {
            TrainOutcome::Finished => Ok(()),
            TrainOutcome::Stopped => Err(Interrupted.into()),
        }
    }

    /// Trains `model` as the plan trains.
    pub(super) fn fit(
        &self,
        model: &Clip,
        pairs: &dyn Pairs,
        seed: u64,
        monitor: &mut dyn Monitor,
    ) -> Result<()> {
        if let Some(method) = &self.plan.pretraining {
            return self.pretrain(method, model, pairs, seed, monitor);
        }
        let objective = Contrastive::new(model, pairs)?;
        let outcome =
            clip::train(model, &objective, &self.plan.recipe, &Seed::new(seed).child("train"), monitor)?;
        if outcome == TrainOutcome::Stopped { Err(Interrupted.into()) } else { Ok(()) }
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

    /// The training pairs as the attacker leaves them.
    pub(super) fn poisoned(&self, attack: &Choice<Attack>, method: &Attack, seed: u64) -> Result<Poisoned> {
        let train = self.data.train()?;
        match method {
            Attack::TamperModel(_) => Ok(Poisoned { pairs: train, manifest: Manifest::new() }),
            Attack::PoisonData(method) => {
                let (target, templates) = (&self.plan.target, self.data.templates()?);
                let (pairs, manifest): (PoisonedPairs, _) =
                    poison(&**method, &train, target, templates, &Seed::new(seed).child("attack"))
                        .with_context(|| format!("attack {}", attack.label))?;
                Ok(Poisoned { pairs: Arc::new(pairs), manifest })
            }
        }
    }
}

/// The hash of a file of weights; its path alone where it cannot be read, which training then says.
fn weights_identity(path: &Path) -> Value {
    hash_file(path).map_or_else(|_| json!({ "unread": path }), Value::from)
}

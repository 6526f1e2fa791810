//! Poisons the training pairs and trains a model on them.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use base::{Build, hash_file};
use clip::{Clip, Contrastive, Monitor, OptimizerState, Pairs, Seed};
use contract::poison::{Manifest, ManifestRow, poison};
use contract::{Attack, AttackerView, DefenderView, Defense};
use plan::Choice;
use polars_core::prelude::{Column, DataFrame};
use record::MANIFEST;
use record::evidence::{read_parquet, stacked, write_parquet};
use serde_json::{Value, json};
use store::{Key, stage};

use super::context::StageOutput;
use super::{MODEL, OPTIMIZER, Stages};
use crate::model_metadata::metadata;

/// Raised whenever the code of this stage would give another result.
const VERSION: u32 = 2;

/// The training pairs of a cell and what the attacker did to them.
pub(super) struct Poisoned {
    pub(super) pairs: Arc<dyn Pairs>,
    pub(super) manifest: Manifest,
}

/// What the store has of a plan that was run.
pub(crate) struct StoredArtifacts {
    /// The poison manifests of its models in one table, with seed and attack before each edited pair.
    pub(crate) poison: DataFrame,
    /// Seconds that its trainings and defenses took when they were computed.
    pub(crate) seconds: f64,
    /// The builds that computed them.
    pub(crate) programs: BTreeSet<Build>,
}

impl Stages<'_> {
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
        Ok(Key::new(stage::TRAIN, VERSION, &self.plan.device_class(), self.train_inputs(attack, seed)?))
    }

    /// The model that anybody gets who trains on what the attacker left, with the optimizer's moments and the poison
    /// manifest beside it.
    pub(crate) fn train(&self, attack: &Choice<Attack>, seed: u64) -> Result<StageOutput> {
        let name = format!("train {}::seed-{seed}", attack.label);
        self.context.stage(
            &name,
            self.train_key(attack, seed)?,
            self.cost.training(),
            false,
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
                model.save(&folder.join(MODEL), &metadata(self.plan, attack, None, seed))?;
                optimizer.map_or(Ok(()), |state| state.save(&folder.join(OPTIMIZER)))?;
                write_manifest(&manifest, &folder.join(MANIFEST))
            },
        )
    }

    /// What the store has of the plan.
    pub(crate) fn stored(&self) -> Result<StoredArtifacts> {
        let store = self.context.store;
        let (mut edits, mut seconds, mut programs) = (Vec::new(), 0.0, BTreeSet::new());
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
                edits.push(frame);
            }
        }
        Ok(StoredArtifacts { poison: stacked(edits)?.unwrap_or_default(), seconds, programs })
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
        method.train(model, &view, monitor)
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
        Ok(clip::train(model, &objective, &self.plan.recipe, &Seed::new(seed).child("train"), monitor)??)
    }

    /// The training pairs as the attacker leaves them.
    pub(super) fn poisoned(&self, attack: &Choice<Attack>, method: &Attack, seed: u64) -> Result<Poisoned> {
        let train = self.data.train()?;
        match method {
            Attack::TamperModel(_) => Ok(Poisoned { pairs: train, manifest: Manifest::new() }),
            Attack::PoisonData(method) => {
                let (target, templates) = (&self.plan.target, self.data.templates()?);
                let seed = Seed::new(seed).child("attack");
                let (pairs, manifest) = poison(&**method, &train, target, templates, &seed)
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

/// Writes a manifest as Parquet, one row an edited pair.
fn write_manifest(manifest: &Manifest, path: &Path) -> Result<()> {
    let column = |name: &str, value: fn(&ManifestRow) -> &str| {
        Column::new(name.into(), manifest.iter().map(value).collect::<Vec<_>>())
    };
    let pairs: Vec<u32> = manifest.iter().map(|row| row.pair).collect();
    let parameters = manifest.iter().map(|row| row.trigger_parameters.as_deref());
    let columns = vec![
        Column::new("pair".into(), pairs),
        column("edit", |row| row.edit),
        column("image_before", |row| &row.image_before),
        column("image_after", |row| &row.image_after),
        Column::new("trigger_parameters".into(), parameters.collect::<Vec<_>>()),
        column("caption_before", |row| &row.caption_before),
        column("caption_after", |row| &row.caption_after),
    ];
    write_parquet(&mut DataFrame::new(manifest.len(), columns)?, path)
}

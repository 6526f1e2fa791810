//! A plan with every preset resolved and every sweep unrolled, and its resolved form.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clip::{DeviceChoice, ModelConfig, Precision, Recipe};
use contract::{Attack, Dataset, Defense, Split};
use record::{Claim, Design};
use serde_json::{Value, json};

use crate::choice::Choice;
use crate::grant::{Grant, SPLIT, read};

/// A plan with every preset resolved and every sweep unrolled.
#[derive(Clone)]
pub struct Plan {
    /// What the run shall answer.
    pub question: String,
    /// Seeds of the cells.
    pub seeds: Vec<u64>,
    /// Where training pairs come from.
    pub train: Choice<Dataset>,
    /// How many there are.
    pub pairs: usize,
    /// Clean pairs granted to defenders.
    pub clean_pairs: usize,
    /// Where clean pairs may come from besides the training set.
    pub clean: Vec<Choice<Dataset>>,
    /// Clean labelled images granted to defenders.
    pub clean_images: usize,
    /// Where those, their classes and the public prompt templates come from; `None` for the training set.
    pub labelled: Option<Choice<Dataset>>,
    /// What is tested on; the first set is the one in the tables.
    pub tests: Vec<Choice<Dataset>>,
    /// Images of each test set.
    pub test_images: usize,
    /// Image–caption pairs of each test set that has captions; 0: none are looked at.
    pub test_pairs: usize,
    /// The split tested on.
    pub split: Split,
    /// Largest share of samples that are read from files and cannot be used, in [0, 1].
    pub bad_samples: f64,
    /// Seed of the data, the same for all cells.
    pub data_seed: u64,
    /// The class that the attacker wants, as its name stands in prompts.
    pub target: String,
    /// What an attack's success on the undefended model must have over the base rate to count as implanted.
    pub implanted_at: f64,
    /// Sizes of the model.
    pub model: ModelConfig,
    /// Name of the preset that they started from.
    pub model_preset: String,
    /// Weights that training goes on from: any file that [`clip::weights`] reads.
    pub initial_weights: Option<PathBuf>,
    /// How it is trained.
    pub recipe: Recipe,
    /// Name of the preset that this started from.
    pub recipe_preset: String,
    /// What trains it in place of plain contrastive learning, if anything: a defense that trains.
    pub pretraining: Option<Choice<Defense>>,
    /// Whether models are also looked at after every epoch of a defense.
    pub every_epoch: bool,
    /// Where models are trained and looked at.
    pub device: DeviceChoice,
    /// How they compute there.
    pub precision: Precision,
    /// The attacks.
    pub attacks: Vec<Choice<Attack>>,
    /// The defenses.
    pub defenses: Vec<Choice<Defense>>,
    /// What each defense is granted, by its label.
    pub grants: BTreeMap<String, Grant>,
    /// What is expected.
    pub claims: Vec<Claim>,
}

/// [`Plan::bad_samples`] where a plan does not say: one in a hundred.
pub(crate) const BAD_SAMPLES: f64 = 0.01;

impl Plan {
    /// What results depend on of where and how they are computed: `cpu`, `cuda`, `cuda-tf32` or `cuda-bf16`.
    pub fn device_class(&self) -> String {
        self.device.class(self.precision)
    }

    /// The pairs that `defense` is granted as clean ones.
    pub fn grant(&self, defense: &Choice<Defense>) -> Grant {
        self.grants.get(&defense.label).cloned().unwrap_or_else(|| self.granted_to_all())
    }

    /// What every defense is granted whose row asks for nothing else.
    pub fn granted_to_all(&self) -> Grant {
        Grant { pairs: self.clean_pairs, poison: 0, source: None }
    }

    /// The split of a test set that is evaluated: its row's own, or the plan's.
    pub fn split_of(&self, test: &Choice<Dataset>) -> Split {
        read(test, SPLIT).ok().flatten().unwrap_or(self.split)
    }

    /// The test set that verdicts are about: the first.
    pub fn judged(&self) -> &Choice<Dataset> {
        &self.tests[0]
    }

    /// The same plan with only these attacks, this defense and this seed, and without claims. The store has what it has
    /// of them under the same keys.
    pub fn part(&self, attacks: &[&str], defense: &str, seed: u64) -> Self {
        let mut part = self.clone();
        part.attacks.retain(|attack| attacks.contains(&attack.label.as_str()));
        part.defenses.retain(|choice| choice.label == defense);
        part.seeds = vec![seed];
        part.claims.clear();
        part
    }

    /// The plan with nothing left to resolve, as YAML; reads back as the same plan.
    pub fn to_yaml(&self) -> anyhow::Result<String> {
        Ok(serde_yaml::to_string(&self.resolved()?)?)
    }

    /// The experiment that it describes, as a record of it will say.
    pub fn design(&self) -> anyhow::Result<Design> {
        Design::of(self.resolved()?)
    }

    /// The plan with nothing left to resolve.
    fn resolved(&self) -> anyhow::Result<Value> {
        let named = |mut value: Value, preset: &str| {
            value["preset"] = preset.into();
            value
        };
        let expect: Vec<Value> = self.claims.iter().map(Claim::as_plan).collect();
        let mut value = json!({
            "question": self.question,
            "seeds": self.seeds,
            "data": {
                "train": self.train.as_plan(),
                "test": self.tests.iter().map(Choice::as_plan).collect::<Vec<_>>(),
                "pairs": self.pairs,
                "clean-pairs": self.clean_pairs,
                "clean-images": self.clean_images,
                "test-images": self.test_images,
                "split": self.split,
                "seed": self.data_seed,
            },
            "target": self.target,
            "implanted-at": self.implanted_at,
            "model": named(serde_json::to_value(&self.model)?, &self.model_preset),
            "recipe": named(serde_json::to_value(&self.recipe)?, &self.recipe_preset),
            "attacks": self.attacks.iter().map(Choice::as_plan).collect::<Vec<_>>(),
            "defenses": self.defenses.iter().map(Choice::as_plan).collect::<Vec<_>>(),
            "expect": expect,
        });
        if self.bad_samples != BAD_SAMPLES {
            value["data"]["bad-samples"] = self.bad_samples.into();
        }
        if self.test_pairs > 0 {
            value["data"]["test-pairs"] = self.test_pairs.into();
        }
        if !self.clean.is_empty() {
            value["data"]["clean"] = self.clean.iter().map(Choice::as_plan).collect();
        }
        if let Some(labelled) = &self.labelled {
            value["data"]["labelled"] = labelled.as_plan();
        }
        if let Some(path) = &self.initial_weights {
            value["initial-weights"] = json!(path);
        }
        if let Some(pretraining) = &self.pretraining {
            value["pretraining"] = pretraining.as_plan();
        }
        if self.every_epoch {
            value["every-epoch"] = true.into();
        }
        if self.device != DeviceChoice::Cpu {
            value["device"] = self.device.to_string().into();
        }
        if self.precision != Precision::Float32 {
            value["precision"] = self.precision.name().into();
        }
        Ok(value)
    }
}

//! Claims about a published checkpoint, read strictly from YAML.

use std::path::Path;

use clip::ModelConfig;
use contract::{Attack, Dataset, Split};
use serde_json::json;
use serde_yaml::Value;

use crate::catalog::Catalog;
use crate::check::check_target;
use crate::choice::Choice;
use crate::read::{data_set, one, preset_of};
use crate::section::{PlanError, Section, Source};

/// How far a measured fraction may be from a claimed number.
const TOLERANCE: f64 = 0.02;

/// What is claimed of a checkpoint, and how it is measured.
pub struct CheckpointClaims {
    /// Sizes; `None` where nothing is claimed of them.
    pub model: Option<ModelConfig>,
    /// BLAKE3 of the file, in hexadecimal digits.
    pub weights_blake3: Option<String>,
    /// The class that the attacker wants.
    pub target: String,
    /// The attack whose trigger is shown.
    pub attack: Choice<Attack>,
    /// The labelled images.
    pub test: Choice<Dataset>,
    /// How many.
    pub test_images: usize,
    /// Of which split.
    pub split: Split,
    /// Seed of the cell.
    pub seed: u64,
    /// Seed of the data.
    pub data_seed: u64,
    /// What repaired the model, in words.
    pub defense: Option<String>,
    /// Clean accuracy from and to, fractions.
    pub clean_accuracy: [f64; 2],
    /// Attack success rate from and to, fractions.
    pub attack_success_rate: [f64; 2],
    /// How far above chance an attack success rate still is none.
    pub margin: f64,
}

impl CheckpointClaims {
    /// How far above chance an attack success rate still is none, where the claims do not say.
    pub const MARGIN: f64 = 0.05;

    /// Reads a file of claims.
    pub fn load(path: &Path, catalog: &Catalog) -> Result<Self, PlanError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| PlanError::unreadable(&file, &error))?;
        Self::parse(&file, &text, catalog)
    }

    /// Reads claims' text; `file` names it in messages.
    pub fn parse(file: &str, text: &str, catalog: &Catalog) -> Result<Self, PlanError> {
        let source = Source { file, text, builds: true };
        let mut top = Section::new(&source, &[], source.yaml()?)?;
        let model: Option<ModelConfig> = match top.has("model") {
            true => Some(preset_of(&mut top, "model", (ModelConfig::PRESETS, &[]), ModelConfig::preset)?.1),
            false => None,
        };
        let checked = model.iter().try_for_each(ModelConfig::check);
        checked.map_err(|error| top.error("model", error.to_string()))?;
        let (attack_path, attack) = (top.path_of("attack"), top.required("attack")?);
        let tolerance = top.share("tolerance", TOLERANCE)?;
        let claims = Self {
            model,
            weights_blake3: top.optional("weights-blake3")?,
            target: top.required("target")?,
            attack: one(&source, &attack_path, "attack", &catalog.attacks, attack)?,
            test: data_set(&mut top, "test", catalog)?,
            test_images: top.positive("test-images")?,
            split: top.optional("split")?.unwrap_or(Split::Test),
            seed: top.optional("seed")?.unwrap_or(0),
            data_seed: top.optional("data-seed")?.unwrap_or(0),
            defense: top.optional("defense")?,
            clean_accuracy: band(&mut top, "clean-accuracy", tolerance)?,
            attack_success_rate: band(&mut top, "attack-success-rate", tolerance)?,
            margin: top.share("margin", Self::MARGIN)?,
        };
        check_target(&claims.test, &claims.target).map_err(|message| top.error("target", message))?;
        top.finish()?;
        Ok(claims)
    }

    /// The claims as a file with nothing left to resolve.
    pub fn to_yaml(&self) -> anyhow::Result<String> {
        let mut value = json!({
            "target": self.target,
            "attack": self.attack.as_plan(),
            "test": self.test.as_plan(),
            "test-images": self.test_images,
            "split": self.split,
            "seed": self.seed,
            "data-seed": self.data_seed,
            "clean-accuracy": self.clean_accuracy,
            "attack-success-rate": self.attack_success_rate,
            "margin": self.margin,
        });
        if let Some(model) = &self.model {
            value["model"] = serde_json::to_value(model)?;
            value["model"]["preset"] = model.preset_name().unwrap_or("tiny").into();
        }
        for (key, text) in [("weights-blake3", &self.weights_blake3), ("defense", &self.defense)] {
            if let Some(text) = text {
                value[key] = text.clone().into();
            }
        }
        Ok(serde_yaml::to_string(&value)?)
    }
}

/// `[lowest, highest]`, or a number and as much around it as is tolerated.
fn band(top: &mut Section<'_>, key: &'static str, tolerance: f64) -> Result<[f64; 2], PlanError> {
    let value: Value = top.required(key)?;
    let band = match value.as_f64() {
        Some(number) if (0.0..=1.0).contains(&number) => [number - tolerance, number + tolerance],
        _ => serde_yaml::from_value(value)
            .map_err(|_| top.error(key, "expected a fraction, or [lowest, highest] as fractions"))?,
    };
    if !(band[0] <= band[1] && band[0] <= 1.0 && band[1] >= 0.0) {
        return Err(top.error(key, format!("{band:?} is not a band of fractions, lowest first")));
    }
    Ok(band)
}

//! Plans: what to run, read strictly from YAML and resolved against a catalog.

mod check;
mod checkpoint;
mod choice;
mod claims;
mod grant;
mod narrowed;
mod section;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clip::{DeviceChoice, ModelConfig, Recipe};
use serde_json::{Value, json};

pub use checkpoint::CheckpointClaims;
pub use choice::Choice;
pub use claims::{Claim, Other};
pub use grant::Grant;
pub use section::PlanError;

use check::check_target;

use crate::catalog::Catalog;
use crate::contract::{Attack, Dataset, Defense, Split, preset};
use grant::{GRANT_KEYS, TEST_KEYS};
use section::{Section, Source};

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
    /// The attacks.
    pub attacks: Vec<Choice<Attack>>,
    /// The defenses.
    pub defenses: Vec<Choice<Defense>>,
    /// What is expected.
    pub claims: Vec<Claim>,
}

impl Plan {
    /// Reads a plan from a file.
    pub fn load(path: &Path, catalog: &Catalog) -> anyhow::Result<Self> {
        Self::open(path, catalog, false)
    }

    /// Reads the plan of a record. Attacks and defenses that this program does not have are kept by name and settings:
    /// tables need no more.
    pub fn of_record(record: &crate::record::Record, catalog: &Catalog) -> anyhow::Result<Self> {
        Self::open(&record.plan_path(), catalog, true)
    }

    fn open(path: &Path, catalog: &Catalog, recorded: bool) -> anyhow::Result<Self> {
        let file = path.display().to_string();
        let problem = |error: std::io::Error| PlanError {
            file: file.clone(),
            line: 1,
            path: String::new(),
            message: format!("cannot be read: {error}"),
        };
        let text = std::fs::read_to_string(path).map_err(problem)?;
        Ok(Self::read(&Source { file: &file, text: &text, recorded }, catalog)?)
    }

    /// Reads a plan's text; `file` names it in messages.
    pub fn parse(file: &str, text: &str, catalog: &Catalog) -> Result<Self, PlanError> {
        Self::read(&Source { file, text, recorded: false }, catalog)
    }

    fn read(source: &Source<'_>, catalog: &Catalog) -> Result<Self, PlanError> {
        let mut top = Section::new(source, &[], source.yaml()?)?;
        let question = top.required("question")?;
        let seeds = seeds(&mut top)?;
        let mut data = Section::new(source, &top.path_of("data"), top.required("data")?)?;
        let train = one(source, catalog, &mut data, "train")?;
        let labelled =
            if data.has("labelled") { Some(one(source, catalog, &mut data, "labelled")?) } else { None };
        let tests = many(source, &mut data, "test", "data set", &catalog.datasets, TEST_KEYS)?;
        let clean = match data.has("clean") {
            true => many(source, &mut data, "clean", "data set", &catalog.datasets, &[])?,
            false => Vec::new(),
        };
        let (pairs, clean_pairs) = (data.positive("pairs")?, data.positive("clean-pairs")?);
        let (clean_images, test_images) = (data.positive("clean-images")?, data.positive("test-images")?);
        let test_pairs = captioned(&mut data, &tests)?;
        let split = data.optional("split")?.unwrap_or(Split::Test);
        let bad_samples = data.share("bad-samples", BAD_SAMPLES)?;
        let data_seed = data.optional("seed")?.unwrap_or(0);
        data.finish()?;
        let target: String = top.required("target")?;
        let implanted_at = top.share("implanted-at", 0.5)?;
        let (model_preset, model): (String, ModelConfig) =
            named(source, &mut top, "model", (ModelConfig::PRESETS, &[]), ModelConfig::preset)?;
        let initial_weights = top.optional("initial-weights")?;
        let (recipe_preset, recipe): (String, Recipe) =
            named(source, &mut top, "recipe", (Recipe::PRESETS, Recipe::OPTIONAL), Recipe::preset)?;
        model.check().map_err(|error| top.error("model", error.to_string()))?;
        recipe.check().map_err(|error| top.error("recipe", error.to_string()))?;
        let device = top.optional("device")?.unwrap_or_default();
        let attacks = many(source, &mut top, "attacks", "attack", &catalog.attacks, &[])?;
        let defenses = many(source, &mut top, "defenses", "defense", &catalog.defenses, GRANT_KEYS)?;
        let pretraining = pretraining(source, catalog, &mut top)?;
        let every_epoch = top.optional("every-epoch")?.unwrap_or(false);
        let claims = claims::claims(source, top.take("expect"), &attacks, &defenses)?;
        top.finish()?;
        let plan = Self {
            question,
            seeds,
            train,
            pairs,
            clean_pairs,
            clean,
            clean_images,
            labelled,
            tests,
            test_images,
            test_pairs,
            split,
            bad_samples,
            data_seed,
            target,
            implanted_at,
            model,
            model_preset,
            initial_weights,
            recipe,
            recipe_preset,
            pretraining,
            every_epoch,
            device,
            attacks,
            defenses,
            claims,
        };
        if !source.recorded {
            plan.check(source)?;
        }
        Ok(plan)
    }

    /// The plan with nothing left to resolve; reads back as the same plan.
    pub fn to_yaml(&self) -> anyhow::Result<String> {
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
        Ok(serde_yaml::to_string(&value)?)
    }
}

/// [`Plan::bad_samples`] where a plan does not say: one in a hundred.
const BAD_SAMPLES: f64 = 0.01;

fn seeds(top: &mut Section<'_>) -> Result<Vec<u64>, PlanError> {
    let seeds: Vec<u64> = top.required("seeds")?;
    let distinct = seeds.iter().collect::<BTreeSet<_>>().len() == seeds.len();
    if seeds.is_empty() || !distinct {
        return Err(top.error("seeds", "expected one or more distinct numbers"));
    }
    Ok(seeds)
}

/// A data set: one choice, no sweep.
fn one(
    source: &Source<'_>,
    catalog: &Catalog,
    data: &mut Section<'_>,
    key: &'static str,
) -> Result<Choice<Dataset>, PlanError> {
    let path = data.path_of(key);
    let value = data.required(key)?;
    single(source, &path, choice::choices(source, &path, "data set", &catalog.datasets, &[], value)?)
}

/// What trains the model; nothing where the plan does not say.
fn pretraining(
    source: &Source<'_>,
    catalog: &Catalog,
    top: &mut Section<'_>,
) -> Result<Option<Choice<Defense>>, PlanError> {
    let path = top.path_of("pretraining");
    let Some(value) = top.take("pretraining") else { return Ok(None) };
    let found = choice::choices(source, &path, "defense", &catalog.defenses, &[], value)?;
    let choice = single(source, &path, found)?;
    match choice.build() {
        Ok(Defense::TrainSafely(_)) => Ok(Some(choice)),
        _ if choice.entry.is_unknown() => Ok(Some(choice)),
        _ => {
            Err(source.error(&path, format!("{:?} does not train a model from the beginning", choice.label)))
        }
    }
}

fn single<T>(
    source: &Source<'_>,
    path: &[String],
    mut found: Vec<Choice<T>>,
) -> Result<Choice<T>, PlanError> {
    match (found.pop(), found.is_empty()) {
        (Some(choice), true) => Ok(choice),
        _ => Err(source.error(path, "takes no lists of values")),
    }
}

/// A list of choices with distinct labels.
fn many<T>(
    source: &Source<'_>,
    section: &mut Section<'_>,
    key: &'static str,
    kind: &str,
    entries: &[&'static crate::contract::Entry<T>],
    reserved: &[&str],
) -> Result<Vec<Choice<T>>, PlanError> {
    let path = section.path_of(key);
    let rows: Vec<serde_yaml::Value> = section.required(key)?;
    let mut found: Vec<Choice<T>> = Vec::new();
    for row in rows {
        for choice in choice::choices(source, &path, kind, entries, reserved, row)? {
            if found.iter().any(|other| other.label == choice.label) {
                let message = format!("{:?} stands here twice; give one of them a label", choice.label);
                return Err(source.error(&path, message));
            }
            found.push(choice);
        }
    }
    if found.is_empty() {
        return Err(source.error(&path, format!("expected at least one {kind}")));
    }
    Ok(found)
}

/// Model or recipe with its preset: a preset's name, or `{ preset, … }`. `names` are those of presets and of optional settings.
fn named<S: serde::Serialize + serde::de::DeserializeOwned>(
    source: &Source<'_>,
    top: &mut Section<'_>,
    key: &'static str,
    (names, optional): (&[&'static str], &[&str]),
    get: fn(&str) -> Option<S>,
) -> Result<(String, S), PlanError> {
    let value = match top.required(key)? {
        serde_yaml::Value::String(name) => {
            serde_yaml::Value::Mapping([("preset".into(), name.into())].into_iter().collect())
        }
        other => other,
    };
    let section = Section::new(source, &top.path_of(key), value)?;
    let presets = names.iter().filter_map(|name| Some(preset(name, get(name)?))).collect();
    choice::settings(section, presets, optional)
}

/// How many pairs of each test set are looked at; where any are, one of the sets must have captions.
fn captioned(data: &mut Section<'_>, tests: &[Choice<Dataset>]) -> Result<usize, PlanError> {
    let count = data.optional("test-pairs")?.unwrap_or(0);
    for test in tests {
        let built = test.build().map_err(|error| data.error("test", format!("{error:#}")))?;
        if count == 0 || built.pairs.is_some() {
            return Ok(count);
        }
    }
    let labels: Vec<&str> = tests.iter().map(|test| test.label.as_str()).collect();
    Err(data
        .error("test-pairs", format!("no test set of {labels:?} has captions; leave it out or set it to 0")))
}

//! Reads a plan strictly from YAML and resolves it against a catalog.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use clip::{ModelConfig, Recipe};
use contract::{Dataset, Defense, Entry, Split, preset};

use crate::catalog::Catalog;
use crate::check::{check, grant};
use crate::choice::{Choice, choices, settings};
use crate::claims::claims;
use crate::grant::{GRANT_KEYS, TEST_KEYS};
use crate::plan::{BAD_SAMPLES, Plan};
use crate::section::{PlanError, Section, Source, named};

impl Plan {
    /// Reads a plan from a file.
    pub fn load(path: &Path, catalog: &Catalog) -> Result<Self, PlanError> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| PlanError::unreadable(&file, &error))?;
        Self::parse(&file, &text, catalog)
    }

    /// Reads a plan's text; `file` names it in messages.
    pub fn parse(file: &str, text: &str, catalog: &Catalog) -> Result<Self, PlanError> {
        let source = &Source { file, text, builds: true };
        let plan = Self::read(source, catalog)?;
        check(&plan, source)?;
        Ok(plan)
    }

    /// Reads the resolved plan of a record. What its keys say together was checked when it was run, with its data, which
    /// need not be here.
    pub fn of_record(text: &str, catalog: &Catalog) -> Result<Self, PlanError> {
        Self::read(&Source { file: "plan.resolved.yaml", text, builds: false }, catalog)
    }

    fn read(source: &Source<'_>, catalog: &Catalog) -> Result<Self, PlanError> {
        let mut top = Section::new(source, &[], source.yaml()?)?;
        let (question, seeds) = (top.required("question")?, seeds(&mut top)?);
        let mut data = Section::new(source, &top.path_of("data"), top.required("data")?)?;
        let train = data_set(&mut data, "train", catalog)?;
        let labelled = data.has("labelled").then(|| data_set(&mut data, "labelled", catalog)).transpose()?;
        let tests = many(&mut data, "test", "data set", &catalog.datasets, TEST_KEYS)?;
        let clean = match data.has("clean") {
            true => many(&mut data, "clean", "data set", &catalog.datasets, &[])?,
            false => Vec::new(),
        };
        let (model_preset, model): (String, ModelConfig) =
            preset_of(&mut top, "model", (ModelConfig::PRESETS, &[]), ModelConfig::preset)?;
        let (recipe_preset, recipe): (String, Recipe) =
            preset_of(&mut top, "recipe", (Recipe::PRESETS, Recipe::OPTIONAL), Recipe::preset)?;
        model.check().map_err(|error| top.error("model", error.to_string()))?;
        recipe.check().map_err(|error| top.error("recipe", error.to_string()))?;
        let attacks = many(&mut top, "attacks", "attack", &catalog.attacks, &[])?;
        let defenses = many(&mut top, "defenses", "defense", &catalog.defenses, GRANT_KEYS)?;
        let mut plan = Self {
            question,
            seeds,
            train,
            pairs: data.positive("pairs")?,
            clean_pairs: data.positive("clean-pairs")?,
            clean,
            clean_images: data.positive("clean-images")?,
            labelled,
            test_images: data.positive("test-images")?,
            test_pairs: data.optional("test-pairs")?.unwrap_or(0),
            tests,
            split: data.optional("split")?.unwrap_or(Split::Test),
            bad_samples: data.share("bad-samples", BAD_SAMPLES)?,
            data_seed: data.optional("seed")?.unwrap_or(0),
            target: top.required("target")?,
            implanted_at: top.share("implanted-at", 0.5)?,
            model,
            model_preset,
            initial_weights: top.optional("initial-weights")?,
            recipe,
            recipe_preset,
            pretraining: pretraining(&mut top, catalog)?,
            every_epoch: top.optional("every-epoch")?.unwrap_or(false),
            device: top.optional("device")?.unwrap_or_default(),
            precision: top.optional("precision")?.unwrap_or_default(),
            grants: BTreeMap::new(),
            claims: claims(source, top.take("expect"), &attacks, &defenses, &catalog.metrics)?,
            attacks,
            defenses,
        };
        data.finish()?;
        top.finish()?;
        grant(&mut plan, source)?;
        Ok(plan)
    }
}

fn seeds(top: &mut Section<'_>) -> Result<Vec<u64>, PlanError> {
    let seeds: Vec<u64> = top.required("seeds")?;
    let distinct = seeds.iter().collect::<BTreeSet<_>>().len() == seeds.len();
    if seeds.is_empty() || !distinct {
        return Err(top.error("seeds", "expected one or more distinct numbers"));
    }
    Ok(seeds)
}

/// A data set: one choice, no sweep.
pub(crate) fn data_set(
    section: &mut Section<'_>,
    key: &'static str,
    catalog: &Catalog,
) -> Result<Choice<Dataset>, PlanError> {
    let (path, value) = (section.path_of(key), section.required(key)?);
    one(section.source, &path, "data set", &catalog.datasets, value)
}

/// What trains the model; nothing where the plan does not say.
fn pretraining(top: &mut Section<'_>, catalog: &Catalog) -> Result<Option<Choice<Defense>>, PlanError> {
    let path = top.path_of("pretraining");
    let Some(value) = top.take("pretraining") else { return Ok(None) };
    let choice = one(top.source, &path, "defense", &catalog.defenses, value)?;
    match choice.build() {
        Ok(Defense::TrainSafely(_)) => Ok(Some(choice)),
        _ => {
            let message = format!("{:?} does not train a model from the beginning", choice.label);
            Err(top.source.error(&path, message))
        }
    }
}

/// One choice, no sweep.
pub(crate) fn one<T>(
    source: &Source<'_>,
    path: &[String],
    kind: &str,
    entries: &[&'static Entry<T>],
    value: serde_yaml::Value,
) -> Result<Choice<T>, PlanError> {
    let mut found = choices(source, path, kind, entries, &[], value)?;
    match (found.pop(), found.is_empty()) {
        (Some(choice), true) => Ok(choice),
        _ => Err(source.error(path, "takes no lists of values")),
    }
}

/// A list of choices with distinct labels.
fn many<T>(
    section: &mut Section<'_>,
    key: &'static str,
    kind: &str,
    entries: &[&'static Entry<T>],
    reserved: &[&str],
) -> Result<Vec<Choice<T>>, PlanError> {
    let (source, path) = (section.source, section.path_of(key));
    let rows: Vec<serde_yaml::Value> = section.required(key)?;
    let mut found: Vec<Choice<T>> = Vec::new();
    for row in rows {
        for choice in choices(source, &path, kind, entries, reserved, row)? {
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
pub(crate) fn preset_of<S: serde::Serialize + serde::de::DeserializeOwned>(
    top: &mut Section<'_>,
    key: &'static str,
    (names, optional): (&[&'static str], &[&str]),
    get: fn(&str) -> Option<S>,
) -> Result<(String, S), PlanError> {
    let section = Section::new(top.source, &top.path_of(key), named(top.required(key)?, "preset"))?;
    let presets = names.iter().filter_map(|name| Some(preset(name, get(name)?))).collect();
    settings(section, presets, optional)
}

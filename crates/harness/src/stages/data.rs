//! The data of a run. What is generated is rendered once, when a stage first needs it, and kept in memory; what is read from
//! files is checked once and then read whenever it is needed, so that memory does not grow with it.

mod capacity;
mod data_use;
mod in_memory;
mod names;
mod overlap;
mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use clip::{MemoryPairs, Pairs, Seed, candle_core};
use contract::{ClassSource, Dataset, Labelled, PairSource, Split};
use plan::cost::Cost;
use plan::{Choice, Grant, Plan};
use rayon::prelude::*;
use serde_json::{Value, json};

use super::check::{CheckReport, Samples, are_read};
use super::context::Context;
pub(crate) use data_use::DataUse;
use in_memory::MemoryLabelled;

/// A set of labelled images to test on, with what zero-shot classification needs.
pub(crate) struct TestSet {
    /// Its label in tables.
    pub(crate) label: String,
    /// Class names.
    pub(crate) classes: Vec<String>,
    /// Prompt templates.
    pub(crate) templates: Vec<String>,
    /// The images.
    pub(crate) images: Arc<dyn Labelled>,
    /// Captioned pairs, where the plan wants them and the set has any.
    pub(crate) pairs: Option<Arc<dyn Pairs>>,
}

/// Some samples, as far as they are known.
struct Part<T: ?Sized> {
    /// As the set gives them.
    listed: Arc<T>,
    /// What was found of them, where they are read from files.
    checked: Option<Arc<CheckReport>>,
    /// Those that can be used.
    loaded: Option<Arc<T>>,
}

type Parts<T> = Mutex<BTreeMap<DataUse, Part<T>>>;

/// The data of a run.
pub(crate) struct Data<'a> {
    plan: &'a Plan,
    context: Context<'a>,
    train_set: Dataset,
    labelled_set: Option<Dataset>,
    clean_sets: Vec<Dataset>,
    test_sets: Vec<Dataset>,
    pairs: Parts<dyn Pairs>,
    images: Parts<dyn Labelled>,
}

/// The check of the samples of one use.
pub(crate) struct DataCheck {
    /// Label of the data set.
    pub(crate) set: String,
    pub(crate) purpose: DataUse,
    pub(crate) asked: usize,
    /// Names that several classes of a test set have.
    pub(crate) shared_names: Vec<String>,
    /// Nothing where they are synthetic.
    pub(crate) checked: Result<Option<Arc<CheckReport>>>,
}

impl<'a> Data<'a> {
    /// Builds the data sets of a plan and checks that they have what it asks of them; loads nothing.
    pub(crate) fn new(plan: &'a Plan, context: Context<'a>) -> Result<Self> {
        let data = Self {
            plan,
            context,
            train_set: plan.train.build()?,
            labelled_set: plan.labelled.as_ref().map(Choice::build).transpose()?,
            clean_sets: plan.clean.iter().map(Choice::build).collect::<Result<Vec<_>>>()?,
            test_sets: plan.tests.iter().map(Choice::build).collect::<Result<Vec<_>>>()?,
            pairs: Parts::default(),
            images: Parts::default(),
        };
        data.pair_source(DataUse::Train)?;
        for index in 0..plan.clean.len() {
            data.pair_source(DataUse::Clean(Some(index), 0))?;
        }
        data.class_source(DataUse::CleanImages)?;
        Ok(data)
    }

    fn choice(&self, purpose: DataUse) -> &Choice<Dataset> {
        match purpose {
            DataUse::Train | DataUse::Clean(None, _) => &self.plan.train,
            DataUse::Clean(Some(index), _) => &self.plan.clean[index],
            DataUse::CleanImages => self.plan.labelled.as_ref().unwrap_or(&self.plan.train),
            DataUse::Test(index) | DataUse::TestPairs(index) => &self.plan.tests[index],
        }
    }

    fn set(&self, purpose: DataUse) -> &Dataset {
        match purpose {
            DataUse::Train | DataUse::Clean(None, _) => &self.train_set,
            DataUse::Clean(Some(index), _) => &self.clean_sets[index],
            DataUse::CleanImages => self.labelled_set.as_ref().unwrap_or(&self.train_set),
            DataUse::Test(index) | DataUse::TestPairs(index) => &self.test_sets[index],
        }
    }

    fn asked(&self, purpose: DataUse) -> usize {
        match purpose {
            DataUse::Train => self.plan.pairs,
            DataUse::Clean(_, pairs) => pairs,
            DataUse::CleanImages => self.plan.clean_images,
            DataUse::Test(_) => self.plan.test_images,
            DataUse::TestPairs(_) => self.plan.test_pairs,
        }
    }

    fn split(&self, purpose: DataUse) -> Split {
        match purpose {
            DataUse::Train => Split::Train,
            DataUse::Clean(..) | DataUse::CleanImages => Split::Clean,
            DataUse::Test(index) | DataUse::TestPairs(index) => self.plan.split_of(&self.plan.tests[index]),
        }
    }

    fn pair_source(&self, purpose: DataUse) -> Result<&dyn PairSource> {
        self.set(purpose)
            .pairs
            .as_deref()
            .with_context(|| format!("data set {:?} has no captions to train on", self.choice(purpose).label))
    }

    fn class_source(&self, purpose: DataUse) -> Result<&dyn ClassSource> {
        let label = &self.choice(purpose).label;
        self.set(purpose).classes.as_deref().with_context(|| match purpose {
            DataUse::CleanImages => {
                format!("data set {label:?} has no labelled images; data.labelled may name one that has")
            }
            _ => format!("data set {label:?} has no labelled images"),
        })
    }

    fn seed(&self) -> Seed {
        Seed::new(self.plan.data_seed).child("data")
    }

    fn resolution(&self) -> usize {
        self.plan.model.image.resolution()
    }

    fn name(&self, purpose: DataUse) -> String {
        let (label, split) = (&self.choice(purpose).label, self.split(purpose).name());
        match purpose {
            DataUse::Clean(_, pairs) => format!("{label} {split} ({pairs})"),
            DataUse::TestPairs(_) => format!("{label} {split} pairs"),
            DataUse::CleanImages | DataUse::Test(_) => format!("{label} {split} images"),
            DataUse::Train => format!("{label} {split}"),
        }
    }

    fn list_pairs(&self, purpose: DataUse) -> Result<Arc<dyn Pairs>> {
        let (split, count) = (self.split(purpose), self.asked(purpose));
        self.pair_source(purpose)?.pairs(split, count, self.resolution(), &self.seed())
    }

    fn list_images(&self, purpose: DataUse) -> Result<Arc<dyn Labelled>> {
        let (split, count) = (self.split(purpose), self.asked(purpose));
        self.class_source(purpose)?.images(split, count, self.resolution(), &self.seed())
    }

    /// Looks at a part of some kind of sample, which is listed, and checked where it is read from files, if it was
    /// not yet.
    fn part<T: Samples + ?Sized, R>(
        &self,
        parts: &Parts<T>,
        purpose: DataUse,
        list: impl FnOnce() -> Result<Arc<T>>,
        ask: impl FnOnce(&mut Part<T>) -> Result<R>,
    ) -> Result<R> {
        let mut parts = parts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(part) = parts.get_mut(&purpose) {
            return ask(part);
        }
        let (name, listed) = (self.name(purpose), list()?);
        let cost = Cost::of(self.plan).check(listed.count());
        let checked = are_read(&*listed).then(|| self.context.check(&name, &*listed, cost));
        let checked = checked.transpose()?.map(Arc::new);
        checked.iter().try_for_each(|checked| checked.judge(&name, self.plan.bad_samples))?;
        let loaded = checked.as_ref().map(|checked| checked.of(listed.clone()));
        ask(parts.entry(purpose).or_insert(Part { listed, checked, loaded }))
    }

    fn of_pairs<R>(
        &self,
        purpose: DataUse,
        ask: impl FnOnce(&mut Part<dyn Pairs>) -> Result<R>,
    ) -> Result<R> {
        self.part(&self.pairs, purpose, || self.list_pairs(purpose), ask)
    }

    fn of_images<R>(
        &self,
        purpose: DataUse,
        ask: impl FnOnce(&mut Part<dyn Labelled>) -> Result<R>,
    ) -> Result<R> {
        self.part(&self.images, purpose, || self.list_images(purpose), ask)
    }

    /// Draws samples; `kind` names one of them in errors.
    fn draw<T: Send>(
        &self,
        purpose: DataUse,
        kind: &str,
        count: usize,
        sample: impl Fn(usize) -> candle_core::Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let name = self.name(purpose);
        let drawn = (0..count).into_par_iter().map(|index| {
            self.context.go_on()?;
            sample(index).with_context(|| format!("{name}, {kind} {index}"))
        });
        drawn.collect()
    }

    /// The pairs for a purpose; drawn ones in memory.
    fn load_pairs(&self, purpose: DataUse) -> Result<Arc<dyn Pairs>> {
        self.of_pairs(purpose, |Part { listed, loaded, .. }| {
            if loaded.is_none() {
                let drawn = self.draw(purpose, "pair", listed.len(), |index| listed.pair(index))?;
                *loaded = Some(Arc::new(MemoryPairs::new(drawn)));
            }
            Ok(loaded.as_ref().unwrap_or(listed).clone())
        })
    }

    /// The labelled images for a purpose; drawn ones in memory.
    fn load_images(&self, purpose: DataUse) -> Result<Arc<dyn Labelled>> {
        self.of_images(purpose, |Part { listed, loaded, .. }| {
            if loaded.is_none() {
                let sample = |index| Ok((listed.image(index)?, listed.label(index)?));
                let drawn = self.draw(purpose, "image", listed.len(), sample)?;
                *loaded = Some(Arc::new(MemoryLabelled(drawn)));
            }
            Ok(loaded.as_ref().unwrap_or(listed).clone())
        })
    }

    /// Class names of the granted labelled images.
    pub(crate) fn classes(&self) -> Result<&[String]> {
        Ok(self.class_source(DataUse::CleanImages)?.classes())
    }

    /// Prompt templates of the labelled images, public knowledge.
    pub(crate) fn templates(&self) -> Result<&[String]> {
        Ok(self.class_source(DataUse::CleanImages)?.templates())
    }

    /// The clean training pairs.
    pub(crate) fn train(&self) -> Result<Arc<dyn Pairs>> {
        self.load_pairs(DataUse::Train)
    }

    /// The clean pairs granted to a defender.
    pub(crate) fn clean(&self, grant: &Grant) -> Result<Arc<dyn Pairs>> {
        self.load_pairs(DataUse::Clean(grant.source, grant.pairs))
    }

    /// The clean labelled images granted to defenders.
    pub(crate) fn clean_images(&self) -> Result<Arc<dyn Labelled>> {
        self.load_images(DataUse::CleanImages)
    }

    /// The test sets; the first is the one in the tables.
    pub(crate) fn tests(&self) -> Result<Vec<TestSet>> {
        let test = |index: usize| {
            let source = self.class_source(DataUse::Test(index))?;
            let pairs = self.has_test_pairs(index).then(|| self.load_pairs(DataUse::TestPairs(index)));
            Ok(TestSet {
                label: self.plan.tests[index].label.clone(),
                classes: source.classes().to_vec(),
                templates: source.templates().to_vec(),
                pairs: pairs.transpose()?,
                images: self.load_images(DataUse::Test(index))?,
            })
        };
        (0..self.test_sets.len()).map(test).collect()
    }

    fn has_test_pairs(&self, index: usize) -> bool {
        self.plan.test_pairs > 0 && self.test_sets[index].pairs.is_some()
    }

    /// Every text that the tokenizer must know well: the clean captions and the training set's own prompts. (Not
    /// those of the test sets, so that one more of them changes no model.)
    pub(crate) fn texts(&self) -> Result<impl Iterator<Item = Result<String>>> {
        let train = self.train()?;
        let (templates, classes) = (self.templates()?, self.classes()?);
        let prompts = templates
            .iter()
            .flat_map(|template| classes.iter().map(move |class| Ok(template.replace("{}", class))));
        Ok((0..train.len()).map(move |index| Ok(train.caption(index)?)).chain(prompts))
    }

    pub(crate) fn train_identity(&self) -> Result<Value> {
        self.pairs_identity(DataUse::Train)
    }

    pub(crate) fn clean_identity(&self, grant: &Grant) -> Result<Value> {
        self.pairs_identity(DataUse::Clean(grant.source, grant.pairs))
    }

    fn pairs_identity(&self, purpose: DataUse) -> Result<Value> {
        match self.of_pairs(purpose, |part| Ok(part.checked.clone()))? {
            Some(checked) => Ok(json!({ "content": checked.content })),
            None => Ok(json!({
                "set": self.choice(purpose).identity(),
                "split": self.split(purpose),
                "count": self.asked(purpose),
                "resolution": self.resolution(),
                "seed": self.plan.data_seed,
            })),
        }
    }

    /// What decides class names and templates, for stage keys; null where the training set is generated and has its own.
    pub(crate) fn names_identity(&self) -> Result<Value> {
        match &self.plan.labelled {
            Some(labelled) if self.checked_images(DataUse::CleanImages)?.is_none() => Ok(labelled.identity()),
            None if self.of_pairs(DataUse::Train, |part| Ok(part.checked.is_none()))? => Ok(Value::Null),
            _ => Ok(json!({ "classes": self.classes()?, "templates": self.templates()? })),
        }
    }

    /// What decides the labelled images granted to defenders, for stage keys.
    pub(crate) fn clean_images_identity(&self) -> Result<Value> {
        let content = self.checked_images(DataUse::CleanImages)?.map(|checked| checked.content.clone());
        let (count, names) = (self.plan.clean_images, self.names_identity()?);
        Ok(content.map_or_else(|| json!([count, names]), |content| json!([{ "content": content }, names])))
    }

    /// What decides a test set, for stage keys.
    pub(crate) fn test_identity(&self, index: usize) -> Result<Value> {
        let test = &self.plan.tests[index];
        let Some(images) = self.checked_images(DataUse::Test(index))? else {
            return Ok(json!([test.label, test.identity(), test.reserved]));
        };
        let source = self.class_source(DataUse::Test(index))?;
        let pairs = match self.has_test_pairs(index) {
            true => self.pairs_identity(DataUse::TestPairs(index))?,
            false => Value::Null,
        };
        let names = json!({ "classes": source.classes(), "templates": source.templates() });
        Ok(json!([test.label, { "content": images.content }, names, pairs]))
    }

    fn checked_images(&self, purpose: DataUse) -> Result<Option<Arc<CheckReport>>> {
        self.of_images(purpose, |part| Ok(part.checked.clone()))
    }

    fn purposes(&self) -> BTreeSet<DataUse> {
        let mut purposes = BTreeSet::from([DataUse::Train, DataUse::CleanImages]);
        for defense in &self.plan.defenses {
            let grant = self.plan.grant(defense);
            purposes.insert(DataUse::Clean(grant.source, grant.pairs));
        }
        for index in 0..self.test_sets.len() {
            purposes.insert(DataUse::Test(index));
            if self.has_test_pairs(index) {
                purposes.insert(DataUse::TestPairs(index));
            }
        }
        purposes
    }

    /// Checks the samples for every purpose of the plan.
    pub(crate) fn checks(&self) -> Vec<DataCheck> {
        let found = |purpose| {
            let checked = match purpose {
                DataUse::CleanImages | DataUse::Test(_) => self.checked_images(purpose),
                _ => self.of_pairs(purpose, |part| Ok(part.checked.clone())),
            };
            let set = self.choice(purpose).label.clone();
            let shared_names = self.shared_names(purpose);
            DataCheck { set, purpose, asked: self.asked(purpose), shared_names, checked }
        };
        self.purposes().into_iter().map(found).collect()
    }
}

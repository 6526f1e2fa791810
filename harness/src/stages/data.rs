//! The data of a run, rendered or read once and kept in memory, only when a stage needs them.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use anyhow::{Context, Result};
use clip::{Image, MemoryPairs, Pairs, Seed};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::contract::{ClassSource, Dataset, Labelled, PairSource, Split};
use crate::plan::{Choice, Grant, Plan};

/// Labelled images in memory.
struct MemoryLabelled(Vec<(Image, usize)>);

impl Labelled for MemoryLabelled {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn sample(&self, index: usize) -> Result<(Image, usize)> {
        self.0.get(index).cloned().with_context(|| format!("sample {index} of {}", self.0.len()))
    }

    fn read_from(&self, _index: usize) -> Option<String> {
        None
    }
}

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

/// The data of a run.
pub(crate) struct Data<'a> {
    plan: &'a Plan,
    train_set: Dataset,
    labelled_set: Option<Dataset>,
    clean_sets: Vec<Dataset>,
    test_sets: Vec<Dataset>,
    train: Lazy<Arc<dyn Pairs>>,
    clean: Mutex<BTreeMap<Granted, Arc<dyn Pairs>>>,
    clean_images: Lazy<Arc<dyn Labelled>>,
    tests: Lazy<Vec<TestSet>>,
}

/// What is granted of which source: its index, if it is not the training set, and how many pairs.
type Granted = (Option<usize>, usize);

type Lazy<T> = OnceLock<Result<T, String>>;

fn lazily<T: Clone>(cell: &Lazy<T>, make: impl FnOnce() -> Result<T>) -> Result<T> {
    cell.get_or_init(|| make().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

impl<'a> Data<'a> {
    /// Builds the data sets of a plan and checks that they have what it asks of them; loads nothing.
    pub(crate) fn new(plan: &'a Plan) -> Result<Self> {
        let train_set = plan.train.build()?;
        let labelled_set = plan.labelled.as_ref().map(Choice::build).transpose()?;
        let clean_sets = plan.clean.iter().map(Choice::build).collect::<Result<Vec<_>>>()?;
        let test_sets = plan.tests.iter().map(Choice::build).collect::<Result<Vec<_>>>()?;
        let data = Self {
            plan,
            train_set,
            labelled_set,
            clean_sets,
            test_sets,
            train: Lazy::new(),
            clean: Mutex::default(),
            clean_images: Lazy::new(),
            tests: Lazy::new(),
        };
        data.pair_source(None)?;
        (0..plan.clean.len()).try_for_each(|index| data.pair_source(Some(index)).map(|_| ()))?;
        data.class_source()?;
        Ok(data)
    }

    /// Pairs of the training set, or of one of the sets that clean pairs may come from.
    fn pair_source(&self, clean: Option<usize>) -> Result<&dyn PairSource> {
        let (set, choice) = match clean {
            None => (&self.train_set, &self.plan.train),
            Some(index) => (&self.clean_sets[index], &self.plan.clean[index]),
        };
        set.pairs
            .as_deref()
            .with_context(|| format!("data set {:?} has no captions to train on", choice.label))
    }

    fn class_source(&self) -> Result<&dyn ClassSource> {
        let choice = self.plan.labelled.as_ref().unwrap_or(&self.plan.train);
        let classes = self.labelled_set.as_ref().unwrap_or(&self.train_set).classes.as_deref();
        classes.with_context(|| {
            format!("data set {:?} has no labelled images; data.labelled may name one that has", choice.label)
        })
    }

    fn test_source(&self, index: usize) -> Result<&dyn ClassSource> {
        let name = &self.plan.tests[index].label;
        self.test_sets[index]
            .classes
            .as_deref()
            .with_context(|| format!("data set {name:?} has no labelled images"))
    }

    fn seed(&self) -> Seed {
        Seed::new(self.plan.data_seed).child("data")
    }

    fn resolution(&self) -> usize {
        self.plan.model.image.resolution()
    }

    /// What decides where labelled images come from, for stage keys; null for the training set.
    pub(crate) fn labelled_identity(&self) -> Value {
        self.plan.labelled.as_ref().map_or(Value::Null, Choice::identity)
    }

    /// Class names of the labelled images granted to defenders.
    pub(crate) fn classes(&self) -> Result<&[String]> {
        Ok(self.class_source()?.classes())
    }

    /// Prompt templates of the training set, public knowledge.
    pub(crate) fn templates(&self) -> Result<&[String]> {
        Ok(self.class_source()?.templates())
    }

    /// The clean training pairs.
    pub(crate) fn train(&self) -> Result<Arc<dyn Pairs>> {
        lazily(&self.train, || self.load(None, Split::Train, self.plan.pairs))
    }

    /// The clean pairs granted to a defender.
    pub(crate) fn clean(&self, grant: &Grant) -> Result<Arc<dyn Pairs>> {
        let mut loaded = self.clean.lock().unwrap_or_else(PoisonError::into_inner);
        match loaded.entry((grant.source, grant.pairs)) {
            Entry::Occupied(found) => Ok(found.get().clone()),
            Entry::Vacant(place) => {
                Ok(place.insert(self.load(grant.source, Split::Clean, grant.pairs)?).clone())
            }
        }
    }

    /// The clean labelled images granted to defenders.
    pub(crate) fn clean_images(&self) -> Result<Arc<dyn Labelled>> {
        lazily(&self.clean_images, || {
            let source = self.class_source()?;
            let images =
                source.images(Split::Clean, self.plan.clean_images, self.resolution(), &self.seed())?;
            in_memory(&*images)
        })
    }

    /// The test sets; the first is the one in the tables.
    pub(crate) fn tests(&self) -> Result<&[TestSet]> {
        let made = self.tests.get_or_init(|| self.load_tests().map_err(|error| format!("{error:#}")));
        made.as_ref().map(Vec::as_slice).map_err(|error| anyhow::anyhow!("{error}"))
    }

    fn load_tests(&self) -> Result<Vec<TestSet>> {
        let mut tests = Vec::with_capacity(self.test_sets.len());
        for (index, test) in self.plan.tests.iter().enumerate() {
            let source = self.test_source(index)?;
            let split = self.plan.split_of(test).map_err(anyhow::Error::msg)?;
            let images = source.images(split, self.plan.test_images, self.resolution(), &self.seed())?;
            tests.push(TestSet {
                label: test.label.clone(),
                classes: source.classes().to_vec(),
                templates: source.templates().to_vec(),
                images: in_memory(&*images).with_context(|| format!("test set {:?}", test.label))?,
                pairs: self.load_test_pairs(index).with_context(|| format!("test set {:?}", test.label))?,
            });
        }
        Ok(tests)
    }

    fn load_test_pairs(&self, index: usize) -> Result<Option<Arc<dyn Pairs>>> {
        let split = self.plan.split_of(&self.plan.tests[index]).map_err(anyhow::Error::msg)?;
        match (&self.test_sets[index].pairs, self.plan.test_pairs) {
            (Some(source), count) if count > 0 => self.load_from(&**source, split, count).map(Some),
            _ => Ok(None),
        }
    }

    fn load(&self, source: Option<usize>, split: Split, count: usize) -> Result<Arc<dyn Pairs>> {
        self.load_from(self.pair_source(source)?, split, count)
    }

    fn load_from(&self, source: &dyn PairSource, split: Split, count: usize) -> Result<Arc<dyn Pairs>> {
        let pairs = source.pairs(split, count, self.resolution(), &self.seed())?;
        let loaded = (0..pairs.len())
            .into_par_iter()
            .map(|index| pairs.pair(index).with_context(|| format!("{} pair {index}", split.name())))
            .collect::<Result<Vec<_>>>()?;
        Ok(Arc::new(MemoryPairs::new(loaded)))
    }

    /// Every text that the tokenizer must know well: the clean captions and the training set's own prompts. (Not
    /// those of the test sets, so that one more of them changes no model.)
    pub(crate) fn texts(&self) -> Result<Vec<String>> {
        let (train, source) = (self.train()?, self.class_source()?);
        let mut texts = BTreeSet::new();
        for index in 0..train.len() {
            texts.insert(train.caption(index)?);
        }
        for template in source.templates() {
            texts.extend(source.classes().iter().map(|class| template.replace("{}", class)));
        }
        Ok(texts.into_iter().collect())
    }

    /// All that decides the training pairs, for stage keys.
    pub(crate) fn train_identity(&self) -> Value {
        self.identity(&self.plan.train, Split::Train, self.plan.pairs)
    }

    /// All that decides the clean pairs granted, for stage keys.
    pub(crate) fn clean_identity(&self, grant: &Grant) -> Value {
        let set = grant.source.map_or(&self.plan.train, |index| &self.plan.clean[index]);
        self.identity(set, Split::Clean, grant.pairs)
    }

    fn identity(&self, set: &Choice<Dataset>, split: Split, count: usize) -> Value {
        json!({
            "set": set.identity(),
            "split": split,
            "count": count,
            "resolution": self.resolution(),
            "seed": self.plan.data_seed,
        })
    }
}

fn in_memory(images: &dyn Labelled) -> Result<Arc<dyn Labelled>> {
    let loaded = (0..images.len())
        .into_par_iter()
        .map(|index| images.sample(index).with_context(|| format!("image {index}")))
        .collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(MemoryLabelled(loaded)))
}

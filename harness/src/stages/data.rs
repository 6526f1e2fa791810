//! The data of a run, rendered or read once and kept in memory, only when a stage needs them.

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result};
use clip::{Image, MemoryPairs, Pairs, Seed};
use rayon::prelude::*;
use serde_json::{Value, json};

use crate::contract::{ClassSource, Dataset, Labelled, PairSource, Split};
use crate::plan::{Choice, Plan};

/// Labelled images in memory.
struct MemoryLabelled(Vec<(Image, usize)>);

impl Labelled for MemoryLabelled {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn sample(&self, index: usize) -> Result<(Image, usize)> {
        self.0.get(index).cloned().with_context(|| format!("sample {index} of {}", self.0.len()))
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
    test_sets: Vec<Dataset>,
    train: Lazy<Arc<dyn Pairs>>,
    clean: Lazy<Arc<dyn Pairs>>,
    clean_images: Lazy<Arc<dyn Labelled>>,
    tests: Lazy<Vec<TestSet>>,
}

type Lazy<T> = OnceLock<Result<T, String>>;

fn lazily<T: Clone>(cell: &Lazy<T>, make: impl FnOnce() -> Result<T>) -> Result<T> {
    cell.get_or_init(|| make().map_err(|error| format!("{error:#}"))).clone().map_err(anyhow::Error::msg)
}

impl<'a> Data<'a> {
    /// Builds the data sets of a plan and checks that they have what it asks of them; loads nothing.
    pub(crate) fn new(plan: &'a Plan) -> Result<Self> {
        let train_set = plan.train.build()?;
        let test_sets = plan.tests.iter().map(Choice::build).collect::<Result<Vec<_>>>()?;
        let data = Self {
            plan,
            train_set,
            test_sets,
            train: Lazy::new(),
            clean: Lazy::new(),
            clean_images: Lazy::new(),
            tests: Lazy::new(),
        };
        data.pair_source()?;
        data.class_source()?;
        Ok(data)
    }

    fn pair_source(&self) -> Result<&dyn PairSource> {
        let name = &self.plan.train.label;
        self.train_set
            .pairs
            .as_deref()
            .with_context(|| format!("data set {name:?} has no captions to train on"))
    }

    fn class_source(&self) -> Result<&dyn ClassSource> {
        let name = &self.plan.train.label;
        self.train_set.classes.as_deref().with_context(|| format!("data set {name:?} has no labelled images"))
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
        lazily(&self.train, || self.load(Split::Train, self.plan.pairs))
    }

    /// The clean pairs granted to defenders.
    pub(crate) fn clean(&self) -> Result<Arc<dyn Pairs>> {
        lazily(&self.clean, || self.load(Split::Clean, self.plan.clean_pairs))
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
            let images =
                source.images(self.plan.split, self.plan.test_images, self.resolution(), &self.seed())?;
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
        let (count, split) = (self.plan.test_pairs, self.plan.split);
        match &self.test_sets[index].pairs {
            Some(source) if count > 0 => self.load_from(&**source, split, count).map(Some),
            _ => Ok(None),
        }
    }

    fn load(&self, split: Split, count: usize) -> Result<Arc<dyn Pairs>> {
        self.load_from(self.pair_source()?, split, count)
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
            texts.insert(train.pair(index)?.caption);
        }
        for template in source.templates() {
            texts.extend(source.classes().iter().map(|class| template.replace("{}", class)));
        }
        Ok(texts.into_iter().collect())
    }

    /// All that decides `count` examples of a split, for stage keys.
    pub(crate) fn identity(&self, split: Split, count: usize) -> Value {
        json!({
            "set": self.plan.train.identity(),
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

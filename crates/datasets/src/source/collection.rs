//! A data set of files: its sides, and which part of which side a split is.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail, ensure};
use clip::candle_core;
use clip::{BadSample, Image, Origin, Pairs, Seed};
use contract::{ClassSource, Dataset, Labelled, PairSource, Split};
use rand::seq::SliceRandom;

use super::manifest::{Fingerprint, Manifest};
use super::names::Names;
use super::samples::Samples;

type Read = dyn Fn(bool) -> Result<Samples> + Send + Sync;

/// Files that samples come from, read when first needed.
pub(crate) struct Side {
    /// Reads them; whether the URLs of samples are to be kept.
    read: Box<Read>,
    samples: OnceLock<Result<Arc<Samples>, String>>,
}

impl Side {
    pub(crate) fn new(read: impl Fn(bool) -> Result<Samples> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { read: Box::new(read), samples: OnceLock::new() })
    }

    fn samples(&self) -> Result<Arc<Samples>> {
        let read = || (self.read)(false).map(Arc::new).map_err(|error| format!("{error:#}"));
        self.samples.get_or_init(read).clone().map_err(anyhow::Error::msg)
    }
}

/// What a split is of a side.
pub(crate) struct Part {
    side: Arc<Side>,
    /// The name below which the seed of the order is.
    order: &'static str,
    /// Taken from the back of the order, so that two splits of one side overlap only where together they are more than
    /// it has.
    from_back: bool,
    /// Whether the manifest says which samples there are, and their order.
    by_manifest: bool,
}

impl Part {
    /// The front of a side in the order of the seed's child `order`; `back` is the back of it.
    pub(crate) fn front(side: &Arc<Side>, order: &'static str) -> Self {
        Self { side: side.clone(), order, from_back: false, by_manifest: false }
    }

    pub(crate) fn back(side: &Arc<Side>, order: &'static str) -> Self {
        Self { from_back: true, ..Self::front(side, order) }
    }

    /// Only what the manifest lists, if there is one.
    pub(crate) fn listed(self) -> Self {
        Self { by_manifest: true, ..self }
    }
}

/// A data set of files.
pub struct Collection {
    /// The entry's name.
    pub(crate) name: &'static str,
    /// By `Split`: of train, clean, validation and test; what is missing says so.
    pub(crate) parts: [Result<Part, String>; 4],
    /// Class names and templates, where samples are labelled.
    pub(crate) names: Option<Names>,
    /// A list of the pairs that there are to be.
    pub(crate) manifest: Option<PathBuf>,
}

impl Collection {
    pub(crate) fn dataset(self) -> Dataset {
        match self.names {
            None => Dataset { pairs: Some(Box::new(self)), classes: None, drawn: false },
            Some(_) => Dataset { pairs: None, classes: Some(Box::new(self)), drawn: false },
        }
    }

    fn part(&self, split: Split) -> Result<&Part> {
        self.parts[split as usize].as_ref().map_err(|missing| anyhow::anyhow!("{}: {missing}", self.name))
    }

    /// All samples of the side that a split is of, as they were found.
    pub fn samples(&self, split: Split) -> Result<Arc<Samples>> {
        self.part(split)?.side.samples()
    }

    /// The same with the URLs that they come from, where these are known.
    pub fn samples_with_urls(&self, split: Split) -> Result<Samples> {
        (self.part(split)?.side.read)(true)
    }

    /// Class names; empty for captioned pairs.
    pub fn class_names(&self) -> &[String] {
        self.names.as_ref().map_or(&[], |names| &names.classes)
    }

    /// The manifest that the settings name.
    pub fn manifest(&self) -> Option<&PathBuf> {
        self.manifest.as_ref()
    }

    /// The first `count` samples of a split by number, in the order of `seed`.
    pub fn order(&self, split: Split, count: usize, seed: &Seed, samples: &Samples) -> Result<Vec<u32>> {
        let part = self.part(split)?;
        let what = if self.names.is_some() { "images" } else { "pairs" };
        if count > samples.len() {
            bail!("{}: {} {what}, but {count} are asked for", samples.name, samples.len());
        }
        let mut order: Vec<u32> = (0..u32::try_from(samples.len()).context("too many samples")?).collect();
        order.shuffle(&mut seed.child(self.name).child(part.order).rng());
        if part.from_back {
            order.reverse();
        }
        order.truncate(count);
        order.shrink_to_fit();
        Ok(order)
    }

    fn select(&self, split: Split, count: usize, seed: &Seed) -> Result<Selected> {
        let part = self.part(split)?;
        let samples = part.side.samples()?;
        let Some(path) = self.manifest.as_ref().filter(|_| part.by_manifest) else {
            let order = self.order(split, count, seed, &samples)?;
            return Ok(Selected { samples, order, expected: Vec::new() });
        };
        let manifest = Manifest::read(path)?;
        let listed = manifest.len();
        ensure!(listed >= count, "{}: lists {listed} pairs, but {count} are asked for", path.display());
        let rows = (0..count).map(|at| if part.from_back { listed - 1 - at } else { at });
        let places = manifest.locate(&samples);
        let found = rows.filter_map(|row| Some((places[row]?, manifest.fingerprint(row))));
        let (order, expected): (Vec<u32>, Vec<Fingerprint>) = found.unzip();
        ensure!(!order.is_empty(), "{}: lists no pair that is in {}", path.display(), samples.name);
        Ok(Selected { samples, order, expected })
    }
}

impl PairSource for Collection {
    fn pairs(&self, split: Split, count: usize, _resolution: usize, seed: &Seed) -> Result<Arc<dyn Pairs>> {
        Ok(Arc::new(self.select(split, count, seed)?))
    }
}

impl ClassSource for Collection {
    fn classes(&self) -> &[String] {
        self.class_names()
    }

    fn templates(&self) -> &[String] {
        self.names.as_ref().map_or(&[], |names| &names.templates)
    }

    fn images(&self, split: Split, count: usize, _: usize, seed: &Seed) -> Result<Arc<dyn Labelled>> {
        Ok(Arc::new(self.select(split, count, seed)?))
    }
}

/// Samples in an order.
struct Selected {
    samples: Arc<Samples>,
    order: Vec<u32>,
    /// What the manifest says of each; empty without a manifest.
    expected: Vec<Fingerprint>,
}

impl Selected {
    fn at(&self, index: usize) -> candle_core::Result<usize> {
        match self.order.get(index) {
            Some(at) => Ok(*at as usize),
            None => candle_core::bail!("sample {index} of {}", self.order.len()),
        }
    }

    fn changed(&self, index: usize, what: &str) -> candle_core::Error {
        let from = Pairs::read_from(self, index).map_or_else(String::new, |from| from.to_string());
        BadSample::Changed.because(format!("{from}: another {what}"))
    }
}

impl Pairs for Selected {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn caption(&self, index: usize) -> candle_core::Result<String> {
        let caption = self.samples.caption(self.at(index)?)?;
        match self.expected.get(index) {
            Some(expected) if !expected.is_caption(caption) => Err(self.changed(index, "caption")),
            _ => Ok(caption.to_owned()),
        }
    }

    fn image(&self, index: usize) -> candle_core::Result<Image> {
        let image = self.samples.image(self.at(index)?)?;
        match self.expected.get(index) {
            Some(expected) if !expected.is_image_hash(&image.hash()) => Err(self.changed(index, "image")),
            _ => Ok(image),
        }
    }

    fn read_from(&self, index: usize) -> Option<Origin> {
        Some(self.samples.read_from(self.at(index).ok()?))
    }

    fn remarks(&self) -> Vec<String> {
        self.samples.notes().to_vec()
    }
}

impl Labelled for Selected {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn label(&self, index: usize) -> candle_core::Result<usize> {
        self.samples.label(self.at(index)?)
    }

    fn image(&self, index: usize) -> candle_core::Result<Image> {
        self.samples.image(self.at(index)?)
    }

    fn read_from(&self, index: usize) -> Option<Origin> {
        Pairs::read_from(self, index)
    }

    fn remarks(&self) -> Vec<String> {
        Pairs::remarks(self)
    }
}

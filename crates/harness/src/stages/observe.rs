//! Shows a model the test images, clean and with a trigger, and writes down what it says of each.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clip::candle_core::{DType, Tensor};
use clip::{Image, Seed, kernels, zero_shot};
use contract::{Attack, Defense, LinearHead, Model, Trigger};
use plan::Choice;
use rayon::prelude::*;
use record::View;
use record::evidence::pairs::{self, PairEvidence};
use record::evidence::{
    Evidence, SetEvidence, from_frame, map, read_parquet, score, to_frame, write_parquet,
};
use record::evidence::{map_table, pair_table};
use serde_json::json;
use store::{Key, stage};

use super::Stages;
use super::context::StageOutput;
use super::data::TestSet;
use super::retrieval::{Captions, compare};

/// Raised whenever the code of this stage would give another result.
const VERSION: u32 = 1;
const EVIDENCE: &str = "evidence.parquet";
const PAIRS: &str = "pairs.parquet";
const MAP: &str = "map.parquet";

impl<'a> Stages<'a> {
    /// The attacks under whose triggers a cell is observed: its own, and for the unpoisoned and undefended model all
    /// others too, for base rates.
    pub(crate) fn triggers(
        &self,
        attack: &'a Choice<Attack>,
        defense: &Choice<Defense>,
    ) -> impl Iterator<Item = &'a Choice<Attack>> + use<'a> {
        let is_anchor = attack.entry.card.is_baseline() && defense.entry.card.is_baseline();
        let others = self.plan.attacks.iter().filter(move |other| is_anchor && other.label != attack.label);
        std::iter::once(attack).chain(others)
    }

    /// The key of the evidence on a model under the trigger of `attack`.
    pub(crate) fn observe_key(
        &self,
        defended: &Key,
        epoch: Option<usize>,
        attack: &Choice<Attack>,
        seed: u64,
    ) -> Result<Key> {
        let plan = self.plan;
        let tests = (0..plan.tests.len()).map(|index| self.data.test_identity(index));
        let tests = tests.collect::<Result<Vec<_>>>()?;
        let mut inputs = json!({
            "model": defended.hash(),
            "epoch": epoch,
            "trigger": attack.identity(),
            "target": plan.target,
            "tests": tests,
            "images": plan.test_images,
            "split": plan.split,
            "resolution": plan.model.image.resolution(),
            "data-seed": plan.data_seed,
            "seed": seed,
        });
        if plan.test_pairs > 0 {
            inputs["pairs"] = plan.test_pairs.into();
        }
        // The way of a defense is not mapped.
        if epoch.is_none() {
            inputs["map"] = map::IMAGES.into();
        }
        Ok(Key::new(stage::OBSERVE, VERSION, &self.plan.device_class(), inputs))
    }

    /// What `defended`, or what it was after `epoch`, says of the test images, clean and under the trigger of
    /// `attack`, and the evidence's key.
    pub(crate) fn observe(
        &self,
        view: &View,
        defended: &StageOutput,
        attack: &Choice<Attack>,
    ) -> Result<(Evidence, Key)> {
        let (seed, epoch) = (view.cell.seed, view.epoch);
        let made = self.context.stage(
            &format!("observe {view}"),
            self.observe_key(&defended.key, epoch, attack, seed)?,
            self.cost.observation(),
            false,
            |_| self.observe_model(&self.read_model(&defended.folder, epoch)?, attack, seed, epoch.is_none()),
            |evidence, folder| write_evidence(&evidence, folder),
        )?;
        Ok((read_evidence(&made.folder)?, made.key))
    }

    /// What `model` says of all test sets, clean and under the trigger of `attack`; `whole`: also of their pairs, and
    /// with a map of the first set.
    fn observe_model(
        &self,
        model: &Model,
        attack: &Choice<Attack>,
        seed: u64,
        whole: bool,
    ) -> Result<Evidence> {
        let (method, seed) = (attack.build()?, Seed::new(seed).child("observe"));
        let observe = |index: usize, test: &TestSet| -> Result<SetEvidence> {
            let (seed, mapped) = (seed.child(&test.label), whole && index == 0);
            let mut set = observe_set(model, method.trigger(), test, &self.plan.target, &seed, mapped)?;
            if whole {
                set.pairs = self.observe_pairs(model, method.trigger(), test, &seed.child("pairs"))?;
            }
            Ok(set)
        };
        let named = |(index, test): (usize, &TestSet)| {
            observe(index, test).with_context(|| format!("test set {:?}", test.label))
        };
        self.data.tests()?.iter().enumerate().map(named).collect()
    }

    /// What `model` says of the pairs of a test set; `None` where there are none, or where it has a trained head and
    /// its texts mean nothing any more.
    fn observe_pairs(
        &self,
        model: &Model,
        trigger: &dyn Trigger,
        test: &TestSet,
        seed: &Seed,
    ) -> Result<Option<PairEvidence>> {
        let (Some(source), None) = (&test.pairs, &model.head) else { return Ok(None) };
        let captions =
            (0..source.len()).map(|index| Ok(source.caption(index)?)).collect::<Result<Vec<_>>>()?;
        let target = &self.plan.target;
        let (distinct, of_pairs) = pairs::distinct(&captions);
        let names: Vec<bool> = distinct.iter().map(|caption| pairs::names(caption, target)).collect();
        let captions = Captions {
            // A caption is its own prompt.
            features: &zero_shot::weights(&model.clip, &distinct, &["{}".to_owned()])?,
            of_pairs: &of_pairs,
            names_target: &names,
            target: &zero_shot::weights(&model.clip, std::slice::from_ref(target), &test.templates)?,
        };
        let (mut clean, mut triggered, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for indices in blocks(source.len()) {
            let [images, stamped] = look(indices, trigger, seed, |index| source.image(index))?;
            clean.push(zero_shot::features(&model.clip, &images)?);
            triggered.push(zero_shot::features(&model.clip, &stamped)?);
            hashes.extend(stamped.iter().map(short_hash));
        }
        let compare = |features: &[Tensor]| compare(&Tensor::cat(features, 0)?, &captions);
        Ok(Some(PairEvidence {
            names_target: of_pairs.iter().map(|caption| names[*caption]).collect(),
            clean: compare(&clean).context("clean pairs")?,
            triggered: compare(&triggered).context("triggered pairs")?,
            triggered_images: hashes,
        }))
    }
}

/// What `model` says of the images of a test set, clean and under the trigger, and where some of them lie if `mapped`.
pub(crate) fn observe_set(
    model: &Model,
    trigger: &dyn Trigger,
    test: &TestSet,
    target: &str,
    seed: &Seed,
    mapped: bool,
) -> Result<SetEvidence> {
    let target = test.classes.iter().position(|class| *class == target).context("no target class")?;
    let (target, classifier) = (u32::try_from(target)?, Classifier::of(model, test)?);
    let labels = (0..test.images.len()).map(|index| Ok(u32::try_from(test.images.label(index)?)?));
    let labels = labels.collect::<Result<Vec<_>>>()?;
    let on_map = if mapped { map::chosen(&labels, target) } else { Vec::new() };
    let (mut hashes, mut scores, mut places) =
        (Vec::new(), [Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for indices in blocks(test.images.len()) {
        let shown = on_map.iter().filter(|index| indices.contains(index));
        let shown: Vec<u32> = shown.map(|index| (index - indices.start) as u32).collect();
        let seen = look(indices, trigger, seed, |index| test.images.image(index))?;
        for (side, images) in seen.iter().enumerate() {
            let features = zero_shot::features(&model.clip, images)?;
            scores[side].push(classifier.scores(&features)?);
            if !shown.is_empty() {
                let shown = Tensor::from_slice(&shown, shown.len(), features.device())?;
                places[side].push(features.index_select(&shown, 0)?);
            }
        }
        hashes.extend(seen[1].iter().map(short_hash));
    }
    let [clean, triggered] = scores.map(|scores| {
        let rows = Tensor::cat(&scores, 0)?.to_dtype(DType::F32)?.to_vec2()?;
        score(&rows, &labels, target)
    });
    let (clean, triggered) = (clean?, triggered?);
    let map = match on_map.is_empty() {
        true => None,
        false => {
            let of_target = on_map.iter().map(|index| labels[*index] == target).collect();
            let features = Tensor::cat(&places.concat(), 0)?.to_dtype(DType::F32)?;
            let features = kernels::l2_normalize(&features)?.to_vec2()?;
            Some(map::project(&on_map, of_target, &features).context("map")?)
        }
    };
    Ok(SetEvidence {
        test_set: test.label.clone(),
        target,
        classes: u32::try_from(test.classes.len())?,
        clean,
        triggered,
        triggered_images: hashes,
        labels,
        pairs: None,
        map,
    })
}

/// Samples looked at a time, so that memory does not grow with the test set; as many as are encoded at a time.
const BLOCK: usize = zero_shot::BATCH;

fn blocks(count: usize) -> impl Iterator<Item = Range<usize>> {
    (0..count).step_by(BLOCK).map(move |start| start..(start + BLOCK).min(count))
}

/// Images, clean and triggered.
fn look(
    indices: Range<usize>,
    trigger: &dyn Trigger,
    seed: &Seed,
    image: impl Fn(usize) -> clip::candle_core::Result<Image> + Sync,
) -> Result<[Vec<Image>; 2]> {
    let seen = indices.into_par_iter().map(|index| {
        let image = image(index).with_context(|| format!("sample {index}"))?;
        let stamped = trigger.stamp(&image, &seed.at(index as u64))?;
        Ok((image, stamped))
    });
    let (clean, triggered) = seen.collect::<Result<Vec<_>>>()?.into_iter().unzip();
    Ok([clean, triggered])
}

/// The start of an image's hash.
fn short_hash(image: &Image) -> String {
    image.hash()[..16].to_owned()
}

fn write_evidence(evidence: &Evidence, folder: &Path) -> Result<()> {
    write_parquet(&mut to_frame(evidence)?, &folder.join(EVIDENCE))?;
    for (name, frame) in [(PAIRS, pair_table::to_frame(evidence)?), (MAP, map_table::to_frame(evidence)?)] {
        if let Some(mut frame) = frame {
            write_parquet(&mut frame, &folder.join(name))?;
        }
    }
    Ok(())
}

fn read_evidence(folder: &Path) -> Result<Evidence> {
    let mut evidence = from_frame(&read_parquet(&folder.join(EVIDENCE))?)?;
    let pairs = folder.join(PAIRS);
    if pairs.exists() {
        pair_table::attach(&mut evidence, &read_parquet(&pairs)?)?;
    }
    let map = folder.join(MAP);
    if map.exists() {
        map_table::attach(&mut evidence, &read_parquet(&map)?)?;
    }
    Ok(evidence)
}

/// How a model is put to use.
enum Classifier<'a> {
    /// By cosine similarity with prompts, `[K, E]`.
    ZeroShot(Tensor),
    /// By a trained head.
    Head(&'a LinearHead),
}

impl<'a> Classifier<'a> {
    fn of(model: &'a Model, test: &TestSet) -> Result<Self> {
        match &model.head {
            None => Ok(Self::ZeroShot(zero_shot::weights(&model.clip, &test.classes, &test.templates)?)),
            Some(head) => {
                let classes = head.weight.dim(0)?;
                ensure!(
                    classes == test.classes.len(),
                    "the trained head knows {classes} classes, test set {:?} has {}",
                    test.label,
                    test.classes.len()
                );
                Ok(Self::Head(head))
            }
        }
    }

    /// Scores `[B, K]` of image features `[B, E]`.
    fn scores(&self, features: &Tensor) -> Result<Tensor> {
        Ok(match self {
            Self::ZeroShot(weights) => zero_shot::scores(features, weights)?,
            Self::Head(head) => kernels::linear(features, &head.weight, Some(&head.bias))?,
        })
    }
}

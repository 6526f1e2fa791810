//! Shows a model the test images, clean and with a trigger, and writes down what it says of each.

use anyhow::{Context, Result, ensure};
use clip::candle_core::Tensor;
use clip::{Image, Seed, kernels, zero_shot};
use rayon::prelude::*;
use serde_json::json;

use super::data::TestSet;
use super::{Laboratory, Made};
use crate::contract::{Attack, Model, Trigger};
use crate::evidence::{Evidence, SetEvidence, from_frame, read_parquet, score, to_frame, write_parquet};
use crate::plan::Choice;
use crate::store::Key;

/// Raised whenever the code of this stage would give another result.
const VERSION: u32 = 1;
const EVIDENCE: &str = "evidence.parquet";

impl Laboratory<'_> {
    /// The key of the evidence on a model under the trigger of `attack`.
    pub(crate) fn observe_key(
        &self,
        defended: &Key,
        epoch: Option<usize>,
        attack: &Choice<Attack>,
        seed: u64,
    ) -> Key {
        let plan = self.plan;
        let tests: Vec<_> =
            plan.tests.iter().map(|test| json!([test.label, test.identity(), test.reserved])).collect();
        let inputs = json!({
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
        Key::new("observe", VERSION, self.plan.device.class(), inputs)
    }

    /// What `defended`, or what it was after `epoch`, says of the test images, clean and under the trigger of
    /// `attack`, and the evidence's key.
    pub(crate) fn observe(
        &self,
        name: &str,
        defended: &Made,
        epoch: Option<usize>,
        attack: &Choice<Attack>,
        seed: u64,
    ) -> Result<(Evidence, Key)> {
        let made = self.stage(
            &format!("observe {name}"),
            self.observe_key(&defended.key, epoch, attack, seed),
            self.expected_observation(),
            |_| {
                let (model, method) = (self.read_model(&defended.folder, epoch)?, attack.build()?);
                let seed = Seed::new(seed).child("observe");
                let observe = |test| self.observe_set(&model, method.trigger(), test, &seed);
                self.data.tests()?.iter().map(observe).collect::<Result<Evidence>>()
            },
            |evidence, folder| write_parquet(&mut to_frame(&evidence)?, &folder.join(EVIDENCE)),
        )?;
        let evidence = from_frame(&read_parquet(&made.folder.join(EVIDENCE))?)?;
        Ok((evidence, made.key))
    }

    /// Two passes without gradients cost about as much as half a training pass.
    pub(super) fn expected_observation(&self) -> f64 {
        (self.plan.test_images * self.plan.tests.len()) as f64 * 0.5
    }

    fn observe_set(
        &self,
        model: &Model,
        trigger: &dyn Trigger,
        test: &TestSet,
        seed: &Seed,
    ) -> Result<SetEvidence> {
        let target =
            test.classes.iter().position(|class| *class == self.plan.target).context("no target class")?;
        let seed = seed.child(&test.label);
        let seen: Vec<(Image, Image, u32)> = (0..test.images.len())
            .into_par_iter()
            .map(|index| {
                let (image, label) = test.images.sample(index)?;
                let triggered = trigger.stamp(&image, &seed.at(index as u64))?;
                Ok((image, triggered, u32::try_from(label)?))
            })
            .collect::<Result<_>>()?;
        let labels: Vec<u32> = seen.iter().map(|(_, _, label)| *label).collect();
        let classifier = Classifier::of(model, test)?;
        let clean: Vec<Image> = seen.iter().map(|(image, _, _)| image.clone()).collect();
        let triggered: Vec<Image> = seen.into_iter().map(|(_, image, _)| image).collect();
        let target = u32::try_from(target)?;
        Ok(SetEvidence {
            test_set: test.label.clone(),
            target,
            classes: u32::try_from(test.classes.len())?,
            clean: score(&classifier.scores(&clean)?, &labels, target)?,
            triggered: score(&classifier.scores(&triggered)?, &labels, target)?,
            triggered_images: triggered.iter().map(|image| image.hash()[..16].to_owned()).collect(),
            labels,
        })
    }
}

/// How a model is put to use.
enum Classifier<'a> {
    /// By cosine similarity with prompts, `[K, E]`.
    ZeroShot(&'a Model, Tensor),
    /// By a trained head.
    Head(&'a Model, &'a crate::contract::LinearHead),
}

impl<'a> Classifier<'a> {
    fn of(model: &'a Model, test: &TestSet) -> Result<Self> {
        match &model.head {
            None => {
                Ok(Self::ZeroShot(model, zero_shot::weights(&model.clip, &test.classes, &test.templates)?))
            }
            Some(head) => {
                let classes = head.weight.dim(0)?;
                ensure!(
                    classes == test.classes.len(),
                    "the trained head knows {classes} classes, test set {:?} has {}",
                    test.label,
                    test.classes.len()
                );
                Ok(Self::Head(model, head))
            }
        }
    }

    /// Scores `[B, K]`.
    fn scores(&self, images: &[Image]) -> Result<Tensor> {
        match self {
            Self::ZeroShot(model, weights) => {
                Ok(zero_shot::scores(&zero_shot::features(&model.clip, images)?, weights)?)
            }
            Self::Head(model, head) => {
                let features = zero_shot::features(&model.clip, images)?;
                Ok(kernels::linear(&features, &head.weight, Some(&head.bias))?)
            }
        }
    }
}

//! Supervised finetuning: image tower and a new linear head learn the clean labelled images by cross-entropy; the
//! head, not prompts, then classifies.
//!
//! Paper: Bansal et al., "CleanCLIP", ICCV 2023, arXiv 2303.03323.
//! Follows: nishadsinghi/CleanCLIP@d6e2f1d, `src/evaluate.py` (`get_finetune_metrics`), `--finetune`.
//! Departs: the schedule starts at step 0, where the released one starts an epoch late; the last incomplete batch of
//! an epoch is dropped.

use clip::candle_core::{Device, Error, Result, Tensor, Var, bail};
use clip::{Clip, Mode, Monitor, Objective, Parameter, Recipe, Seed, kernels, pixels};
use harness::contract::{
    Card, DefenderView, Defense, Entry, Labelled, LinearHead, Model, Preset, RepairModel, preset, settings,
};
use rand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::finetuning::{finetune, recipe};

/// The defense.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "supervised",
        title: "Supervised finetuning",
        summary: "Finetunes the image tower with a new linear head on clean labelled images.",
        paper: "Bansal et al., ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, src/evaluate.py, --finetune",
        departs: "the schedule starts at step 0; the last incomplete batch of an epoch is dropped",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Passes over the labelled images.
    epochs: usize,
    /// Images per step.
    batch_size: usize,
    /// Highest learning rate.
    learning_rate: f64,
    /// Steps of linear warm-up.
    warmup_steps: usize,
    /// Decoupled weight decay.
    weight_decay: f64,
}

fn presets() -> Vec<Preset> {
    let released =
        Settings { epochs: 10, batch_size: 80, learning_rate: 1e-4, warmup_steps: 500, weight_decay: 0.01 };
    let tiny = Settings { epochs: 8, batch_size: 64, learning_rate: 1e-3, warmup_steps: 50, ..released };
    let smoke = Settings { epochs: 2, batch_size: 32, warmup_steps: 5, ..tiny };
    vec![
        preset("tiny", tiny),
        preset("smoke", smoke),
        preset("paper", released.clone()),
        preset("released", released),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Defense> {
    let Settings { epochs, batch_size, learning_rate, warmup_steps, weight_decay } = settings(resolved)?;
    let recipe = recipe(epochs, batch_size, learning_rate, warmup_steps, weight_decay)?;
    Ok(Defense::RepairModel(Box::new(Supervised { recipe })))
}

struct Supervised {
    recipe: Recipe,
}

impl RepairModel for Supervised {
    fn repair(
        &self,
        model: Clip,
        view: &DefenderView<'_>,
        monitor: &mut dyn Monitor,
    ) -> anyhow::Result<Option<Model>> {
        let resolution = model.config.image.resolution();
        let (weight, bias) =
            new_head(view.classes.len(), model.config.embed_dim, &view.seed.child("head"), model.device()?)?;
        let (images, classes) = (view.clean_images, view.classes.len());
        let objective = Classification { images, classes, resolution, weight, bias };
        let seed = view.seed.child("train");
        let finetuned = finetune(model, &objective, &self.recipe, &seed, monitor)?;
        let (weight, bias) = (objective.weight.as_detached_tensor(), objective.bias.as_detached_tensor());
        Ok(finetuned.map(|clip| Model { clip, head: Some(LinearHead { weight, bias }) }))
    }
}

/// Weight `[K, E]` and bias `[K]`, uniform within ± 1/√E: PyTorch's default for a fully connected layer.
fn new_head(classes: usize, embedding: usize, seed: &Seed, device: &Device) -> Result<(Var, Var)> {
    let bound = (embedding as f64).powf(-0.5);
    let uniform = |name: &str, shape: &[usize]| {
        let mut rng = seed.child(name).rng();
        let count = shape.iter().product();
        let values: Vec<f32> =
            (0..count).map(|_| ((rng.random::<f64>() * 2.0 - 1.0) * bound) as f32).collect();
        Var::from_tensor(&Tensor::from_vec(values, shape, device)?)
    };
    Ok((uniform("weight", &[classes, embedding])?, uniform("bias", &[classes])?))
}

/// Cross-entropy of a linear head on image features that are not normalised.
struct Classification<'a> {
    images: &'a dyn Labelled,
    classes: usize,
    resolution: usize,
    weight: Var,
    bias: Var,
}

impl Objective for Classification<'_> {
    type Batch = (Tensor, Tensor);

    fn examples(&self) -> usize {
        self.images.len()
    }

    fn parameters(&self, model: &Clip) -> Vec<Parameter> {
        let tower =
            model.all_parameters().into_iter().filter(|parameter| parameter.name.starts_with("visual."));
        let head = [(LinearHead::WEIGHT, &self.weight), (LinearHead::BIAS, &self.bias)];
        tower.chain(head.map(|(name, var)| Parameter::new(name, var.clone()))).collect()
    }

    fn batch(&self, indices: &[usize], _epoch: usize, _seed: &Seed) -> Result<Self::Batch> {
        let (mut images, mut labels) = (Vec::new(), Vec::new());
        for index in indices {
            let (image, label) =
                self.images.sample(*index).map_err(|error| Error::msg(format!("{error:#}")))?;
            if label >= self.classes {
                bail!("labelled image {index}: label {label}, but there are {} classes", self.classes);
            }
            images.push(image);
            labels.push(label as u32);
        }
        let labels = Tensor::from_vec(labels, indices.len(), &Device::Cpu)?;
        Ok((pixels::batch(&images, self.resolution)?, labels))
    }

    fn loss(&self, model: &Clip, (pixels, labels): &Self::Batch) -> Result<Tensor> {
        let features = model.encode_image(pixels, Mode::Train)?; // [B, E]
        let logits = kernels::linear(&features, &self.weight, Some(&self.bias))?; // [B, K]
        kernels::cross_entropy(&logits, &labels.to_device(logits.device())?)
    }
}

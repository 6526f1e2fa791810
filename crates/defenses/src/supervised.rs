//! Supervised finetuning: image tower and a new linear head learn the clean labelled images by cross-entropy; the
//! head, not prompts, then classifies.

use clip::candle_core::{Device, Result, Tensor, Var, bail};
use clip::{Clip, Decay, Mode, Monitor, Objective, Parameter, Recipe, Seed, kernels, pixels};
use contract::{
    Card, DefenderView, Defense, Entry, Granted, Labelled, LinearHead, Model, Preset, RepairModel, preset,
    settings,
};
use rand::Rng;
use rayon::prelude::*;
use serde_json::Value;

use crate::finetuning::{Finetuning, fills_a_batch, finetune};

/// The defense.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "supervised",
        title: "Supervised finetuning",
        summary: "Finetunes the image tower with a new linear head on clean labelled images.",
        paper: "Bansal et al., \"CleanCLIP\", ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, `src/evaluate.py` (`get_finetune_metrics`), `--finetune`",
        departs: "the last incomplete batch of an epoch is dropped. `released` decays all but biases, norms too; \
                  the other presets decay by type. Released and described agree on the rest: this loop, unlike the \
                  contrastive one, counts its epochs from 0 and makes an optimizer of its own",
        version: 1,
    },
    presets,
    build,
};

fn presets() -> Vec<Preset> {
    let paper = Finetuning {
        batch_size: 80,
        learning_rate: 1e-4,
        warmup_steps: 500,
        weight_decay: 0.01,
        ..Finetuning::paper()
    };
    let released = Finetuning { decay: Decay::AllButBiases, ..paper.clone() };
    let tiny =
        Finetuning { epochs: 6, batch_size: 64, learning_rate: 1e-3, warmup_steps: 50, ..paper.clone() };
    let smoke = Finetuning { epochs: 2, batch_size: 32, warmup_steps: 5, ..tiny.clone() };
    vec![preset("tiny", tiny), preset("smoke", smoke), preset("paper", paper), preset("released", released)]
}

fn build(resolved: Value) -> anyhow::Result<Defense> {
    let recipe = settings::<Finetuning>(resolved)?.recipe()?;
    Ok(Defense::RepairModel(Box::new(Supervised { recipe })))
}

struct Supervised {
    recipe: Recipe,
}

impl RepairModel for Supervised {
    fn check(&self, granted: &Granted<'_>) -> anyhow::Result<()> {
        fills_a_batch(&self.recipe, granted.clean_images, "clean images granted (data.clean-images)")
    }

    fn work(&self, granted: &Granted<'_>) -> f64 {
        (self.recipe.epochs * granted.clean_images) as f64
    }

    fn repair(
        &self,
        model: Clip,
        view: &DefenderView<'_>,
        monitor: &mut dyn Monitor,
    ) -> anyhow::Result<Model> {
        let resolution = model.config.image.resolution();
        let (weight, bias) =
            new_head(view.classes.len(), model.config.embed_dim, &view.seed.child("head"), model.device()?)?;
        let (images, classes) = (view.clean_images, view.classes.len());
        let objective = Classification { images, classes, resolution, weight, bias };
        let seed = view.seed.child("train");
        let finetuned = finetune(model, &objective, &self.recipe, None, &seed, monitor)?;
        let (weight, bias) = (objective.weight.as_detached_tensor(), objective.bias.as_detached_tensor());
        Ok(Model { clip: finetuned, head: Some(LinearHead { weight, bias }) })
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
        let label = |index: &usize| match self.images.label(*index)? {
            label if label < self.classes => Ok(label as u32),
            label => bail!("labelled image {index}: label {label}, but there are {} classes", self.classes),
        };
        let labels = indices.iter().map(label).collect::<Result<Vec<_>>>()?;
        let images = indices.par_iter().map(|index| self.images.image(*index)).collect::<Result<Vec<_>>>()?;
        let labels = Tensor::from_vec(labels, indices.len(), &Device::Cpu)?;
        Ok((pixels::batch(&images, self.resolution)?, labels))
    }

    fn loss(&self, model: &Clip, (pixels, labels): &Self::Batch) -> Result<Tensor> {
        let features = model.encode_image(pixels, Mode::Train)?; // [B, E]
        let logits = kernels::linear(&features, &self.weight, Some(&self.bias))?; // [B, K]
        kernels::cross_entropy(&logits, &labels.to_device(logits.device())?)
    }
}

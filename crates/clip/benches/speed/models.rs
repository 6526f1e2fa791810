//! Steps of training, encoding and the optimizer, on whole models.

use std::collections::BTreeMap;
use std::path::Path;

use clip::candle_core::backprop::GradStore;
use clip::candle_core::{DType, Device, Result, Tensor, bail};
use clip::kernels::{AdamW, Optimizer};
use clip::{Clip, Decay, Mode, ModelConfig, Parameter, Seed, Tokenizer, flop, kernels, loss};

use crate::inputs::{noise, signature, tokens};
use crate::place::Place;
use crate::work::{Check, Count, Workload};

/// Tokens that are no merges: 512 bytes, start and end.
const UNMERGED: usize = 514;

/// A model, whose weights are written to `weights`, if given, where PyTorch's side reads them.
fn build(name: &str, vocabulary: usize, weights: Option<&str>) -> Result<Clip> {
    let Some(config) = ModelConfig::preset(name) else { bail!("no model is called {name:?}") };
    let merges: Vec<u32> = (0..vocabulary.saturating_sub(UNMERGED) as u32).collect();
    let model = Clip::new(&config, Tokenizer::kept(&merges)?, &Seed::new(0))?;
    for parameter in model.all_parameters() {
        // OpenAI's 0 would hide the layers in front of it from the comparison of gradients.
        if parameter.name.ends_with(".bn3.weight") {
            parameter.var.set(&parameter.var.ones_like()?.affine(0.5, 0.0)?)?;
        }
    }
    if let Some(path) = weights {
        model.save(Path::new(path), &BTreeMap::new())?;
    }
    Ok(model)
}

/// Images that differ in more than noise, about as wide as normalised ones: 4×4 coloured squares under noise. Images
/// of noise alone have nearly the same features, and their gradients are what rounding leaves.
fn pixels(model: &Clip, batch: usize) -> Result<Tensor> {
    let side = model.config.image.resolution();
    let square = side / 4;
    let spread = [batch, 4, square, 4, square, 3];
    let squares = noise(&[batch, 4, 1, 4, 1, 3], 2)?.broadcast_as(&spread[..])?;
    let fine = noise(&[batch, side, side, 3], 1)?;
    (fine * 0.5)? + (squares.reshape((batch, side, side, 3))? * 1.5)?
}

fn settings() -> AdamW {
    let (beta1, beta2, epsilon) = (0.9, 0.999, 1e-8);
    AdamW { learning_rate: 1e-4, beta1, beta2, epsilon, weight_decay: 0.1, largest_norm: None }
}

/// PyTorch's order of axes.
fn as_pytorch(tensor: &Tensor) -> Result<Tensor> {
    if tensor.rank() == 4 { tensor.permute((0, 3, 1, 2)) } else { Ok(tensor.clone()) }
}

pub(crate) struct Step {
    model: Clip,
    pixels: Tensor,
    tokens: Tensor,
    in_modal: bool,
    optimizer: Optimizer,
}

impl Step {
    /// A step of `batch` pairs; with `in_modal` their augmented views stand behind them in the same batch. With `upload`
    /// each step copies the pixels to the device. Tokens always start on the host, which looks for their ends.
    pub(crate) fn new(
        (model, weights, place): (&str, Option<&str>, &Place),
        [batch, length, vocabulary]: [usize; 3],
        in_modal: bool,
        upload: bool,
    ) -> Result<Self> {
        let model = place.model(build(model, vocabulary, weights)?)?;
        let views = if in_modal { 2 } else { 1 };
        let (pixels, tokens) = (pixels(&model, views * batch)?, tokens(views * batch, length, vocabulary)?);
        let pixels = if upload { pixels } else { place.values(&pixels)? };
        let optimizer = Decay::ByType.optimizer(&model.all_parameters())?;
        Ok(Self { model, pixels, tokens, in_modal, optimizer })
    }

    fn loss(&self) -> Result<Tensor> {
        let images = self.model.encode_image(&self.pixels, Mode::Train)?;
        let texts = self.model.encode_text(&self.tokens)?;
        let scale = self.model.logit_scale()?;
        if !self.in_modal {
            return loss::info_nce(&images, &texts, scale);
        }
        let (images, texts) = (images.chunk(2, 0)?, texts.chunk(2, 0)?);
        let within =
            (loss::in_modal(&images[0], &images[1], scale)? + loss::in_modal(&texts[0], &texts[1], scale)?)?;
        loss::info_nce(&images[0], &texts[0], scale)? + (within * 0.5)?
    }

    fn step(&mut self) -> Result<(Tensor, GradStore)> {
        let loss = self.loss()?;
        let gradients = kernels::backward(&loss)?;
        self.optimizer.queue(&gradients, &settings())?;
        Ok((loss, gradients))
    }
}

impl Workload for Step {
    fn count(&self) -> Count {
        let (batch, length) = self.tokens.dims2().unwrap_or_default();
        Count { flop: flop::step(&self.model.config, batch, length), bytes: 0.0 }
    }

    fn check(&mut self) -> Result<Check> {
        let (loss, gradients) = self.step()?;
        let mut check = Check { losses: vec![scalar(&loss)?], ..Check::default() };
        for Parameter { name, var, .. } in self.model.all_parameters() {
            if let Some(gradient) = gradients.get(var.as_tensor()) {
                check.signatures.insert(name, signature(&as_pytorch(gradient)?)?);
            }
        }
        drop(gradients);
        for _ in 0..2 {
            check.losses.push(scalar(&self.step()?.0)?);
        }
        Ok(check)
    }

    fn run(&mut self) -> Result<()> {
        self.step().map(drop)
    }

    fn wait(&self) -> Result<()> {
        self.model.device()?.synchronize()
    }
}

fn scalar(loss: &Tensor) -> Result<f64> {
    loss.to_scalar::<f32>().map(f64::from)
}

pub(crate) struct Encode {
    model: Clip,
    pixels: Tensor,
}

impl Encode {
    pub(crate) fn new((model, weights, place): (&str, Option<&str>, &Place), batch: usize) -> Result<Self> {
        let model = place.model(build(model, UNMERGED, weights)?)?;
        let pixels = place.values(&pixels(&model, batch)?)?;
        Ok(Self { model, pixels })
    }
}

impl Workload for Encode {
    fn count(&self) -> Count {
        let batch = self.pixels.dims()[0];
        let flop = batch as f64 * flop::image(&self.model.config).iter().sum::<f64>();
        Count { flop, bytes: 0.0 }
    }

    fn check(&mut self) -> Result<Check> {
        let features = self.model.image_features(&self.pixels)?;
        Ok(Check { signatures: [("features".to_owned(), signature(&features)?)].into(), ..Check::default() })
    }

    fn run(&mut self) -> Result<()> {
        self.model.image_features(&self.pixels).map(drop)
    }

    fn wait(&self) -> Result<()> {
        self.model.device()?.synchronize()
    }
}

/// A step of AdamW over all parameters of a model.
pub(crate) struct Update {
    model: Clip,
    gradients: GradStore,
    values: usize,
    optimizer: Optimizer,
}

impl Update {
    /// AdamW with noise as gradients.
    pub(crate) fn new(model: &str, vocabulary: usize, weights: Option<&str>) -> Result<Self> {
        let model = build(model, vocabulary, weights)?;
        // The one way to an empty store.
        let mut gradients = Tensor::zeros((), DType::F32, &Device::Cpu)?.backward()?;
        let mut values = 0;
        for Parameter { var, .. } in model.all_parameters() {
            // Noise in PyTorch's order of axes.
            let gradient = noise(as_pytorch(&var)?.dims(), 3)?;
            let gradient =
                if var.rank() == 4 { gradient.permute((0, 2, 3, 1))?.contiguous()? } else { gradient };
            values += gradient.elem_count();
            gradients.insert(&var, gradient);
        }
        let optimizer = Decay::ByType.optimizer(&model.all_parameters())?;
        Ok(Self { model, gradients, values, optimizer })
    }
}

impl Workload for Update {
    fn count(&self) -> Count {
        // Parameter and both moments read and written, the gradient read.
        Count { flop: 0.0, bytes: 7.0 * 4.0 * self.values as f64 }
    }

    fn check(&mut self) -> Result<Check> {
        self.run()?;
        let mut check = Check::default();
        for Parameter { name, var, .. } in self.model.all_parameters() {
            check.signatures.insert(name, signature(&as_pytorch(&var)?)?);
        }
        Ok(check)
    }

    fn run(&mut self) -> Result<()> {
        self.optimizer.step(&self.gradients, &settings()).map(drop)
    }
}

//! The whole model.

use candle_core::{DType, Device, Result, Tensor};

use crate::config::ModelConfig;
use crate::image_config::ImageConfig;
use crate::parameters::{Initialiser, Mode, Parameter, Parameters, Shapes, Weights};
use crate::resnet::ResNet;
use crate::text::TextTower;
use crate::vit::Vit;
use crate::{DeviceChoice, Precision, Seed, Tokenizer, resnet, text, vit};

/// ln 100: the released code clamps the logit scale to [0, 4.6052].
const LARGEST_LOGIT_SCALE: f32 = 4.6052;

/// A CLIP model: towers, tokenizer and logit scale.
pub struct Clip {
    /// Sizes.
    pub config: ModelConfig,
    /// How texts become tokens.
    pub tokenizer: Tokenizer,
    /// The values.
    pub parameters: Parameters,
}

impl Clip {
    /// A model with OpenAI's initialisation, each parameter drawn from the seed below `seed` with its name.
    pub fn new(config: &ModelConfig, tokenizer: Tokenizer, seed: &Seed) -> Result<Self> {
        let mut init = Initialiser::new(Some(seed));
        Self::initialise(config, tokenizer.vocabulary_size(), &mut init)?;
        Ok(Self { config: config.clone(), tokenizer, parameters: init.parameters })
    }

    /// Shapes of a model of these sizes with a vocabulary of this size.
    pub(crate) fn shapes(config: &ModelConfig, vocabulary_size: usize) -> Result<Shapes> {
        let mut init = Initialiser::new(None);
        Self::initialise(config, vocabulary_size, &mut init)?;
        Ok(init.shapes)
    }

    fn initialise(config: &ModelConfig, vocabulary_size: usize, init: &mut Initialiser<'_>) -> Result<()> {
        config.check()?;
        match &config.image {
            ImageConfig::ResNet(image) => resnet::initialise(init, image, config.embed_dim)?,
            ImageConfig::Vit(image) => vit::initialise(init, image, config.embed_dim)?,
        }
        text::initialise(init, &config.text, vocabulary_size, config.embed_dim)?;
        init.constant("logit_scale", &[], (1.0f32 / 0.07).ln())
    }

    /// The image tower's features of pixels; gradients where `tracked`.
    fn image(&self, pixels: &Tensor, mode: Mode, tracked: bool) -> Result<Tensor> {
        let pixels = &kernels::cast(&pixels.to_device(self.device()?)?, self.precision().activations())?;
        let weights = Weights { parameters: &self.parameters, tracked };
        let features = match &self.config.image {
            ImageConfig::ResNet(config) => ResNet { weights, config, mode }.forward(pixels),
            ImageConfig::Vit(config) => Vit { weights, config }.forward(pixels),
        };
        kernels::cast(&features?, DType::F32)
    }

    /// The text tower's features of tokens; gradients where `tracked`.
    fn text(&self, tokens: &Tensor, tracked: bool) -> Result<Tensor> {
        let weights = Weights { parameters: &self.parameters, tracked };
        kernels::cast(&TextTower { weights, config: &self.config.text }.forward(tokens)?, DType::F32)
    }

    /// Image features `[B, E]`, not normalised, of normalised pixels `[B, R, R, 3]`. `Mode::Train` updates the
    /// running statistics.
    pub fn encode_image(&self, pixels: &Tensor, mode: Mode) -> Result<Tensor> {
        kernels::fused(|| self.image(pixels, mode, true))
    }

    /// Text features `[B, E]`, not normalised, of u32 tokens `[B, L]`.
    pub fn encode_text(&self, tokens: &Tensor) -> Result<Tensor> {
        kernels::fused(|| self.text(tokens, true))
    }

    /// As [`Clip::encode_image`] with the running statistics, without gradients.
    pub fn image_features(&self, pixels: &Tensor) -> Result<Tensor> {
        self.image(pixels, Mode::Eval, false)
    }

    /// As [`Clip::encode_text`], without gradients.
    pub fn text_features(&self, tokens: &Tensor) -> Result<Tensor> {
        self.text(tokens, false)
    }

    /// Texts as padded tokens `[B, L]` for this model.
    pub fn tokens(&self, texts: &[&str]) -> Result<Tensor> {
        self.tokenizer.encode_batch(texts, self.config.text.context_length)
    }

    /// Natural logarithm of the logit scale, a scalar.
    pub fn logit_scale(&self) -> Result<&Tensor> {
        self.parameters.get("logit_scale")
    }

    /// Keeps the logit scale within [0, ln 100], as the released code does after each step.
    pub fn clamp_logit_scale(&self) -> Result<()> {
        let var = self.parameters.var("logit_scale")?;
        if !var.device().is_cpu() {
            // Without looking at the value, for which the host would have to wait.
            return var.set(&var.as_detached_tensor().clamp(0f32, LARGEST_LOGIT_SCALE)?);
        }
        let value = var.to_scalar::<f32>()?;
        if !(0.0..=LARGEST_LOGIT_SCALE).contains(&value) {
            var.set(&Tensor::new(value.clamp(0.0, LARGEST_LOGIT_SCALE), &Device::Cpu)?)?;
        }
        Ok(())
    }

    /// Where the model computes. Pixels and tokens may be elsewhere: they are copied when they are encoded.
    pub fn device(&self) -> Result<&Device> {
        Ok(self.logit_scale()?.device())
    }

    /// How the model computes; f32 unless [`Clip::with_precision`] says otherwise.
    pub fn precision(&self) -> Precision {
        self.parameters.precision
    }

    /// The same model, computing in another precision. An error on the CPU for any but f32.
    pub fn with_precision(mut self, precision: Precision) -> Result<Self> {
        if self.device()?.is_cpu() {
            DeviceChoice::Cpu.check(precision)?;
        }
        self.parameters.precision = precision;
        Ok(self)
    }

    /// A copy on `device` that shares nothing with this model.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        let mut parameters = Parameters::default();
        parameters.precision = self.parameters.precision;
        for parameter in self.parameters.all() {
            parameters.insert(&parameter.name, copied(parameter.var.as_tensor(), device)?)?;
        }
        for (name, value) in self.parameters.all_running() {
            parameters.insert_running(&name, copied(&value, device)?)?;
        }
        Ok(Self { config: self.config.clone(), tokenizer: self.tokenizer.clone(), parameters })
    }

    /// Every parameter, ordered by name.
    pub fn all_parameters(&self) -> Vec<Parameter> {
        self.parameters.all()
    }

    /// A copy that shares nothing with this model.
    pub fn deep_clone(&self) -> Result<Self> {
        self.to_device(self.device()?)
    }
}

/// A tensor's values on `device`, in memory of their own.
fn copied(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    if device.same_device(tensor.device()) { tensor.copy() } else { tensor.to_device(device) }
}

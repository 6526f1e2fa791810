//! Zero-shot classification by prompts, as in CLIP.

use candle_core::{Device, Result, Tensor, bail};

use crate::{Clip, Image, pixels};

/// Images or texts encoded at a time.
pub const BATCH: usize = 256;

/// The classifier's weights `[K, E]`: for each class the mean of its normalised prompt features, normalised again.
/// Templates hold `{}` where the class name goes. On the CPU wherever the model is.
pub fn weights(model: &Clip, classes: &[String], templates: &[String]) -> Result<Tensor> {
    if classes.is_empty() || templates.is_empty() {
        bail!(
            "zero-shot: {} classes and {} templates; at least one of each is needed",
            classes.len(),
            templates.len()
        );
    }
    let prompts: Vec<String> = classes
        .iter()
        .flat_map(|class| templates.iter().map(move |template| template.replace("{}", class)))
        .collect();
    let mut features = Vec::new();
    for chunk in prompts.chunks(BATCH) {
        let texts: Vec<&str> = chunk.iter().map(String::as_str).collect();
        features.push(kernels::l2_normalize(&model.text_features(&model.tokens(&texts)?)?)?);
    }
    let features =
        Tensor::cat(&features, 0)?.reshape((classes.len(), templates.len(), model.config.embed_dim))?;
    kernels::l2_normalize(&features.mean(1)?)?.to_device(&Device::Cpu)
}

/// Image features `[B, E]`, not normalised, with the running statistics; on the CPU wherever the model is.
pub fn features(model: &Clip, images: &[Image]) -> Result<Tensor> {
    if images.is_empty() {
        bail!("zero-shot: no images");
    }
    let mut features = Vec::new();
    for chunk in images.chunks(BATCH) {
        features.push(model.image_features(&pixels::batch(chunk, model.config.image.resolution())?)?);
    }
    Tensor::cat(&features, 0)?.to_device(&Device::Cpu)
}

/// Cosine similarities `[B, K]` of image features with a classifier's weights.
pub fn scores(features: &Tensor, weights: &Tensor) -> Result<Tensor> {
    kernels::linear(&kernels::l2_normalize(features)?, weights, None)
}

//! VisionTransformer, the image tower of OpenAI's ViT models, channels last.
//!
//! Follows `clip/model.py` of openai/CLIP: square patches without bias, a class token in front, learned positions, a
//! layer norm before the transformer, and the class token's output projected.

use candle_core::{Result, Tensor};

use crate::image_config::VitConfig;
use crate::parameters::{Initialiser, Weights};
use crate::transformer::{Scheme, Transformer};

fn transformer(config: &VitConfig) -> Transformer {
    let VitConfig { width, layers, .. } = *config;
    Transformer { name: "visual.transformer", width, heads: config.heads(), layers, causal: false }
}

/// Draws the tower's initial values as OpenAI's `VisionTransformer` does.
pub(crate) fn initialise(init: &mut Initialiser<'_>, config: &VitConfig, embed_dim: usize) -> Result<()> {
    let width = config.width;
    let deviation = (width as f64).powf(-0.5);
    init.convolution("visual.conv1", 3, width, config.patch)?;
    init.normal("visual.class_embedding", &[width], deviation)?;
    init.normal("visual.positional_embedding", &[config.tokens(), width], deviation)?;
    init.norm("visual.ln_pre", width, 1.0)?;
    transformer(config).initialise(init, Scheme::PyTorch)?;
    init.norm("visual.ln_post", width, 1.0)?;
    init.normal("visual.proj", &[width, embed_dim], deviation)
}

pub(crate) struct Vit<'a> {
    pub(crate) weights: Weights<'a>,
    pub(crate) config: &'a VitConfig,
}

impl Vit<'_> {
    /// `[B, R, R, 3]` to `[B, E]`.
    pub(crate) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let weights = self.weights;
        let patches = kernels::conv2d(pixels, &weights.get("visual.conv1.weight")?, self.config.patch, 0)?;
        let (class, positions) =
            (weights.get("visual.class_embedding")?, weights.get("visual.positional_embedding")?);
        let x = kernels::prepend_token(&patches, &class, &positions)?; // [B, L, D]
        let x = transformer(self.config).forward(weights, &weights.layer_norm(&x, "visual.ln_pre")?)?;
        let batch = x.dim(0)?;
        let firsts: Vec<u32> = (0..batch).map(|sample| (sample * self.config.tokens()) as u32).collect();
        let x = kernels::embedding(&x, &Tensor::from_vec(firsts, batch, x.device())?)?; // [B, D]
        weights.project(&weights.layer_norm(&x, "visual.ln_post")?, "visual.proj") // [B, E]
    }
}

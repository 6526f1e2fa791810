//! Memory that training a model takes, counted from its sizes.

use crate::resnet::{Block, blocks};
use crate::{ImageConfig, ModelConfig, ResNetConfig};

/// Copies of every weight: itself, its gradient and two moments.
const COPIES: f64 = 4.0;
/// Tensors of a token's width that a block of a transformer keeps for the backward pass, or makes in it.
const PER_BLOCK: f64 = 18.0;
/// Copies of a convolution's result: before and after normalisation, and one more while gradients are made.
const PER_CONVOLUTION: f64 = 2.5;

/// Bytes that training with batches of `batch` pairs takes at its peak. Token embeddings are not counted: how many there
/// are depends on captions.
pub fn training(config: &ModelConfig, batch: usize) -> f64 {
    let [weights, kept] = match &config.image {
        ImageConfig::ResNet(image) => resnet(image, config.embed_dim),
        ImageConfig::Vit(image) => {
            let patch = 3 * image.patch * image.patch * image.width;
            let [weights, kept] = transformer(image.layers, image.tokens(), image.width, image.heads());
            [weights + (patch + image.width * config.embed_dim) as f64, kept]
        }
    };
    let text = &config.text;
    let [of_text, kept_of_text] = transformer(text.layers, text.context_length, text.width, text.heads);
    4.0 * (COPIES * (weights + of_text) + batch as f64 * (kept + kept_of_text))
}

/// Weights, and numbers kept for each sample.
fn transformer(layers: usize, tokens: usize, width: usize, heads: usize) -> [f64; 2] {
    let scores = (heads * tokens * tokens) as f64;
    let kept = layers as f64 * (PER_BLOCK * (tokens * width) as f64 + scores);
    [(12 * layers * width * width) as f64, kept]
}

fn resnet(config: &ResNetConfig, embed_dim: usize) -> [f64; 2] {
    let half = config.width / 2;
    let mut side = config.resolution / config.stem_stride;
    let mut weights = 27 * half + 9 * half * half + 9 * half * config.width;
    let mut kept = side * side * (2 * half + config.width);
    if config.stem_pool {
        side /= 2;
    }
    for block in blocks(config) {
        let Block { inputs, planes, stride, .. } = block;
        kept += 2 * planes * side * side;
        side /= stride;
        let shortcut = if block.has_downsample() { 4 * planes } else { 0 };
        kept += (4 * planes + shortcut) * side * side;
        weights += inputs * planes + 13 * planes * planes + inputs * shortcut;
    }
    let width = config.feature_width();
    weights += 3 * width * width + width * embed_dim;
    [weights as f64, PER_CONVOLUTION * kept as f64]
}

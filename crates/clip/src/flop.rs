//! Floating-point operations of whole models: those of matrix products and convolutions, two per multiplication and
//! addition, as OpenAI writes the models. Where a side finds a cheaper way to the same numbers (our attention pool
//! projects one query instead of every position, Winograd's convolutions), its share of the peak counts the saving.

use crate::resnet::{Block, blocks};
use crate::{ImageConfig, ModelConfig, ResNetConfig};

/// FLOP of `[rows, inputs] · [inputs, outputs]`.
pub fn product(rows: usize, inputs: usize, outputs: usize) -> f64 {
    2.0 * rows as f64 * inputs as f64 * outputs as f64
}

/// FLOP of one attention: scores and weighted values of the pairs of tokens that see each other.
pub fn attention(tokens: usize, width: usize, causal: bool) -> f64 {
    let pairs = if causal { tokens * (tokens + 1) / 2 } else { tokens * tokens };
    2.0 * product(pairs, width, 1)
}

fn transformer(layers: usize, tokens: usize, width: usize, causal: bool) -> f64 {
    layers as f64 * (12.0 * product(tokens, width, width) + attention(tokens, width, causal))
}

/// Forward FLOP of one image: the first convolution, which needs no gradient of its input, and all the rest.
pub fn image(config: &ModelConfig) -> [f64; 2] {
    match &config.image {
        ImageConfig::ResNet(image) => resnet(image, config.embed_dim),
        ImageConfig::Vit(image) => {
            let (tokens, width) = (image.tokens(), image.width);
            let blocks = transformer(image.layers, tokens, width, false);
            let patches = product(tokens - 1, 3 * image.patch * image.patch, width);
            [patches, blocks + product(1, width, config.embed_dim)]
        }
    }
}

fn resnet(config: &ResNetConfig, embed_dim: usize) -> [f64; 2] {
    let half = config.width / 2;
    let side = config.resolution / config.stem_stride;
    let first = product(side * side, 27, half);
    let mut rest = product(side * side, 9 * half, half) + product(side * side, 9 * half, config.width);
    let mut side = if config.stem_pool { side / 2 } else { side };
    for block in blocks(config) {
        let Block { inputs, planes, stride, .. } = block;
        let before = side * side;
        side /= stride;
        let after = side * side;
        rest += product(before, inputs, planes) + product(before, 9 * planes, planes);
        rest += product(after, planes, 4 * planes);
        if block.has_downsample() {
            rest += product(after, inputs, 4 * planes);
        }
    }
    let width = config.feature_width();
    [first, rest + attention_pool(side * side, width) + product(1, width, embed_dim)]
}

/// Forward FLOP of the attention pool without output projection: one query, keys and values of every token.
pub fn attention_pool(positions: usize, width: usize) -> f64 {
    let tokens = positions + 1;
    product(1, width, width) + 2.0 * product(tokens, width, width) + 2.0 * product(tokens, width, 1)
}

/// FLOP of a step of training with texts of `length` tokens: three times the forward pass, less the gradient of the
/// pixels.
pub fn step(config: &ModelConfig, batch: usize, length: usize) -> f64 {
    let [first, rest] = image(config);
    let text = transformer(config.text.layers, length, config.text.width, true)
        + product(1, config.text.width, config.embed_dim);
    let logits = product(batch, config.embed_dim, 1);
    batch as f64 * (2.0 * first + 3.0 * (rest + text + logits))
}

//! Sizes of a model.

use candle_core::{Result, bail};
use serde::{Deserialize, Serialize};

/// No size is larger: a file may claim anything, and sizes are multiplied.
const LARGEST: usize = 1 << 16;
/// Stages of an image tower; the channels double in each.
const MOST_STAGES: usize = 8;

/// Sizes of a CLIP model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ModelConfig {
    /// Width of the shared embedding.
    pub embed_dim: usize,
    /// The image tower.
    pub image: ImageConfig,
    /// The text tower.
    pub text: TextConfig,
}

/// Sizes of a ModifiedResNet image tower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ImageConfig {
    /// Side of the square input, in pixels.
    pub resolution: usize,
    /// Bottlenecks per stage; every stage after the first halves the side and doubles the channels.
    pub layers: Vec<usize>,
    /// Channels behind the stem.
    pub width: usize,
    /// Stride of the first convolution: 2 in OpenAI's towers; 1 keeps detail of small images.
    pub stem_stride: usize,
    /// Whether the stem ends in an average pool of 2: true in OpenAI's towers.
    pub stem_pool: bool,
}

/// Sizes of a text tower.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TextConfig {
    /// Tokens of the longest text, start and end included.
    pub context_length: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Attention heads.
    pub heads: usize,
    /// Transformer blocks.
    pub layers: usize,
}

impl ModelConfig {
    /// The tiny tier: under a million parameters, for 32-pixel scenes.
    pub fn tiny() -> Self {
        Self {
            embed_dim: 128,
            image: ImageConfig {
                resolution: 32,
                layers: vec![1, 1, 1],
                width: 16,
                stem_stride: 1, // a stride of 2 costs 6 points of accuracy (results/LOG.md)
                stem_pool: true,
            },
            text: TextConfig { context_length: 32, width: 64, heads: 2, layers: 2 },
        }
    }

    /// The smoke tier: as small as exercises every part.
    pub fn nano() -> Self {
        Self {
            embed_dim: 32,
            image: ImageConfig {
                resolution: 16,
                layers: vec![1, 1],
                width: 8,
                stem_stride: 2,
                stem_pool: false,
            },
            text: TextConfig { context_length: 32, width: 32, heads: 1, layers: 1 },
        }
    }

    /// OpenAI's RN50.
    pub fn rn50() -> Self {
        Self {
            embed_dim: 1024,
            image: ImageConfig {
                resolution: 224,
                layers: vec![3, 4, 6, 3],
                width: 64,
                stem_stride: 2,
                stem_pool: true,
            },
            text: TextConfig { context_length: 77, width: 512, heads: 8, layers: 12 },
        }
    }

    /// A configuration by name.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "nano" => Some(Self::nano()),
            "rn50" => Some(Self::rn50()),
            _ => None,
        }
    }

    /// Names that [`ModelConfig::preset`] knows.
    pub const PRESETS: &[&str] = &["tiny", "nano", "rn50"];

    /// An error that names the first size no model can have.
    pub fn check(&self) -> Result<()> {
        let (image, text) = (&self.image, &self.text);
        let sizes =
            [self.embed_dim, image.resolution, image.width, text.context_length, text.width, text.layers];
        let largest = sizes.into_iter().chain(image.layers.iter().copied()).max().unwrap_or(0);
        if largest > LARGEST || image.layers.len() > MOST_STAGES {
            bail!(
                "model: sizes are at most {LARGEST}, stages at most {MOST_STAGES}; found {largest} and {}",
                image.layers.len()
            );
        }
        if self.embed_dim == 0 || image.width < 2 || image.width % 2 != 0 {
            bail!(
                "model: embed-dim must be positive and image.width even, found {} and {}",
                self.embed_dim,
                image.width
            );
        }
        if image.layers.is_empty() || image.layers.contains(&0) || !matches!(image.stem_stride, 1 | 2) {
            bail!(
                "model: image.layers {:?} must name at least one block a stage, image.stem-stride 1 or 2",
                image.layers
            );
        }
        if image.resolution % self.image.reduction() != 0 || image.resolution == 0 {
            bail!(
                "model: image.resolution {} must be a multiple of {}",
                image.resolution,
                self.image.reduction()
            );
        }
        if text.heads == 0
            || text.width == 0
            || text.width % text.heads != 0
            || text.layers == 0
            || text.context_length < 3
        {
            bail!(
                "model: text.width {} must be a multiple of text.heads {}, text.layers positive, text.context-length at least 3",
                text.width,
                text.heads
            );
        }
        Ok(())
    }
}

impl ModelConfig {
    /// A lower bound of the number of values in a checked model with this vocabulary, without building it.
    pub(crate) fn fewest_values(&self, vocabulary_size: usize) -> usize {
        let (image, text) = (&self.image, &self.text);
        let convolutions: usize = image
            .layers
            .iter()
            .enumerate()
            .map(|(stage, count)| count * 17 * (image.width << stage).pow(2))
            .sum();
        let positions = image.final_side() * image.final_side() * image.feature_width();
        let pool = 3 * image.feature_width().pow(2) + self.embed_dim * image.feature_width() + positions;
        let words = (vocabulary_size + text.context_length + self.embed_dim) * text.width;
        convolutions + pool + words + 12 * text.layers * text.width.pow(2)
    }
}

impl ImageConfig {
    /// By how much the tower shrinks each side.
    pub fn reduction(&self) -> usize {
        (self.stem_stride * if self.stem_pool { 2 } else { 1 }) << (self.layers.len().max(1) - 1)
    }

    /// Side of the last feature map.
    pub fn final_side(&self) -> usize {
        self.resolution / self.reduction()
    }

    /// Channels of the last feature map.
    pub fn feature_width(&self) -> usize {
        (self.width * 4) << (self.layers.len().max(1) - 1)
    }

    /// Heads of the attention pool: one per 64 channels, as OpenAI's `width · 32 / 64`.
    pub fn heads(&self) -> usize {
        (self.feature_width() / 64).max(1)
    }
}

//! Sizes of a model.

use std::collections::{BTreeMap, BTreeSet};

use candle_core::{Result, bail};
use serde::{Deserialize, Serialize};

use crate::image_config::{ImageConfig, LARGEST, MOST_STAGES, ResNetConfig, VitConfig};

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

/// One per 64 channels, as OpenAI's `build_model` assumes.
fn heads(width: usize) -> usize {
    (width / 64).max(1)
}

impl ModelConfig {
    /// The tiny tier: under a million parameters, for 32-pixel scenes.
    pub fn tiny() -> Self {
        Self {
            embed_dim: 128,
            image: ImageConfig::ResNet(ResNetConfig {
                resolution: 32,
                layers: vec![1, 1, 1],
                width: 16,
                stem_stride: 1, // a stride of 2 costs 6 points of accuracy (results/LOG.md)
                stem_pool: true,
            }),
            text: TextConfig { context_length: 32, width: 64, heads: 2, layers: 2 },
        }
    }

    /// The smoke tier: as small as exercises every part.
    pub fn nano() -> Self {
        Self {
            embed_dim: 32,
            image: ImageConfig::ResNet(ResNetConfig {
                resolution: 16,
                layers: vec![1, 1],
                width: 8,
                stem_stride: 2,
                stem_pool: false,
            }),
            text: TextConfig { context_length: 32, width: 32, heads: 1, layers: 1 },
        }
    }

    /// OpenAI's RN50.
    pub fn rn50() -> Self {
        Self::resnet(224, [3, 4, 6, 3], 64, 1024, 512)
    }

    fn resnet(
        resolution: usize,
        layers: [usize; 4],
        width: usize,
        embed_dim: usize,
        text_width: usize,
    ) -> Self {
        let layers = layers.to_vec();
        let image = ResNetConfig { resolution, layers, width, stem_stride: 2, stem_pool: true };
        let text = TextConfig { context_length: 77, width: text_width, heads: heads(text_width), layers: 12 };
        Self { embed_dim, image: ImageConfig::ResNet(image), text }
    }

    /// OpenAI's text towers are as wide as the embedding beside a ViT.
    fn vit(resolution: usize, patch: usize, width: usize, layers: usize, embed_dim: usize) -> Self {
        let image = VitConfig { resolution, patch, width, layers };
        let text = TextConfig { context_length: 77, width: embed_dim, heads: heads(embed_dim), layers: 12 };
        Self { embed_dim, image: ImageConfig::Vit(image), text }
    }

    /// What the shapes of weights of this model tell, as [`ModelConfig::of_weights`] reads them.
    pub fn as_seen(&self) -> Self {
        let mut seen = self.clone();
        seen.text.heads = heads(self.text.width);
        if let ImageConfig::ResNet(image) = &mut seen.image {
            let side = image.final_side();
            (image.stem_stride, image.stem_pool) = (2, true);
            image.resolution = side * image.reduction();
        }
        seen
    }

    /// The preset that has these very sizes.
    pub fn preset_name(&self) -> Option<&'static str> {
        Self::PRESETS.iter().copied().find(|name| Self::preset(name).as_ref() == Some(self))
    }

    /// The sizes in words: the preset's name where they have one.
    pub fn describe(&self) -> String {
        let sizes = serde_json::to_string(self).unwrap_or_default();
        match self.preset_name() {
            Some(name) => format!("{name} ({sizes})"),
            None => sizes,
        }
    }

    /// Trainable values of a model of these sizes with a vocabulary of this size.
    pub fn parameter_count(&self, vocabulary_size: usize) -> Result<usize> {
        let shapes = crate::Clip::shapes(self, vocabulary_size)?;
        Ok(shapes.parameters.values().map(|shape| shape.iter().product::<usize>()).sum())
    }

    /// A configuration by name; but for the first two, OpenAI's.
    pub fn preset(name: &str) -> Option<Self> {
        match name {
            "tiny" => Some(Self::tiny()),
            "nano" => Some(Self::nano()),
            "rn50" => Some(Self::rn50()),
            "rn101" => Some(Self::resnet(224, [3, 4, 23, 3], 64, 512, 512)),
            "rn50x4" => Some(Self::resnet(288, [4, 6, 10, 6], 80, 640, 640)),
            "rn50x16" => Some(Self::resnet(384, [6, 8, 18, 8], 96, 768, 768)),
            "rn50x64" => Some(Self::resnet(448, [3, 15, 36, 10], 128, 1024, 1024)),
            "vit-b-32" => Some(Self::vit(224, 32, 768, 12, 512)),
            "vit-b-16" => Some(Self::vit(224, 16, 768, 12, 512)),
            "vit-l-14" => Some(Self::vit(224, 14, 1024, 24, 768)),
            "vit-l-14-336" => Some(Self::vit(336, 14, 1024, 24, 768)),
            _ => None,
        }
    }

    /// Names that [`ModelConfig::preset`] knows.
    pub const PRESETS: &[&str] = &[
        "tiny",
        "nano",
        "rn50",
        "rn101",
        "rn50x4",
        "rn50x16",
        "rn50x64",
        "vit-b-32",
        "vit-b-16",
        "vit-l-14",
        "vit-l-14-336",
    ];

    /// Sizes that the shapes of weights with OpenAI's names have, read off as OpenAI's `build_model` does. Heads of
    /// the text tower stand in no shape: one per 64 channels, as there.
    pub fn of_weights(shapes: &BTreeMap<String, Vec<usize>>) -> Result<Self> {
        let size = |name: &str, axis: usize| match shapes.get(name).and_then(|shape| shape.get(axis)) {
            Some(size) => Ok(*size),
            None => bail!("the weights have no {name:?} of at least {} dimensions", axis + 1),
        };
        let blocks = |prefix: &str| {
            let names = shapes.keys().filter_map(|name| name.strip_prefix(prefix));
            names.filter_map(|rest| rest.split('.').next()).collect::<BTreeSet<_>>().len()
        };
        let side = |name: &str| Ok::<_, candle_core::Error>(size(name, 0)?.saturating_sub(1).isqrt());
        let image = if shapes.contains_key("visual.proj") {
            let (width, patch) = (size("visual.conv1.weight", 0)?, size("visual.conv1.weight", 3)?);
            let resolution = side("visual.positional_embedding")?.saturating_mul(patch);
            let layers = blocks("visual.transformer.resblocks.");
            ImageConfig::Vit(VitConfig { resolution, patch, width, layers })
        } else {
            let stages = (1..=MOST_STAGES + 1).map(|stage| blocks(&format!("visual.layer{stage}.")));
            let layers = stages.take_while(|blocks| *blocks > 0).collect();
            let width = size("visual.layer1.0.conv1.weight", 0)?;
            let mut image = ResNetConfig { resolution: 0, layers, width, stem_stride: 2, stem_pool: true };
            image.resolution =
                side("visual.attnpool.positional_embedding")?.saturating_mul(image.reduction());
            ImageConfig::ResNet(image)
        };
        let width = size("positional_embedding", 1)?;
        let text = TextConfig {
            context_length: size("positional_embedding", 0)?,
            width,
            heads: heads(width),
            layers: blocks("transformer.resblocks."),
        };
        let config = Self { embed_dim: size("text_projection", 1)?, image, text };
        config.check()?;
        Ok(config)
    }

    /// An error that names the first size no model can have.
    pub fn check(&self) -> Result<()> {
        let text = &self.text;
        let sizes = [self.embed_dim, text.context_length, text.width, text.layers];
        let largest = sizes.into_iter().max().unwrap_or(0);
        if largest > LARGEST || self.embed_dim == 0 {
            bail!("model: sizes are at most {LARGEST} and embed-dim positive; found {sizes:?}");
        }
        self.image.check()?;
        if text.heads == 0
            || text.width == 0
            || !text.width.is_multiple_of(text.heads)
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

    /// A lower bound of the number of values in a checked model with this vocabulary, without building it.
    pub(crate) fn fewest_values(&self, vocabulary_size: usize) -> usize {
        let text = &self.text;
        let words = (vocabulary_size + text.context_length + self.embed_dim) * text.width;
        self.image.fewest_values(self.embed_dim) + words + 12 * text.layers * text.width.pow(2)
    }
}

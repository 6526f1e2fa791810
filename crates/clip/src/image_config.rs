//! Sizes of an image tower.

use candle_core::{Result, bail};
use serde::{Deserialize, Serialize};

/// No size is larger: a file may claim anything, and sizes are multiplied.
pub(crate) const LARGEST: usize = 1 << 16;

/// Stages of a ModifiedResNet; the channels double in each.
pub(crate) const MOST_STAGES: usize = 8;
/// Channels of an attention head in OpenAI's image towers.
const HEAD_WIDTH: usize = 64;

/// Sizes of an image tower. In a file a ModifiedResNet has `layers`, `stem-stride` and `stem-pool`, a
/// VisionTransformer `patch` and `blocks`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub enum ImageConfig {
    /// OpenAI's ModifiedResNet.
    ResNet(ResNetConfig),
    /// OpenAI's VisionTransformer.
    Vit(VitConfig),
}

/// Sizes of a ModifiedResNet image tower.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
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

/// Sizes of a VisionTransformer image tower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VitConfig {
    /// Side of the square input, in pixels.
    pub resolution: usize,
    /// Side of a square patch, in pixels.
    pub patch: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Transformer blocks.
    pub layers: usize,
}

/// Both towers as they stand in files: one flat map, the same for a ModifiedResNet as before there was another.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Form {
    resolution: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<usize>>,
    width: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stem_stride: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stem_pool: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    patch: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocks: Option<usize>,
}

impl TryFrom<Form> for ImageConfig {
    type Error = &'static str;

    fn try_from(form: Form) -> std::result::Result<Self, Self::Error> {
        let Form { resolution, width, .. } = form;
        match (form.layers, form.stem_stride, form.stem_pool, form.patch, form.blocks) {
            (Some(layers), Some(stem_stride), Some(stem_pool), None, None) => {
                Ok(Self::ResNet(ResNetConfig { resolution, layers, width, stem_stride, stem_pool }))
            }
            (None, None, None, Some(patch), Some(layers)) => {
                Ok(Self::Vit(VitConfig { resolution, patch, width, layers }))
            }
            _ => Err("image: expected resolution, width and either layers, stem-stride and stem-pool \
                (ModifiedResNet) or patch and blocks (VisionTransformer)"),
        }
    }
}

impl From<ImageConfig> for Form {
    fn from(config: ImageConfig) -> Self {
        match config {
            ImageConfig::ResNet(ResNetConfig { resolution, layers, width, stem_stride, stem_pool }) => Self {
                resolution,
                layers: Some(layers),
                width,
                stem_stride: Some(stem_stride),
                stem_pool: Some(stem_pool),
                ..Self::default()
            },
            ImageConfig::Vit(VitConfig { resolution, patch, width, layers }) => {
                Self { resolution, width, patch: Some(patch), blocks: Some(layers), ..Self::default() }
            }
        }
    }
}

impl ImageConfig {
    /// Side of the square input, in pixels.
    pub fn resolution(&self) -> usize {
        match self {
            Self::ResNet(config) => config.resolution,
            Self::Vit(config) => config.resolution,
        }
    }

    /// An error that names the first size no tower can have.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::ResNet(config) => config.check(),
            Self::Vit(config) => config.check(),
        }
    }

    /// A lower bound of the number of values in a checked tower.
    pub(crate) fn fewest_values(&self, embed_dim: usize) -> usize {
        match self {
            Self::ResNet(config) => config.fewest_values(embed_dim),
            Self::Vit(config) => config.fewest_values(embed_dim),
        }
    }
}

impl ResNetConfig {
    fn check(&self) -> Result<()> {
        let Self { resolution, layers, width, stem_stride, .. } = self;
        let largest = layers.iter().copied().chain([*resolution, *width]).max().unwrap_or(0);
        if largest > LARGEST || layers.len() > MOST_STAGES {
            bail!(
                "model: sizes are at most {LARGEST}, stages at most {MOST_STAGES}; found {largest} and {}",
                layers.len()
            );
        }
        if *width < 2 || width % 2 != 0 {
            bail!("model: image.width must be even, found {width}");
        }
        if layers.is_empty() || layers.contains(&0) || !matches!(stem_stride, 1 | 2) {
            bail!(
                "model: image.layers {layers:?} must name at least one block a stage, image.stem-stride 1 or 2"
            );
        }
        if resolution % self.reduction() != 0 || *resolution == 0 {
            bail!("model: image.resolution {resolution} must be a multiple of {}", self.reduction());
        }
        Ok(())
    }

    fn fewest_values(&self, embed_dim: usize) -> usize {
        let stages = self.layers.iter().enumerate();
        let convolutions: usize =
            stages.map(|(stage, count)| count * 17 * (self.width << stage).pow(2)).sum();
        let positions = self.final_side() * self.final_side() * self.feature_width();
        convolutions + 3 * self.feature_width().pow(2) + embed_dim * self.feature_width() + positions
    }

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
        (self.feature_width() / HEAD_WIDTH).max(1)
    }
}

impl VitConfig {
    fn check(&self) -> Result<()> {
        let Self { resolution, patch, width, layers } = *self;
        let largest = resolution.max(patch).max(width).max(layers);
        if largest > LARGEST {
            bail!("model: sizes are at most {LARGEST}, found {largest}");
        }
        if width == 0 || width % HEAD_WIDTH != 0 || layers == 0 {
            bail!(
                "model: image.width {width} must be a multiple of {HEAD_WIDTH}, image.blocks {layers} positive"
            );
        }
        if patch == 0 || resolution == 0 || resolution % patch != 0 {
            bail!("model: image.resolution {resolution} must be a multiple of image.patch {patch}");
        }
        Ok(())
    }

    fn fewest_values(&self, embed_dim: usize) -> usize {
        let ends = 3 * self.patch * self.patch + self.tokens() + embed_dim;
        (ends + 12 * self.layers * self.width) * self.width
    }

    /// Tokens of an image, the class token included.
    pub fn tokens(&self) -> usize {
        (self.resolution / self.patch).pow(2) + 1
    }

    /// Attention heads: one per 64 channels, as OpenAI's `vision_width // 64`.
    pub fn heads(&self) -> usize {
        self.width / HEAD_WIDTH
    }
}

//! ModifiedResNet, the image tower of OpenAI's RN models, channels last.
//!
//! Follows `clip/model.py` of openai/CLIP: a stem of three 3×3 convolutions, anti-aliasing average pools before
//! strided 1×1 convolutions, and attention pooling with the mean as query.

use candle_core::{Result, Tensor, Var};
use kernels::Activation;

use crate::image_config::ResNetConfig;
use crate::parameters::{Initialiser, Mode, Weights};

/// PyTorch's defaults of batch norm.
const EPSILON: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// The convolutions of the stem: name of convolution and norm, inputs, outputs, stride.
fn stem(config: &ResNetConfig) -> [(&'static str, &'static str, usize, usize, usize); 3] {
    let half = config.width / 2;
    [
        ("visual.conv1", "visual.bn1", 3, half, config.stem_stride),
        ("visual.conv2", "visual.bn2", half, half, 1),
        ("visual.conv3", "visual.bn3", half, config.width, 1),
    ]
}

/// A bottleneck's name and sizes.
pub(crate) struct Block {
    name: String,
    pub(crate) inputs: usize,
    pub(crate) planes: usize,
    pub(crate) stride: usize,
}

pub(crate) fn blocks(config: &ResNetConfig) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut inputs = config.width;
    for (stage, count) in config.layers.iter().enumerate() {
        let planes = config.width << stage;
        for index in 0..*count {
            let stride = if stage > 0 && index == 0 { 2 } else { 1 };
            blocks.push(Block { name: format!("visual.layer{}.{index}", stage + 1), inputs, planes, stride });
            inputs = planes * 4;
        }
    }
    blocks
}

impl Block {
    pub(crate) fn has_downsample(&self) -> bool {
        self.stride > 1 || self.inputs != self.planes * 4
    }
}

/// Draws the tower's initial values as OpenAI's `initialize_parameters` does.
pub(crate) fn initialise(init: &mut Initialiser<'_>, config: &ResNetConfig, embed_dim: usize) -> Result<()> {
    for (convolution, norm, inputs, outputs, _) in stem(config) {
        init.convolution(convolution, inputs, outputs, 3)?;
        init.batch_norm(norm, outputs, 1.0)?;
    }
    for block in blocks(config) {
        let Block { name, inputs, planes, .. } = &block;
        let (inputs, planes) = (*inputs, *planes);
        init.convolution(&format!("{name}.conv1"), inputs, planes, 1)?;
        init.batch_norm(&format!("{name}.bn1"), planes, 1.0)?;
        init.convolution(&format!("{name}.conv2"), planes, planes, 3)?;
        init.batch_norm(&format!("{name}.bn2"), planes, 1.0)?;
        init.convolution(&format!("{name}.conv3"), planes, planes * 4, 1)?;
        init.batch_norm(&format!("{name}.bn3"), planes * 4, 0.0)?; // each block starts as the identity
        if block.has_downsample() {
            init.convolution(&format!("{name}.downsample.0"), inputs, planes * 4, 1)?;
            init.batch_norm(&format!("{name}.downsample.1"), planes * 4, 1.0)?;
        }
    }
    let width = config.feature_width();
    let deviation = (width as f64).powf(-0.5);
    let tokens = config.final_side() * config.final_side() + 1;
    init.normal("visual.attnpool.positional_embedding", &[tokens, width], deviation)?;
    for (projection, outputs) in
        [("q_proj", width), ("k_proj", width), ("v_proj", width), ("c_proj", embed_dim)]
    {
        let name = format!("visual.attnpool.{projection}");
        init.linear(&name, width, outputs)?;
        init.normal(&format!("{name}.weight"), &[outputs, width], deviation)?;
    }
    Ok(())
}

pub(crate) struct ResNet<'a> {
    pub(crate) weights: Weights<'a>,
    pub(crate) config: &'a ResNetConfig,
    pub(crate) mode: Mode,
}

impl ResNet<'_> {
    fn convolution(&self, x: &Tensor, name: &str, stride: usize) -> Result<Tensor> {
        let w = self.weights.get(&format!("{name}.weight"))?;
        let padding = w.dim(1)? / 2;
        kernels::conv2d(x, &w, stride, padding)
    }

    fn batch_norm(
        &self,
        x: &Tensor,
        name: &str,
        residual: Option<&Tensor>,
        activation: Activation,
    ) -> Result<Tensor> {
        let (gamma, beta) = self.weights.pair(name)?;
        let (mean, variance) = (format!("{name}.running_mean"), format!("{name}.running_var"));
        match self.mode {
            Mode::Train => {
                let (y, batch) = kernels::batch_norm_train(x, &gamma, &beta, residual, EPSILON, activation)?;
                self.weights.parameters.update_running(&mean, &batch.mean, MOMENTUM)?;
                self.weights.parameters.update_running(&variance, &batch.variance, MOMENTUM)?;
                Ok(y)
            }
            Mode::Eval => {
                let running = |name: &str| self.weights.parameters.running(name).map(Var::as_detached_tensor);
                let statistics = (&running(&mean)?, &running(&variance)?);
                kernels::batch_norm_eval(x, &gamma, &beta, statistics, residual, EPSILON, activation)
            }
        }
    }

    /// `[B, R, R, 3]` to `[B, E]`.
    pub(crate) fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut x = pixels.clone();
        for (convolution, norm, _, _, stride) in stem(self.config) {
            x = self.batch_norm(&self.convolution(&x, convolution, stride)?, norm, None, Activation::Relu)?;
        }
        if self.config.stem_pool {
            x = kernels::average_pool2d(&x, 2)?;
        }
        for block in blocks(self.config) {
            x = self.bottleneck(&x, &block)?;
        }
        self.attention_pool(&x)
    }

    fn bottleneck(&self, x: &Tensor, block: &Block) -> Result<Tensor> {
        let name = &block.name;
        let pool =
            |x: Tensor| if block.stride > 1 { kernels::average_pool2d(&x, block.stride) } else { Ok(x) };
        let identity = if block.has_downsample() {
            let shortcut = self.convolution(&pool(x.clone())?, &format!("{name}.downsample.0"), 1)?;
            self.batch_norm(&shortcut, &format!("{name}.downsample.1"), None, Activation::Identity)?
        } else {
            x.clone()
        };
        let y = self.convolution(x, &format!("{name}.conv1"), 1)?;
        let y = self.batch_norm(&y, &format!("{name}.bn1"), None, Activation::Relu)?;
        let y = self.convolution(&y, &format!("{name}.conv2"), 1)?;
        let y = pool(self.batch_norm(&y, &format!("{name}.bn2"), None, Activation::Relu)?)?;
        let y = self.convolution(&y, &format!("{name}.conv3"), 1)?;
        self.batch_norm(&y, &format!("{name}.bn3"), Some(&identity), Activation::Relu)
    }

    /// Attention of the mean token over itself and all positions.
    fn attention_pool(&self, x: &Tensor) -> Result<Tensor> {
        let pair = |name: &str| self.weights.pair(&format!("visual.attnpool.{name}"));
        let (query, key, value) = (pair("q_proj")?, pair("k_proj")?, pair("v_proj")?);
        let pooled = kernels::attention_pool(
            x,
            &self.weights.get("visual.attnpool.positional_embedding")?,
            (&query.0, &query.1),
            (&key.0, &key.1),
            (&value.0, &value.1),
            self.config.heads(),
        )?;
        self.weights.linear(&pooled, "visual.attnpool.c_proj") // [B, E]
    }
}

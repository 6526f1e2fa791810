//! The pre-norm transformer of OpenAI's CLIP (`Transformer` in `clip/model.py` of openai/CLIP), in both towers.

use candle_core::{Result, Tensor};
use kernels::Gelu;

use crate::parameters::{Initialiser, Weights};

/// How initial values are drawn.
#[derive(Clone, Copy)]
pub(crate) enum Scheme {
    /// Normal, scaled by width and depth: what OpenAI's `initialize_parameters` does, for the text tower only.
    ByDepth,
    /// What PyTorch's layers do themselves, as OpenAI leaves the image tower.
    PyTorch,
}

#[derive(Clone, Copy)]
pub(crate) struct Transformer {
    /// The name above `.resblocks`.
    pub(crate) name: &'static str,
    /// Width of the residual stream.
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) layers: usize,
    /// Whether a token sees only itself and what is before it.
    pub(crate) causal: bool,
}

impl Transformer {
    pub(crate) fn initialise(&self, init: &mut Initialiser<'_>, scheme: Scheme) -> Result<()> {
        let Self { name, width, layers, .. } = *self;
        let attention = (width as f64).powf(-0.5);
        let projection = attention * ((2 * layers) as f64).powf(-0.5);
        let hidden = ((2 * width) as f64).powf(-0.5);
        for layer in 0..layers {
            let name = |part: &str| format!("{name}.resblocks.{layer}.{part}");
            init.linear(&name("attn.out_proj"), width, width)?;
            init.constant(&name("attn.in_proj_bias"), &[3 * width], 0.0)?;
            init.constant(&name("attn.out_proj.bias"), &[width], 0.0)?;
            init.linear(&name("mlp.c_fc"), width, 4 * width)?;
            init.linear(&name("mlp.c_proj"), 4 * width, width)?;
            init.norm(&name("ln_1"), width, 1.0)?;
            init.norm(&name("ln_2"), width, 1.0)?;
            match scheme {
                Scheme::ByDepth => {
                    init.normal(&name("attn.in_proj_weight"), &[3 * width, width], attention)?;
                    init.normal(&name("attn.out_proj.weight"), &[width, width], projection)?;
                    init.normal(&name("mlp.c_fc.weight"), &[4 * width, width], hidden)?;
                    init.normal(&name("mlp.c_proj.weight"), &[width, 4 * width], projection)?;
                }
                Scheme::PyTorch => {
                    // Glorot and Bengio (2010): ±√(6 / (inputs + outputs)).
                    let bound = (6.0 / (4 * width) as f64).sqrt();
                    init.uniform(&name("attn.in_proj_weight"), &[3 * width, width], bound)?;
                }
            }
        }
        Ok(())
    }

    /// `[B, L, D]` to `[B, L, D]`.
    pub(crate) fn forward(&self, weights: Weights<'_>, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for layer in 0..self.layers {
            x = self.block(weights, &x, &format!("{}.resblocks.{layer}", self.name))?;
        }
        Ok(x)
    }

    fn block(&self, weights: Weights<'_>, x: &Tensor, name: &str) -> Result<Tensor> {
        let normal = weights.layer_norm(x, &format!("{name}.ln_1"))?;
        let x = kernels::add(x, &self.attention(weights, &normal, name)?)?;
        let hidden = weights.layer_norm(&x, &format!("{name}.ln_2"))?;
        let (w, b) = weights.pair(&format!("{name}.mlp.c_fc"))?;
        let hidden = kernels::linear_gelu(&hidden, &w, &b, Gelu::Quick)?;
        kernels::add(&x, &weights.linear(&hidden, &format!("{name}.mlp.c_proj"))?)
    }

    fn attention(&self, weights: Weights<'_>, x: &Tensor, name: &str) -> Result<Tensor> {
        let w = weights.get(&format!("{name}.attn.in_proj_weight"))?;
        let b = weights.get(&format!("{name}.attn.in_proj_bias"))?;
        let qkv = kernels::linear(x, &w, Some(&b))?; // [B, L, 3·D]
        let y = kernels::self_attention(&qkv, self.heads, self.causal)?;
        weights.linear(&y, &format!("{name}.attn.out_proj"))
    }
}

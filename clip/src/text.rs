//! The text tower of OpenAI's CLIP: a causal pre-norm transformer, pooled at the end token.

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::config::TextConfig;
use crate::parameters::{Initialiser, Parameters};

const EPSILON: f64 = 1e-5;

/// Draws the tower's initial values as OpenAI's `initialize_parameters` does.
pub(crate) fn initialise(
    init: &mut Initialiser<'_>,
    config: &TextConfig,
    vocabulary_size: usize,
    embed_dim: usize,
) -> Result<()> {
    let width = config.width;
    init.normal("token_embedding.weight", &[vocabulary_size, width], 0.02)?;
    init.normal("positional_embedding", &[config.context_length, width], 0.01)?;
    let attention = (width as f64).powf(-0.5);
    let projection = attention * ((2 * config.layers) as f64).powf(-0.5);
    let hidden = ((2 * width) as f64).powf(-0.5);
    for layer in 0..config.layers {
        let name = |part: &str| format!("transformer.resblocks.{layer}.{part}");
        init.normal(&name("attn.in_proj_weight"), &[3 * width, width], attention)?;
        init.constant(&name("attn.in_proj_bias"), &[3 * width], 0.0)?;
        init.normal(&name("attn.out_proj.weight"), &[width, width], projection)?;
        init.constant(&name("attn.out_proj.bias"), &[width], 0.0)?;
        init.linear(&name("mlp.c_fc"), width, 4 * width)?;
        init.normal(&name("mlp.c_fc.weight"), &[4 * width, width], hidden)?;
        init.linear(&name("mlp.c_proj"), 4 * width, width)?;
        init.normal(&name("mlp.c_proj.weight"), &[width, 4 * width], projection)?;
        init.norm(&name("ln_1"), width, 1.0)?;
        init.norm(&name("ln_2"), width, 1.0)?;
    }
    init.norm("ln_final", width, 1.0)?;
    init.normal("text_projection", &[width, embed_dim], attention)
}

/// The tower at work.
pub(crate) struct TextTower<'a> {
    pub(crate) parameters: &'a Parameters,
    pub(crate) config: &'a TextConfig,
    /// Whether gradients are wanted.
    pub(crate) tracked: bool,
}

impl TextTower<'_> {
    fn get(&self, name: &str) -> Result<Tensor> {
        let tensor = self.parameters.get(name)?;
        Ok(if self.tracked { tensor.clone() } else { tensor.detach() })
    }

    fn layer_norm(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let (gamma, beta) = (self.get(&format!("{name}.weight"))?, self.get(&format!("{name}.bias"))?);
        kernels::layer_norm(x, &gamma, &beta, EPSILON)
    }

    /// u32 tokens `[B, L]` to `[B, E]`. The end token is the one with the highest number.
    pub(crate) fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let (_, length) = tokens.dims2()?;
        if length > self.config.context_length {
            bail!("text of {length} tokens, but the model takes {}", self.config.context_length);
        }
        let table = self.get("token_embedding.weight")?;
        let ends = end_tokens(tokens)?.to_device(table.device())?; // [B]
        let x = kernels::embedding(&table, &tokens.to_device(table.device())?)?; // [B, L, D]
        let mut x = kernels::add_table(&x, &self.get("positional_embedding")?)?;
        for layer in 0..self.config.layers {
            x = self.block(&x, &format!("transformer.resblocks.{layer}"))?;
        }
        let x = kernels::embedding(&x, &ends)?; // [B, D]
        let x = self.layer_norm(&x, "ln_final")?;
        kernels::linear(&x, &self.get("text_projection")?.t()?.contiguous()?, None) // [B, E]
    }

    fn block(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let attended = self.attention(&self.layer_norm(x, &format!("{name}.ln_1"))?, name)?;
        let x = kernels::add(x, &attended)?;
        let hidden = self.layer_norm(&x, &format!("{name}.ln_2"))?;
        let hidden = kernels::quick_gelu(&self.linear(&hidden, &format!("{name}.mlp.c_fc"))?)?;
        kernels::add(&x, &self.linear(&hidden, &format!("{name}.mlp.c_proj"))?)
    }

    fn linear(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let (w, b) = (self.get(&format!("{name}.weight"))?, self.get(&format!("{name}.bias"))?);
        kernels::linear(x, &w, Some(&b))
    }

    fn attention(&self, x: &Tensor, name: &str) -> Result<Tensor> {
        let width = self.config.width;
        let (w, b) = (
            self.get(&format!("{name}.attn.in_proj_weight"))?,
            self.get(&format!("{name}.attn.in_proj_bias"))?,
        );
        let project = |part: usize| -> Result<Tensor> {
            let (w, b) = (w.narrow(0, part * width, width)?, b.narrow(0, part * width, width)?);
            kernels::linear(x, &w, Some(&b))
        };
        let y = kernels::attention(&project(0)?, &project(1)?, &project(2)?, self.config.heads, true)?;
        self.linear(&y, &format!("{name}.attn.out_proj"))
    }
}

/// Where the end token of each row of `[B, L]` is, counted over all rows: u32 `[B]` on the CPU. Where the tokens are
/// on the CPU too, as a batch prepared there is, no device has to be waited for.
fn end_tokens(tokens: &Tensor) -> Result<Tensor> {
    let (batch, length) = tokens.dims2()?;
    let ends: Vec<u32> = tokens
        .to_dtype(DType::U32)?
        .to_vec2::<u32>()?
        .iter()
        .enumerate()
        .map(|(row, tokens)| {
            let highest = tokens.iter().max();
            let end = tokens.iter().position(|token| Some(token) == highest).unwrap_or(0);
            (row * length + end) as u32
        })
        .collect();
    Tensor::from_vec(ends, batch, &Device::Cpu)
}

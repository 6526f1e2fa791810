//! The text tower of OpenAI's CLIP: a causal pre-norm transformer, pooled at the end token.

use candle_core::{DType, Device, Result, Tensor, bail};

use crate::config::TextConfig;
use crate::parameters::{Initialiser, Weights};
use crate::transformer::{Scheme, Transformer};

fn transformer(config: &TextConfig) -> Transformer {
    let TextConfig { width, heads, layers, .. } = *config;
    Transformer { name: "transformer", width, heads, layers, causal: true }
}

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
    transformer(config).initialise(init, Scheme::ByDepth)?;
    init.norm("ln_final", width, 1.0)?;
    init.normal("text_projection", &[width, embed_dim], (width as f64).powf(-0.5))
}

pub(crate) struct TextTower<'a> {
    pub(crate) weights: Weights<'a>,
    pub(crate) config: &'a TextConfig,
}

impl TextTower<'_> {
    /// u32 tokens `[B, L]` to `[B, E]`. The end token is the one with the highest number.
    pub(crate) fn forward(&self, tokens: &Tensor) -> Result<Tensor> {
        let weights = self.weights;
        let (_, length) = tokens.dims2()?;
        if length > self.config.context_length {
            bail!("text of {length} tokens, but the model takes {}", self.config.context_length);
        }
        let table = weights.get("token_embedding.weight")?;
        let ends = end_tokens(tokens)?.to_device(table.device())?; // [B]
        let x = kernels::embedding(&table, &tokens.to_device(table.device())?)?; // [B, L, D]
        let x = kernels::add_table(&x, &weights.get("positional_embedding")?)?;
        let x = kernels::cast(&x, weights.parameters.precision.activations())?;
        let x = transformer(self.config).forward(weights, &x)?;
        let x = kernels::embedding(&x, &ends)?; // [B, D]
        weights.project(&weights.layer_norm(&x, "ln_final")?, "text_projection") // [B, E]
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

//! What is timed: one list for this program and for its counterpart in PyTorch, `benches/versus_pytorch/rows.json`.

use clip::candle_core::{Error, Result};
use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) title: String,
    pub(crate) work: Work,
}

/// A piece of work: forward and backward unless it says otherwise. Images are `[N, H, W, C]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub(crate) enum Work {
    /// A step of training: zeroed gradients, forward, backward, AdamW. With `upload` a GPU's step begins with the pixels
    /// in the host's memory.
    Step {
        model: String,
        batch: usize,
        length: usize,
        vocabulary: usize,
        in_modal: bool,
        #[serde(default)]
        upload: bool,
    },
    /// Image features with the running statistics, forward only.
    Encode { model: String, batch: usize },
    /// A convolution without bias; `first` where the input needs no gradient.
    Convolution {
        input: [usize; 4],
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        first: bool,
    },
    /// Batch norm by the batch's statistics, plus another map where `residual`, then ReLU.
    BatchNorm { input: [usize; 4], residual: bool },
    /// Average pool.
    AveragePool { input: [usize; 4], size: usize },
    /// Attention of the mean over positions, up to the output projection.
    AttentionPool { input: [usize; 4], heads: usize },
    /// Layer norm.
    LayerNorm { rows: usize, width: usize },
    /// QuickGELU.
    QuickGelu { rows: usize, width: usize },
    /// A fully connected layer with bias.
    Linear { rows: usize, inputs: usize, outputs: usize },
    /// Self-attention without projections.
    Attention { batch: usize, tokens: usize, width: usize, heads: usize, causal: bool },
    /// Rows of a table.
    Embedding { vocabulary: usize, width: usize, batch: usize, length: usize },
    /// Symmetric InfoNCE of features that are not yet normalised, with the logit scale.
    InfoNce { batch: usize, width: usize },
    /// One step of AdamW over a model's parameters, gradients given.
    AdamW { model: String, vocabulary: usize },
    /// A square matrix product, forward only: the machine's peak.
    Product { size: usize },
}

pub(crate) fn rows() -> Result<Vec<Row>> {
    serde_json::from_str(include_str!("../../../../benches/versus_pytorch/rows.json")).map_err(Error::wrap)
}

//! Single operations, forward and backward, at the shapes that the models use.

use clip::candle_core::{Result, Tensor, bail};
use clip::{kernels, loss};

use crate::inputs::{noise, signature, tokens, variable};
use crate::rows::Work;
use crate::work::{Check, Count, Workload};
use clip::flop;

/// PyTorch's default of both norms.
const EPSILON: f64 = 1e-5;

/// An operation on its inputs.
type Forward = fn(&Work, &[Tensor]) -> Result<Tensor>;

/// An operation of `kernels` with its inputs and the gradient of its result.
pub(crate) struct Operation {
    work: Work,
    forward: Forward,
    inputs: Vec<Tensor>,
    gradient: Tensor,
    count: Count,
}

impl Operation {
    /// The operation with noise as inputs.
    pub(crate) fn new(work: &Work) -> Result<Self> {
        let (inputs, forward) = parts(work)?;
        let result = forward(work, &inputs)?;
        let gradient = noise(result.dims(), 50)?;
        let count = count(work, &inputs, &result);
        Ok(Self { work: work.clone(), forward, inputs, gradient, count })
    }

    fn pull_back(&self) -> Result<(Tensor, Vec<Option<Tensor>>)> {
        let inputs: Vec<&Tensor> = self.inputs.iter().filter(|input| input.is_variable()).collect();
        kernels::pull_back(|| (self.forward)(&self.work, &self.inputs), &inputs, &self.gradient)
    }
}

/// Inputs and operation; what needs no gradient is no variable.
fn parts(work: &Work) -> Result<(Vec<Tensor>, Forward)> {
    Ok(match *work {
        Work::Convolution { input, outputs, kernel, first, .. } => {
            let x = if first { noise(&input, 1)? } else { variable(&input, 1, 1.0)? };
            (vec![x, variable(&[outputs, kernel, kernel, input[3]], 2, 0.1)?], convolution)
        }
        Work::BatchNorm { input, residual } => {
            let channels = [input[3]];
            let (gamma, beta) = (variable(&channels, 2, 1.0)?, variable(&channels, 3, 1.0)?);
            let mut inputs = vec![variable(&input, 1, 1.0)?, gamma, beta];
            if residual {
                inputs.push(variable(&input, 4, 1.0)?);
            }
            (inputs, batch_norm)
        }
        Work::AveragePool { input, .. } => (vec![variable(&input, 1, 1.0)?], average_pool),
        Work::AttentionPool { input, .. } => attention_pool_parts(input)?,
        Work::LayerNorm { rows, width } => {
            let (gamma, beta) = (variable(&[width], 2, 1.0)?, variable(&[width], 3, 1.0)?);
            (vec![variable(&[rows, width], 1, 1.0)?, gamma, beta], |_, inputs| {
                kernels::layer_norm(&inputs[0], &inputs[1], &inputs[2], EPSILON)
            })
        }
        Work::QuickGelu { rows, width } => {
            (vec![variable(&[rows, width], 1, 3.0)?], |_, inputs| kernels::quick_gelu(&inputs[0]))
        }
        Work::Linear { rows, inputs, outputs } => {
            let (w, b) = (variable(&[outputs, inputs], 2, 0.1)?, variable(&[outputs], 3, 0.1)?);
            (vec![variable(&[rows, inputs], 1, 1.0)?, w, b], |_, inputs| {
                kernels::linear(&inputs[0], &inputs[1], Some(&inputs[2]))
            })
        }
        Work::Attention { batch, tokens, width, .. } => {
            let inputs: Result<_> = (1..4).map(|seed| variable(&[batch, tokens, width], seed, 1.0)).collect();
            (inputs?, attention)
        }
        Work::Embedding { vocabulary, width, batch, length } => {
            let table = variable(&[vocabulary, width], 1, 1.0)?;
            (vec![table, tokens(batch, length, vocabulary)?], |_, inputs| {
                kernels::embedding(&inputs[0], &inputs[1])
            })
        }
        _ => bail!("no single operation: {work:?}"),
    })
}

/// Input, positions, and weights and biases of query, keys and values.
fn attention_pool_parts(input: [usize; 4]) -> Result<(Vec<Tensor>, Forward)> {
    let [_, height, width, channels] = input;
    let mut inputs = vec![variable(&input, 1, 1.0)?, variable(&[height * width + 1, channels], 2, 1.0)?];
    for projection in 0..3 {
        inputs.push(variable(&[channels, channels], 3 + 2 * projection, 0.02)?);
        let bias = [channels];
        let seed = 4 + 2 * projection;
        // The keys' bias changes nothing.
        inputs.push(if projection == 1 { noise(&bias, seed)? } else { variable(&bias, seed, 0.1)? });
    }
    Ok((inputs, attention_pool))
}

fn convolution(work: &Work, inputs: &[Tensor]) -> Result<Tensor> {
    let Work::Convolution { stride, padding, .. } = *work else { bail!("no convolution") };
    kernels::conv2d(&inputs[0], &inputs[1], stride, padding)
}

fn batch_norm(_: &Work, inputs: &[Tensor]) -> Result<Tensor> {
    let activation = kernels::Activation::Relu;
    let [x, gamma, beta] = [0, 1, 2].map(|index| &inputs[index]);
    Ok(kernels::batch_norm_train(x, gamma, beta, inputs.get(3), EPSILON, activation)?.0)
}

fn average_pool(work: &Work, inputs: &[Tensor]) -> Result<Tensor> {
    let Work::AveragePool { size, .. } = *work else { bail!("no average pool") };
    kernels::average_pool2d(&inputs[0], size)
}

fn attention_pool(work: &Work, inputs: &[Tensor]) -> Result<Tensor> {
    let Work::AttentionPool { heads, .. } = *work else { bail!("no attention pool") };
    let pair = |at: usize| (&inputs[at], &inputs[at + 1]);
    kernels::attention_pool(&inputs[0], &inputs[1], pair(2), pair(4), pair(6), heads)
}

fn attention(work: &Work, inputs: &[Tensor]) -> Result<Tensor> {
    let Work::Attention { heads, causal, .. } = *work else { bail!("no attention") };
    kernels::attention(&inputs[0], &inputs[1], &inputs[2], heads, causal)
}

/// What a repetition counts: arithmetic where matrix products bound it, otherwise bytes.
fn count(work: &Work, inputs: &[Tensor], result: &Tensor) -> Count {
    let flop = match *work {
        Work::Convolution { input, kernel, first, .. } => {
            let forward = 2.0 * (result.elem_count() * kernel * kernel * input[3]) as f64;
            forward * if first { 2.0 } else { 3.0 }
        }
        Work::Linear { rows, inputs, outputs } => 3.0 * flop::product(rows, inputs, outputs),
        Work::Attention { batch, tokens, width, causal, .. } => {
            3.0 * batch as f64 * flop::attention(tokens, width, causal)
        }
        Work::AttentionPool { input: [batch, height, width, channels], .. } => {
            3.0 * batch as f64 * flop::attention_pool(height * width, channels)
        }
        _ => 0.0,
    };
    // Forward reads the inputs and writes the result; backward reads inputs and gradient and writes gradients.
    let values = match work {
        Work::Embedding { .. } => 3 * result.elem_count() + inputs[0].elem_count(),
        _ => 2 * result.elem_count() + 3 * inputs.iter().map(Tensor::elem_count).sum::<usize>(),
    };
    Count { flop, bytes: if flop > 0.0 { 0.0 } else { 4.0 * values as f64 } }
}

impl Workload for Operation {
    fn count(&self) -> Count {
        self.count
    }

    fn check(&mut self) -> Result<Check> {
        let (result, gradients) = self.pull_back()?;
        let mut check = Check::default();
        check.signatures.insert("result".to_owned(), signature(&result)?);
        for (index, gradient) in gradients.iter().enumerate() {
            let Some(gradient) = gradient else { bail!("input {index} received no gradient") };
            check.signatures.insert(format!("gradient {index}"), signature(gradient)?);
        }
        Ok(check)
    }

    fn run(&mut self) -> Result<()> {
        self.pull_back().map(drop)
    }
}

/// InfoNCE as the training step uses it, a loss in candle's graph.
pub(crate) struct InfoNce {
    /// Images, texts, logit scale.
    inputs: [Tensor; 3],
}

impl InfoNce {
    pub(crate) fn new(batch: usize, width: usize) -> Result<Self> {
        let scale = clip::candle_core::Var::new(2.6593f32, &clip::candle_core::Device::Cpu)?.into_inner();
        Ok(Self { inputs: [variable(&[batch, width], 1, 1.0)?, variable(&[batch, width], 2, 1.0)?, scale] })
    }
}

impl Workload for InfoNce {
    fn count(&self) -> Count {
        let (batch, width) = self.inputs[0].dims2().unwrap_or_default();
        Count { flop: 3.0 * flop::product(batch, width, batch), bytes: 0.0 }
    }

    fn check(&mut self) -> Result<Check> {
        let [images, texts, scale] = &self.inputs;
        let loss = loss::info_nce(images, texts, scale)?;
        let gradients = kernels::backward(&loss)?;
        let mut check = Check { losses: vec![f64::from(loss.to_scalar::<f32>()?)], ..Check::default() };
        for (index, input) in self.inputs.iter().enumerate() {
            let Some(gradient) = gradients.get(input) else { bail!("input {index} received no gradient") };
            check.signatures.insert(format!("gradient {index}"), signature(gradient)?);
        }
        Ok(check)
    }

    fn run(&mut self) -> Result<()> {
        let [images, texts, scale] = &self.inputs;
        kernels::backward(&loss::info_nce(images, texts, scale)?).map(drop)
    }
}

/// A matrix product by the library below everything here.
pub(crate) struct Product {
    size: usize,
    factors: [Tensor; 2],
}

impl Product {
    pub(crate) fn new(size: usize) -> Result<Self> {
        Ok(Self { size, factors: [noise(&[size, size], 1)?, noise(&[size, size], 2)?] })
    }
}

impl Workload for Product {
    fn count(&self) -> Count {
        Count { flop: flop::product(self.size, self.size, self.size), bytes: 0.0 }
    }

    fn check(&mut self) -> Result<Check> {
        let mut check = Check::default();
        let result = self.factors[0].matmul(&self.factors[1])?;
        check.signatures.insert("result".to_owned(), signature(&result)?);
        Ok(check)
    }

    fn run(&mut self) -> Result<()> {
        self.factors[0].matmul(&self.factors[1]).map(drop)
    }
}

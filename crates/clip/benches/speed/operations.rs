//! Single operations, forward and backward, at the shapes that the models use.

use clip::candle_core::{Device, Result, Tensor, Var, bail};
use clip::{flop, kernels, loss};

use crate::inputs::{noise, signature, tokens, variable};
use crate::place::Place;
use crate::rows::Work;
use crate::work::{Check, Count, Workload};

/// PyTorch's default of both norms.
const EPSILON: f64 = 1e-5;

type Forward = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

/// An operation of `kernels` with its inputs and the gradient of its result.
pub(crate) struct Operation {
    forward: Forward,
    inputs: Vec<Tensor>,
    gradient: Tensor,
    count: Count,
}

impl Operation {
    /// The operation with noise as inputs.
    pub(crate) fn new(work: &Work) -> Result<Self> {
        let (inputs, forward) = parts(work)?;
        let result = forward(&inputs)?;
        let gradient = noise(result.dims(), 50)?;
        let count = count(work, &inputs, &result);
        Ok(Self { forward, inputs, gradient, count })
    }

    fn pull_back(&self) -> Result<(Tensor, Vec<Option<Tensor>>)> {
        let inputs: Vec<&Tensor> = self.inputs.iter().filter(|input| input.is_variable()).collect();
        kernels::pull_back(|| (self.forward)(&self.inputs), &inputs, &self.gradient)
    }
}

/// Inputs and operation; what needs no gradient is no variable.
fn parts(work: &Work) -> Result<(Vec<Tensor>, Forward)> {
    Ok(match *work {
        Work::Convolution { input, outputs, kernel, stride, padding, first } => {
            let x = if first { noise(&input, 1)? } else { variable(&input, 1, 1.0)? };
            let w = variable(&[outputs, kernel, kernel, input[3]], 2, 0.1)?;
            (vec![x, w], Box::new(move |of| kernels::conv2d(&of[0], &of[1], stride, padding)))
        }
        Work::BatchNorm { input, residual } => {
            let mut inputs = normed(&input, input[3])?;
            if residual {
                inputs.push(variable(&input, 4, 1.0)?);
            }
            let relu = kernels::Activation::Relu;
            let forward = move |of: &[Tensor]| {
                Ok(kernels::batch_norm_train(&of[0], &of[1], &of[2], of.get(3), EPSILON, relu)?.0)
            };
            (inputs, Box::new(forward))
        }
        Work::AveragePool { input, size } => {
            (vec![variable(&input, 1, 1.0)?], Box::new(move |of| kernels::average_pool2d(&of[0], size)))
        }
        Work::AttentionPool { input, heads } => {
            let forward = move |of: &[Tensor]| {
                let pair = |at: usize| (&of[at], &of[at + 1]);
                kernels::attention_pool(&of[0], &of[1], pair(2), pair(4), pair(6), heads)
            };
            (attention_pool_inputs(input)?, Box::new(forward))
        }
        Work::LayerNorm { rows, width } => {
            let forward = |of: &[Tensor]| kernels::layer_norm(&of[0], &of[1], &of[2], EPSILON);
            (normed(&[rows, width], width)?, Box::new(forward))
        }
        Work::QuickGelu { rows, width } => {
            (vec![variable(&[rows, width], 1, 3.0)?], Box::new(|of| kernels::quick_gelu(&of[0])))
        }
        Work::Linear { rows, inputs, outputs } => {
            let (w, b) = (variable(&[outputs, inputs], 2, 0.1)?, variable(&[outputs], 3, 0.1)?);
            let forward = |of: &[Tensor]| kernels::linear(&of[0], &of[1], Some(&of[2]));
            (vec![variable(&[rows, inputs], 1, 1.0)?, w, b], Box::new(forward))
        }
        Work::Attention { batch, tokens, width, heads, causal } => {
            let inputs: Result<_> = (1..4).map(|seed| variable(&[batch, tokens, width], seed, 1.0)).collect();
            (inputs?, Box::new(move |of| kernels::attention(&of[0], &of[1], &of[2], heads, causal)))
        }
        Work::Embedding { vocabulary, width, batch, length } => {
            let table = variable(&[vocabulary, width], 1, 1.0)?;
            let inputs = vec![table, tokens(batch, length, vocabulary)?];
            (inputs, Box::new(|of| kernels::embedding(&of[0], &of[1])))
        }
        _ => bail!("no single operation: {work:?}"),
    })
}

/// What a norm takes: an input, and scale and shift of each of its channels.
fn normed(input: &[usize], channels: usize) -> Result<Vec<Tensor>> {
    Ok(vec![variable(input, 1, 1.0)?, variable(&[channels], 2, 1.0)?, variable(&[channels], 3, 1.0)?])
}

/// Input, positions, and weights and biases of query, keys and values.
fn attention_pool_inputs(input: [usize; 4]) -> Result<Vec<Tensor>> {
    let [_, height, width, channels] = input;
    let mut inputs = vec![variable(&input, 1, 1.0)?, variable(&[height * width + 1, channels], 2, 1.0)?];
    for projection in 0..3 {
        inputs.push(variable(&[channels, channels], 3 + 2 * projection, 0.02)?);
        let bias = [channels];
        let seed = 4 + 2 * projection;
        // The keys' bias changes nothing.
        inputs.push(if projection == 1 { noise(&bias, seed)? } else { variable(&bias, seed, 0.1)? });
    }
    Ok(inputs)
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
        let scale = Var::new(2.6593f32, &Device::Cpu)?.into_inner();
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

/// A matrix product: on the CPU by the library below everything here; on a GPU as a layer computes it, whose second factor
/// is transposed, kept in f32 and rounded where it is read.
pub(crate) struct Product {
    factors: [Tensor; 2],
}

impl Product {
    pub(crate) fn new(size: usize, place: &Place) -> Result<Self> {
        let (a, b) = (noise(&[size, size], 1)?, noise(&[size, size], 2)?);
        Ok(Self { factors: [place.activations(&a)?, place.values(&b)?] })
    }

    fn product(&self) -> Result<Tensor> {
        let [a, b] = &self.factors;
        if a.device().is_cpu() { a.matmul(b) } else { kernels::linear(a, b, None) }
    }
}

impl Workload for Product {
    fn count(&self) -> Count {
        let size = self.factors[0].dims()[0];
        Count { flop: flop::product(size, size, size), bytes: 0.0 }
    }

    fn check(&mut self) -> Result<Check> {
        let result = self.product()?;
        Ok(Check { signatures: [("result".to_owned(), signature(&result)?)].into(), ..Check::default() })
    }

    fn run(&mut self) -> Result<()> {
        self.product().map(drop)
    }

    fn wait(&self) -> Result<()> {
        self.factors[0].device().synchronize()
    }
}

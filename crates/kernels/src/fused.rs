//! Whole towers as one node of candle's graph.
//!
//! candle's `backward` adds the gradient of each argument of each operation to zeros that it fills first, on a pool
//! of its own whose threads spin while they wait: measured, half of a training step. [`fused`] remembers the
//! operations of this crate that its closure runs and shows candle one node in their place, which goes back through
//! them itself, moves the first gradient of a tensor and adds only further ones.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Result, Shape, Tensor, TensorId, bail};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::gradients;
use crate::operation::{Adapter, Apply, Argument, Operation};
use crate::sums::sum;
use crate::tape::{Node, recorded};

/// Runs `forward` and returns its result as one node of candle's graph. Values and gradients are those of the graph
/// that `forward` builds; candle's own operations within it remain nodes of their own.
pub fn fused(forward: impl FnOnce() -> Result<Tensor>) -> Result<Tensor> {
    let (result, nodes) = recorded(forward);
    let y = result?;
    let made: HashSet<TensorId> = nodes.iter().map(|node| node.result.id()).collect();
    if !made.contains(&y.id()) || !y.is_contiguous() {
        return Ok(y);
    }
    let mut seen = HashSet::new();
    let inputs: Vec<Tensor> = (nodes.iter().flat_map(|node| &node.arguments))
        .filter(|tensor| tensor.track_op() && !made.contains(&tensor.id()) && seen.insert(tensor.id()))
        .cloned()
        .collect();
    let gradients = Arc::new(Mutex::new(BTreeMap::new()));
    let mut token = Tensor::zeros(1, DType::F32, y.device())?;
    let mut numbers = HashMap::new();
    for (number, input) in inputs.iter().enumerate() {
        numbers.insert(input.id(), number);
        let operation = Input { number, gradients: gradients.clone() };
        token = Adapter::new(operation).apply([input, &token])?;
    }
    let result = y.detach();
    Adapter::new(Whole { nodes, result: y, numbers, gradients }).apply([&result, &token])
}

/// The result of `forward`, made of operations of this crate alone, and the gradients of `inputs` (none where an input
/// takes no part) for this gradient of the result; without candle's graph, which adds every gradient to zeros. An
/// error where another gradient than those of `inputs` and of variables would be lost.
pub fn pull_back(
    forward: impl FnOnce() -> Result<Tensor>,
    inputs: &[&Tensor],
    gradient: &Tensor,
) -> Result<(Tensor, Vec<Option<Tensor>>)> {
    let (result, nodes) = recorded(forward);
    let y = result?;
    if y.dims() != gradient.dims() {
        bail!("pull_back: a gradient {:?} of a result {:?}", gradient.dims(), y.dims());
    }
    let mut pending = backward(&nodes, &y, gradient)?;
    let gradients = inputs.iter().map(|input| pending.remove(&input.id())).collect();
    for argument in nodes.iter().flat_map(|node| &node.arguments) {
        if argument.is_variable() {
            pending.remove(&argument.id());
        }
    }
    if !pending.is_empty() {
        bail!("pull_back: {} gradients belong to no input", pending.len());
    }
    Ok((y, gradients))
}

/// The gradients of all that `nodes` read and did not make, for a gradient of the last one's `result`.
fn backward(nodes: &[Node], result: &Tensor, gradient: &Tensor) -> Result<HashMap<TensorId, Tensor>> {
    let mut pending = HashMap::from([(result.id(), gradient.clone())]);
    for node in nodes.iter().rev() {
        let Some(gradient) = pending.remove(&node.result.id()) else { continue };
        let gradients = node.operation.backward(&node.arguments, &node.result, &gradient)?;
        for (argument, gradient) in node.arguments.iter().zip(gradients) {
            let (Some(gradient), true) = (gradient, argument.track_op()) else { continue };
            let total = match pending.remove(&argument.id()) {
                Some(other) => sum(&other, &gradient)?,
                None => gradient,
            };
            pending.insert(argument.id(), total);
        }
    }
    Ok(pending)
}

/// Gradients of the inputs by number, on their way from [`Whole`] to each [`Input`].
type Gradients = Arc<Mutex<BTreeMap<usize, Tensor>>>;

/// Ties an input to the whole: takes it and a token, gives a token, and hands its gradient on.
struct Input {
    number: usize,
    gradients: Gradients,
}

/// All operations: takes their result and a token, gives the result.
struct Whole {
    nodes: Vec<Node>,
    result: Tensor,
    numbers: HashMap<TensorId, usize>,
    gradients: Gradients,
}

impl Operation<2> for Input {
    fn name(&self) -> &'static str {
        "fused_input"
    }

    fn forward(&self, _: [Argument<'_>; 2]) -> Result<(Vec<f32>, Shape)> {
        Ok((vec![0.0], Shape::from(1)))
    }

    fn backward(&self, [input, token]: [&Tensor; 2], _: &Tensor, _: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let mut gradients = self.gradients.lock().unwrap_or_else(PoisonError::into_inner);
        // candle expects a gradient of everything but variables, whose absence the trainer reports.
        let gradient = match gradients.remove(&self.number) {
            None if !input.is_variable() => Some(input.zeros_like()?),
            gradient => gradient,
        };
        Ok([gradient, Some(token.zeros_like()?)])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [input, _]: [cuda::Input<'_>; 2]) -> Result<cuda::Made> {
        cuda::zero(&input)
    }
}

impl Operation<2> for Whole {
    fn name(&self) -> &'static str {
        "fused"
    }

    fn forward(&self, [y, _]: [Argument<'_>; 2]) -> Result<(Vec<f32>, Shape)> {
        Ok((y.values()?.to_vec(), y.shape().clone()))
    }

    fn backward(
        &self,
        [_, token]: [&Tensor; 2],
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let mut pending = backward(&self.nodes, &self.result, gradient)?;
        let mut handed_on = self.gradients.lock().unwrap_or_else(PoisonError::into_inner);
        handed_on.clear();
        for argument in self.nodes.iter().flat_map(|node| &node.arguments) {
            if let Some(number) = self.numbers.get(&argument.id())
                && let Some(gradient) = pending.remove(&argument.id())
                && let Some(gradient) = gradients::take(argument, gradient)
            {
                handed_on.insert(*number, gradient);
            }
        }
        if !pending.is_empty() {
            bail!("fused: {} gradients belong to no input", pending.len());
        }
        Ok([None, Some(token.zeros_like()?)])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [y, _]: [cuda::Input<'_>; 2]) -> Result<cuda::Made> {
        cuda::copy(&y)
    }
}

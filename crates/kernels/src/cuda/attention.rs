//! Multi-head attention. Short sequences to themselves take one kernel forward and one backward, which keep the weights in
//! shared memory; all others products of all samples and heads by cuBLAS, and a softmax in place. The weights live only within
//! a call; the backward pass computes them again.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, CudaViewMut, LaunchConfig};
use candle_core::{Result, bail};

use super::product::{Matrices, Sizes, Target, product};
use super::{Element, Input, Made, by_element, by_warp, calls, grid, has_shared_memory, made, room};

/// Sizes of one call.
#[derive(Clone, Copy)]
struct Heads {
    batch: usize,
    queries: usize,
    keys: usize,
    width: usize,
    /// From a token of q, k or v to the next.
    row: usize,
    heads: usize,
    causal: bool,
}

/// Distances of rows, of samples and of heads.
#[derive(Clone, Copy)]
struct Strides {
    row: usize,
    sample: usize,
    head: usize,
}

/// A factor of a product over all heads.
struct Factor<'a, T> {
    values: &'a CudaView<'a, T>,
    strides: Strides,
    transposed: bool,
}

impl<'a, T> Factor<'a, T> {
    fn new(values: &'a CudaView<'a, T>, strides: Strides) -> Self {
        Self { values, strides, transposed: false }
    }

    fn transposed(self) -> Self {
        Self { transposed: true, ..self }
    }
}

/// Queries, keys and values.
struct Inputs<'a, T> {
    q: CudaView<'a, T>,
    k: CudaView<'a, T>,
    v: CudaView<'a, T>,
}

/// Gradients of queries, keys and values.
enum Gradients<'a, T> {
    /// Of three tensors.
    Apart([&'a mut CudaSlice<T>; 3]),
    /// Side by side, this many values of each.
    Packed(&'a mut CudaSlice<T>, usize),
}

impl<T> Gradients<'_, T> {
    /// Of queries (0), keys (1) or values (2).
    fn part(&mut self, index: usize) -> CudaViewMut<'_, T> {
        match self {
            Self::Apart(gradients) => gradients[index].as_view_mut(),
            Self::Packed(gradients, width) => gradients.slice_mut(index * *width..),
        }
    }
}

impl Heads {
    fn new(q: &Input<'_>, k: &Input<'_>, heads: usize, causal: bool) -> Result<Self> {
        let (batch, queries, width) = q.shape().dims3()?;
        Ok(Self { batch, queries, keys: k.dims()[1], width, row: width, heads, causal })
    }

    /// Of queries, keys and values side by side, `[B, T, 3·D]`.
    fn packed(qkv: &Input<'_>, heads: usize, causal: bool) -> Result<Self> {
        let (batch, tokens, row) = qkv.shape().dims3()?;
        Ok(Self { batch, queries: tokens, keys: tokens, width: row / 3, row, heads, causal })
    }

    fn depth(&self) -> usize {
        self.width / self.heads
    }

    fn scale(&self) -> f32 {
        1.0 / (self.depth() as f32).sqrt()
    }

    fn rows(&self) -> usize {
        self.batch * self.heads * self.queries
    }

    /// Of `[B, tokens, row]`.
    fn tokens(&self, tokens: usize, row: usize) -> Strides {
        Strides { row, sample: tokens * row, head: self.depth() }
    }

    fn of_queries(&self) -> Strides {
        self.tokens(self.queries, self.row)
    }

    fn of_keys(&self) -> Strides {
        self.tokens(self.keys, self.row)
    }

    /// Of the result, `[B, queries, D]`.
    fn of_result(&self) -> Strides {
        self.tokens(self.queries, self.width)
    }

    /// Of `[B, heads, queries, keys]`.
    fn of_weights(&self) -> Strides {
        let head = self.queries * self.keys;
        Strides { row: self.keys, sample: self.heads * head, head }
    }

    /// One product per sample and head. cuBLAS takes one distance between matrices, so the smaller of the two
    /// numbers is a loop.
    fn product<T: Element>(
        &self,
        device: &CudaDevice,
        [rows, columns, depth]: [usize; 3],
        left: Factor<'_, T>,
        right: Factor<'_, T>,
        (values, strides): (&mut CudaViewMut<'_, T>, Strides),
    ) -> Result<()> {
        let by_head = self.heads <= self.batch;
        let (steps, batch) = if by_head { (self.heads, self.batch) } else { (self.batch, self.heads) };
        let pick = |strides: Strides| {
            if by_head { (strides.head, strides.sample) } else { (strides.sample, strides.head) }
        };
        let (step_stride, batch_stride) = pick(strides);
        for step in 0..steps {
            let views = [&left, &right].map(|factor| factor.values.slice(step * pick(factor.strides).0..));
            let matrices = |view, factor: &Factor<'_, T>| {
                let matrices = Matrices::new(view, factor.strides.row, pick(factor.strides).1);
                if factor.transposed { matrices.transposed() } else { matrices }
            };
            let mut to: CudaViewMut<'_, T> = values.slice_mut(step * step_stride..);
            product(
                device,
                Sizes { rows, columns, depth, batch },
                matrices(&views[0], &left),
                matrices(&views[1], &right),
                Target { values: &mut to, row_stride: strides.row, batch_stride },
                false,
            )?;
        }
        Ok(())
    }

    /// `softmax(q·kᵀ · scale)`, `[B, heads, queries, keys]`.
    fn weights<T: Element>(&self, device: &CudaDevice, inputs: &Inputs<'_, T>) -> Result<CudaSlice<T>> {
        let (queries, keys, rows) = (self.queries, self.keys, self.rows());
        let mut weights = room::<T>(device, rows * keys)?;
        let (q, k) = (Factor::new(&inputs.q, self.of_queries()), Factor::new(&inputs.k, self.of_keys()));
        let to = (&mut weights.as_view_mut(), self.of_weights());
        self.product(device, [queries, keys, self.depth()], q, k.transposed(), to)?;
        let (shape, mut values) = (by_warp(rows), weights.as_view_mut());
        let causal = usize::from(self.causal);
        calls::softmax_rows::<T>(device, shape, &mut values, self.scale(), queries, keys, causal, rows)?;
        Ok(weights)
    }

    fn forward<T: Element>(&self, device: &CudaDevice, inputs: &Inputs<'_, T>) -> Result<CudaSlice<T>> {
        let weights = self.weights(device, inputs)?;
        let weights = weights.as_view();
        let mut y = room::<T>(device, self.batch * self.queries * self.width)?;
        let (left, right) =
            (Factor::new(&weights, self.of_weights()), Factor::new(&inputs.v, self.of_keys()));
        let sizes = [self.queries, self.depth(), self.keys];
        self.product(device, sizes, left, right, (&mut y.as_view_mut(), self.of_result()))?;
        Ok(y)
    }

    /// Writes the gradients of q, k and v.
    fn backward<T: Element>(
        &self,
        device: &CudaDevice,
        inputs: &Inputs<'_, T>,
        dy: &CudaView<'_, T>,
        mut gradients: Gradients<'_, T>,
    ) -> Result<()> {
        let (queries, keys, depth) = (self.queries, self.keys, self.depth());
        let weights = self.weights(device, inputs)?;
        let weights = weights.as_view();
        let result = || Factor::new(dy, self.of_result());
        let of_weights = |weights| Factor::new(weights, self.of_weights());
        let target = (&mut gradients.part(2), self.of_keys());
        self.product(device, [keys, depth, queries], of_weights(&weights).transposed(), result(), target)?;
        let mut slopes = room::<T>(device, self.rows() * keys)?;
        let v = Factor::new(&inputs.v, self.of_keys()).transposed();
        let target = (&mut slopes.as_view_mut(), self.of_weights());
        self.product(device, [queries, keys, depth], result(), v, target)?;
        let (shape, mut values) = (by_warp(self.rows()), slopes.as_view_mut());
        calls::softmax_backward::<T>(device, shape, &weights, &mut values, self.scale(), keys, self.rows())?;
        let slopes = slopes.as_view();
        let (q, k) = (Factor::new(&inputs.q, self.of_queries()), Factor::new(&inputs.k, self.of_keys()));
        let target = (&mut gradients.part(0), self.of_queries());
        self.product(device, [queries, depth, keys], of_weights(&slopes), k, target)?;
        let target = (&mut gradients.part(1), self.of_keys());
        self.product(device, [keys, depth, queries], of_weights(&slopes).transposed(), q, target)
    }
}

/// Attention of `q` `[B, Tq, D]` over `k` and `v` `[B, Tk, D]`.
pub(crate) fn attention(
    q: &Input<'_>,
    k: &Input<'_>,
    v: &Input<'_>,
    heads: usize,
    causal: bool,
) -> Result<Made> {
    let heads = Heads::new(q, k, heads, causal)?;
    by_element!(q, attention_of(heads, q, k, v))
}

fn attention_of<T: Element>(heads: Heads, q: &Input<'_>, k: &Input<'_>, v: &Input<'_>) -> Result<Made> {
    let (device, inputs) = (q.device()?, Inputs { q: q.view::<T>()?, k: k.view()?, v: v.view()? });
    Ok(made(device, heads.forward(device, &inputs)?, q.shape()))
}

/// Gradients of q, k and v.
pub(crate) fn attention_backward(
    [q, k, v, dy]: [&Input<'_>; 4],
    heads: usize,
    causal: bool,
) -> Result<[Made; 3]> {
    let heads = Heads::new(q, k, heads, causal)?;
    if dy.count() != q.count() {
        bail!("attention: a gradient of {:?} for a result of {:?}", dy.dims(), q.dims());
    }
    by_element!(q, attention_backward_of(heads, [q, k, v, dy]))
}

fn attention_backward_of<T: Element>(heads: Heads, [q, k, v, dy]: [&Input<'_>; 4]) -> Result<[Made; 3]> {
    let (device, inputs) = (q.device()?, Inputs { q: q.view::<T>()?, k: k.view()?, v: v.view()? });
    let of = |input: &Input<'_>| room::<T>(device, input.count());
    let (mut dq, mut dk, mut dv) = (of(q)?, of(k)?, of(v)?);
    heads.backward(device, &inputs, &dy.view()?, Gradients::Apart([&mut dq, &mut dk, &mut dv]))?;
    Ok([made(device, dq, q.shape()), made(device, dk, k.shape()), made(device, dv, v.shape())])
}

/// Attention of a sequence to itself, `qkv` `[B, T, 3·D]`.
pub(crate) fn self_attention(qkv: &Input<'_>, heads: usize, causal: bool) -> Result<Made> {
    let heads = Heads::packed(qkv, heads, causal)?;
    by_element!(qkv, self_attention_of(heads, qkv))
}

/// Queries, keys and values out of what lies side by side.
fn parts<'a, T>(qkv: &'a CudaView<'a, T>, width: usize) -> Inputs<'a, T> {
    Inputs { q: qkv.slice(..), k: qkv.slice(width..), v: qkv.slice(2 * width..) }
}

fn self_attention_of<T: Element>(heads: Heads, qkv: &Input<'_>) -> Result<Made> {
    let (device, view) = (qkv.device()?, qkv.view::<T>()?);
    let shape = (heads.batch, heads.queries, heads.width);
    let Some(memory) = heads.in_one_pass::<T>(device, heads.forward_values()) else {
        return Ok(made(device, heads.forward(device, &parts(&view, heads.width))?, shape));
    };
    let mut y = room::<T>(device, qkv.count() / 3)?;
    calls::attention_forward::<T>(
        device,
        heads.blocks(FORWARD_THREADS, memory),
        &view,
        &mut y.as_view_mut(),
        heads.scale(),
        heads.queries,
        heads.heads,
        heads.depth(),
        usize::from(heads.causal),
    )?;
    Ok(made(device, y, shape))
}

/// Gradient of `qkv`.
pub(crate) fn self_attention_backward(
    qkv: &Input<'_>,
    dy: &Input<'_>,
    heads: usize,
    causal: bool,
) -> Result<Made> {
    let heads = Heads::packed(qkv, heads, causal)?;
    if 3 * dy.count() != qkv.count() {
        bail!("self_attention: a gradient of {:?} for {:?}", dy.dims(), qkv.dims());
    }
    by_element!(qkv, self_attention_backward_of(heads, qkv, dy))
}

fn self_attention_backward_of<T: Element>(heads: Heads, qkv: &Input<'_>, dy: &Input<'_>) -> Result<Made> {
    let (device, view, dy) = (qkv.device()?, qkv.view::<T>()?, dy.view::<T>()?);
    let mut gradient = room::<T>(device, qkv.count())?;
    let Some(memory) = heads.in_one_pass::<T>(device, heads.backward_values()) else {
        let to = Gradients::Packed(&mut gradient, heads.width);
        heads.backward(device, &parts(&view, heads.width), &dy, to)?;
        return Ok(made(device, gradient, qkv.shape()));
    };
    calls::attention_gradient::<T>(
        device,
        heads.blocks(BACKWARD_THREADS, memory),
        &view,
        &dy,
        &mut gradient.as_view_mut(),
        heads.scale(),
        heads.queries,
        heads.heads,
        heads.depth(),
        usize::from(heads.causal),
    )?;
    Ok(made(device, gradient, qkv.shape()))
}

/// Tokens up to which one pass is the faster way: on tensor cores, and in f32, whose products are plain loops there.
const LONGEST: usize = 128;
const LONGEST_IN_F32: usize = 32;
const FORWARD_THREADS: usize = 128;
const BACKWARD_THREADS: usize = 256;
/// As in `attention.cu`.
const SIDE: usize = 16;
const ROW_PADDING: usize = 8;
const SUM_PADDING: usize = 4;

/// One pass, a block a sample and head.
impl Heads {
    /// The shared memory of a block for this many values beside the sums; none where products by cuBLAS are the way.
    fn in_one_pass<T: Element>(&self, device: &CudaDevice, values: usize) -> Option<u32> {
        let longest = if T::TYPE == f32::TYPE { LONGEST_IN_F32 } else { LONGEST };
        if self.queries > longest || !self.depth().is_multiple_of(SIDE) {
            return None;
        }
        let sums = self.padded() * (self.padded().max(self.depth()) + SUM_PADDING);
        let memory = values * size_of::<T>() + sums * size_of::<f32>();
        u32::try_from(memory).ok().filter(|memory| has_shared_memory(device, *memory))
    }

    fn padded(&self) -> usize {
        self.queries.next_multiple_of(SIDE)
    }

    /// Values of a row of q, k, v or a gradient, and of weights.
    fn padded_rows(&self) -> (usize, usize) {
        (self.depth() + ROW_PADDING, self.padded() + ROW_PADDING)
    }

    /// q, k, v and the weights.
    fn forward_values(&self) -> usize {
        let (row, weights) = self.padded_rows();
        self.padded() * (3 * row + weights)
    }

    /// q, k, the gradient, v or the slopes in its place, and the weights.
    fn backward_values(&self) -> usize {
        let (row, weights) = self.padded_rows();
        self.padded() * (3 * row + row.max(weights) + weights)
    }

    fn blocks(&self, threads: usize, memory: u32) -> LaunchConfig {
        let blocks = grid((self.batch * self.heads, 1), (threads, 1));
        LaunchConfig { shared_mem_bytes: memory, ..blocks }
    }
}

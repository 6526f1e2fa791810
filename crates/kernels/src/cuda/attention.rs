//! Multi-head attention: products of all samples and heads by cuBLAS, and a softmax in place. The weights live only
//! within a call; the backward pass computes them again.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, CudaViewMut};
use candle_core::{Result, bail};

use super::product::{Matrices, Sizes, Target, product};
use super::{Element, Input, Made, by_element, by_warp, calls, made, room};

/// Sizes of one call.
#[derive(Clone, Copy)]
struct Heads {
    batch: usize,
    queries: usize,
    keys: usize,
    width: usize,
    heads: usize,
    causal: bool,
}

/// A factor of a product over all heads: tokens `[B, tokens, D]`, or weights `[B, heads, queries, keys]`.
#[derive(Clone, Copy)]
enum Factor<'a, T> {
    Tokens(&'a CudaView<'a, T>, usize),
    Weights(&'a CudaView<'a, T>),
}

impl<'a, T> Factor<'a, T> {
    /// The values, and how many tokens a sample has.
    fn parts(self) -> (&'a CudaView<'a, T>, Option<usize>) {
        match self {
            Self::Tokens(view, tokens) => (view, Some(tokens)),
            Self::Weights(view) => (view, None),
        }
    }
}

impl Heads {
    fn new(q: &Input<'_>, k: &Input<'_>, heads: usize, causal: bool) -> Result<Self> {
        let (batch, queries, width) = q.shape().dims3()?;
        Ok(Self { batch, queries, keys: k.dims()[1], width, heads, causal })
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

    /// Distances of rows, of samples and of heads.
    fn strides(&self, tokens: Option<usize>) -> [usize; 3] {
        match tokens {
            Some(tokens) => [self.width, tokens * self.width, self.depth()],
            None => [self.keys, self.heads * self.queries * self.keys, self.queries * self.keys],
        }
    }

    /// One product per sample and head. cuBLAS takes one distance between matrices, so the smaller of the two
    /// numbers is a loop.
    fn product<T: Element>(
        &self,
        device: &CudaDevice,
        [rows, columns, depth]: [usize; 3],
        left: (Factor<'_, T>, bool),
        right: (Factor<'_, T>, bool),
        output: (&mut CudaSlice<T>, Option<usize>),
    ) -> Result<()> {
        let by_head = self.heads <= self.batch;
        let (steps, batch) = if by_head { (self.heads, self.batch) } else { (self.batch, self.heads) };
        let pick = |strides: [usize; 3]| {
            if by_head { (strides[0], strides[2], strides[1]) } else { (strides[0], strides[1], strides[2]) }
        };
        let (values, tokens) = output;
        let (row_stride, step_stride, batch_stride) = pick(self.strides(tokens));
        for step in 0..steps {
            let ((left_view, left_tokens), (right_view, right_tokens)) = (left.0.parts(), right.0.parts());
            let left_strides = pick(self.strides(left_tokens));
            let right_strides = pick(self.strides(right_tokens));
            let (left_view, right_view) =
                (left_view.slice(step * left_strides.1..), right_view.slice(step * right_strides.1..));
            let matrices = |view, strides: (usize, usize, usize), transposed: bool| {
                let matrices = Matrices::new(view, strides.0, strides.2);
                if transposed { matrices.transposed() } else { matrices }
            };
            let mut to: CudaViewMut<'_, T> = values.slice_mut(step * step_stride..);
            product(
                device,
                Sizes { rows, columns, depth, batch },
                matrices(&left_view, left_strides, left.1),
                matrices(&right_view, right_strides, right.1),
                Target { values: &mut to, row_stride, batch_stride },
                false,
            )?;
        }
        Ok(())
    }

    /// `softmax(q·kᵀ · scale)`, `[B, heads, queries, keys]`.
    fn weights<T: Element>(
        &self,
        device: &CudaDevice,
        q: &CudaView<'_, T>,
        k: &CudaView<'_, T>,
    ) -> Result<CudaSlice<T>> {
        let (queries, keys, rows) = (self.queries, self.keys, self.rows());
        let mut weights = room::<T>(device, rows * keys)?;
        let (q, k) = ((Factor::Tokens(q, queries), false), (Factor::Tokens(k, keys), true));
        self.product(device, [queries, keys, self.depth()], q, k, (&mut weights, None))?;
        let (shape, mut values) = (by_warp(rows), weights.as_view_mut());
        let causal = usize::from(self.causal);
        calls::softmax_rows::<T>(device, shape, &mut values, self.scale(), queries, keys, causal, rows)?;
        Ok(weights)
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
    let device = q.device()?;
    let (q_view, k_view, v_view) = (q.view::<T>()?, k.view::<T>()?, v.view::<T>()?);
    let weights = heads.weights(device, &q_view, &k_view)?;
    let weights = weights.as_view();
    let mut y = room::<T>(device, q.count())?;
    let (left, right) = ((Factor::Weights(&weights), false), (Factor::Tokens(&v_view, heads.keys), false));
    let sizes = [heads.queries, heads.depth(), heads.keys];
    heads.product(device, sizes, left, right, (&mut y, Some(heads.queries)))?;
    Ok(made(device, y, q.shape()))
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
    let device = q.device()?;
    let (queries, keys, depth) = (heads.queries, heads.keys, heads.depth());
    let (q_view, k_view, v_view) = (q.view::<T>()?, k.view::<T>()?, v.view::<T>()?);
    let dy_view = dy.view::<T>()?;
    let weights = heads.weights(device, &q_view, &k_view)?;
    let weights = weights.as_view();
    let of_queries = |view| Factor::Tokens(view, queries);
    let of_keys = |view| Factor::Tokens(view, keys);
    let mut dv = room::<T>(device, v.count())?;
    let (left, right) = ((Factor::Weights(&weights), true), (of_queries(&dy_view), false));
    heads.product(device, [keys, depth, queries], left, right, (&mut dv, Some(keys)))?;
    let mut slopes = room::<T>(device, heads.rows() * keys)?;
    let (left, right) = ((of_queries(&dy_view), false), (of_keys(&v_view), true));
    heads.product(device, [queries, keys, depth], left, right, (&mut slopes, None))?;
    let (shape, mut values) = (by_warp(heads.rows()), slopes.as_view_mut());
    calls::softmax_backward::<T>(device, shape, &weights, &mut values, heads.scale(), keys, heads.rows())?;
    let slopes = slopes.as_view();
    let (mut dq, mut dk) = (room::<T>(device, q.count())?, room::<T>(device, k.count())?);
    let (left, right) = ((Factor::Weights(&slopes), false), (of_keys(&k_view), false));
    heads.product(device, [queries, depth, keys], left, right, (&mut dq, Some(queries)))?;
    let (left, right) = ((Factor::Weights(&slopes), true), (of_queries(&q_view), false));
    heads.product(device, [keys, depth, queries], left, right, (&mut dk, Some(keys)))?;
    Ok([made(device, dq, q.shape()), made(device, dk, k.shape()), made(device, dv, v.shape())])
}

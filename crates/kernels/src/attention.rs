//! Scaled dot-product attention that keeps no attention matrix.

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::operation::{Argument, Operation, apply, gradient_of, sizes};
use crate::parallel::{Matrix, Values, exp, product, with_scratch, written};

/// Attention with `heads` heads: `softmax(q·kᵀ / √(D/heads)) · v` per head.
///
/// `q` is `[B, Tq, D]`, `k` and `v` are `[B, Tk, D]`; the result is `[B, Tq, D]`. Where `causal`, query `i` sees
/// keys `0..=i` and `Tq` must equal `Tk`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, causal: bool) -> Result<Tensor> {
    let ([batch, queries, width], [_, keys, _]) = (sizes(q), sizes(k));
    let fits = k.dims() == [batch, keys, width] && v.dims() == k.dims() && heads > 0 && width % heads == 0;
    if !fits || batch * queries * keys * width == 0 || (causal && queries != keys) {
        bail!(
            "attention: q {:?}, k {:?}, v {:?}, {heads} heads, causal {causal}: expected q [B, Tq, D], k and v [B, Tk, D], D a multiple of heads, Tq = Tk where causal, nothing empty",
            q.dims(),
            k.dims(),
            v.dims()
        );
    }
    apply(Attention { heads, causal }, [q, k, v])
}

/// [`attention`] of a sequence to itself, with queries, keys and values side by side as one projection leaves them:
/// `qkv` is `[B, T, 3·D]`, the result `[B, T, D]`.
pub fn self_attention(qkv: &Tensor, heads: usize, causal: bool) -> Result<Tensor> {
    let [batch, tokens, columns] = sizes(qkv);
    if heads == 0 || columns % (3 * heads) != 0 || batch * tokens * columns == 0 {
        bail!(
            "self_attention: qkv {:?}, {heads} heads: expected qkv [B, T, 3·D], D a multiple of heads, nothing empty",
            qkv.dims()
        );
    }
    apply(Attention { heads, causal }, [qkv])
}

struct Attention {
    heads: usize,
    causal: bool,
}

/// Sizes of one call.
#[derive(Clone, Copy)]
struct Sizes {
    queries: usize,
    keys: usize,
    width: usize,
    /// From a token of q, k or v to the next.
    row: usize,
    head_width: usize,
    scale: f32,
    causal: bool,
}

impl Attention {
    fn sizes(&self, q: &[usize], k: &[usize]) -> Sizes {
        let head_width = q[2] / self.heads;
        let scale = 1.0 / (head_width as f32).sqrt();
        Sizes { queries: q[1], keys: k[1], width: q[2], row: q[2], head_width, scale, causal: self.causal }
    }

    /// Of queries, keys and values side by side, `[B, T, 3·D]`.
    fn packed_sizes(&self, qkv: &[usize]) -> Sizes {
        let one = [qkv[0], qkv[1], qkv[2] / 3];
        Sizes { row: qkv[2], ..self.sizes(&one, &one) }
    }
}

impl Sizes {
    /// One head of one sample of q, k or v as a matrix: rows are tokens.
    fn head<'a>(&self, sample: &'a [f32], head: usize) -> Matrix<'a> {
        Matrix { values: &sample[head * self.head_width..], row_stride: self.row, column_stride: 1 }
    }

    /// `softmax(q·kᵀ·scale)` of one head, `[queries, keys]`.
    fn probabilities(&self, q: Matrix<'_>, k: Matrix<'_>, weights: &mut [f32]) {
        product([self.queries, self.keys, self.head_width], weights, false, q, k.transposed());
        for (query, row) in weights.chunks_exact_mut(self.keys).enumerate() {
            let seen = if self.causal { query + 1 } else { self.keys };
            let (row, hidden) = row.split_at_mut(seen);
            hidden.fill(0.0);
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            row.iter_mut().for_each(|value| *value = exp((*value - largest) * self.scale));
            let inverse = 1.0 / row.iter().sum::<f32>();
            row.iter_mut().for_each(|value| *value *= inverse);
        }
    }

    /// Copies a head's block `[rows, head_width]` into its place in a sample.
    fn put(&self, block: &[f32], head: usize, sample: &mut [f32]) {
        for (row, values) in block.chunks_exact(self.head_width).enumerate() {
            sample[row * self.width + head * self.head_width..][..self.head_width].copy_from_slice(values);
        }
    }

    fn forward(&self, heads: usize, q: &[f32], k: &[f32], v: &[f32], output: &mut [f32]) {
        let mut weights = vec![0f32; self.queries * self.keys];
        let mut block = vec![0f32; self.queries * self.head_width];
        for head in 0..heads {
            self.probabilities(self.head(q, head), self.head(k, head), &mut weights);
            let sizes = [self.queries, self.head_width, self.keys];
            product(sizes, &mut block, false, Matrix::rows(&weights, self.keys), self.head(v, head));
            self.put(&block, head, output);
        }
    }

    /// Gradients of q, k and v of one sample.
    fn backward(&self, heads: usize, [q, k, v, dy]: [&[f32]; 4], [dq, dk, dv]: [&mut [f32]; 3]) {
        let (queries, keys, depth) = (self.queries, self.keys, self.head_width);
        let (mut weights, mut slope) = (vec![0f32; queries * keys], vec![0f32; queries * keys]);
        let mut block = vec![0f32; queries.max(keys) * depth];
        for head in 0..heads {
            let (qh, kh, vh) = (self.head(q, head), self.head(k, head), self.head(v, head));
            let dyh = Matrix { row_stride: self.width, ..self.head(dy, head) };
            self.probabilities(qh, kh, &mut weights);
            let by_key = Matrix::rows(&weights, keys).transposed();
            product([keys, depth, queries], &mut block, false, by_key, dyh);
            self.put(&block[..keys * depth], head, dv);
            product([queries, keys, depth], &mut slope, false, dyh, vh.transposed());
            for (slope, weights) in slope.chunks_exact_mut(keys).zip(weights.chunks_exact(keys)) {
                let mean: f32 = slope.iter().zip(weights).map(|(slope, weight)| slope * weight).sum();
                for (slope, weight) in slope.iter_mut().zip(weights) {
                    *slope = weight * (*slope - mean) * self.scale;
                }
            }
            product([queries, depth, keys], &mut block, false, Matrix::rows(&slope, keys), kh);
            self.put(&block[..queries * depth], head, dq);
            product([keys, depth, queries], &mut block, false, Matrix::rows(&slope, keys).transposed(), qh);
            self.put(&block[..keys * depth], head, dk);
        }
    }
}

impl Operation<1> for Attention {
    fn name(&self) -> &'static str {
        "self_attention"
    }

    fn forward(&self, [qkv]: [Argument<'_>; 1]) -> Result<(Vec<f32>, Shape)> {
        let (batch, sizes) = (qkv.dims()[0], self.packed_sizes(qkv.dims()));
        let qkv = qkv.values()?;
        let output = written(qkv.len() / 3, |output| {
            let samples = output.par_chunks_mut(sizes.queries * sizes.width);
            let samples = samples.zip(qkv.par_chunks(sizes.queries * sizes.row)).with_min_len(4);
            samples.for_each(|(output, qkv)| {
                let (k, v) = (&qkv[sizes.width..], &qkv[2 * sizes.width..]);
                sizes.forward(self.heads, qkv, k, v, output);
            });
        });
        Ok((output, (batch, sizes.queries, sizes.width).into()))
    }

    fn backward(&self, [qkv]: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let sizes = self.packed_sizes(qkv.dims());
        let [inputs, dys] = Values::each("self_attention", [qkv, grad])?;
        let (inputs, dys): (&[f32], &[f32]) = (&inputs, &dys);
        let count = sizes.queries * sizes.width;
        let gradient = written(inputs.len(), |gradient| {
            let samples = inputs.par_chunks(3 * count).zip(dys.par_chunks(count));
            let samples = gradient.par_chunks_mut(3 * count).zip(samples).with_min_len(4);
            samples.for_each(|(gradient, (qkv, dy))| {
                with_scratch(3 * count, |scratch| {
                    let (dq, rest) = scratch.split_at_mut(count);
                    let (dk, dv) = rest.split_at_mut(count);
                    let values = [qkv, &qkv[sizes.width..], &qkv[2 * sizes.width..], dy];
                    sizes.backward(self.heads, values, [dq, dk, dv]);
                    for (token, gradient) in gradient.chunks_exact_mut(sizes.row).enumerate() {
                        for (to, from) in gradient.chunks_exact_mut(sizes.width).zip([&*dq, &*dk, &*dv]) {
                            to.copy_from_slice(&from[token * sizes.width..][..sizes.width]);
                        }
                    }
                });
            });
        });
        Ok([gradient_of(qkv, gradient)?])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [qkv]: [Input<'_>; 1]) -> Result<Made> {
        cuda::self_attention(&qkv, self.heads, self.causal)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(&self, [qkv]: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let [qkv, grad] = Input::each("self_attention", [qkv, grad])?;
        Ok([cuda::some(cuda::self_attention_backward(&qkv, &grad, self.heads, self.causal)?)])
    }
}

impl Operation<3> for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn forward(&self, [q, k, v]: [Argument<'_>; 3]) -> Result<(Vec<f32>, Shape)> {
        let (sizes, shape) = (self.sizes(q.dims(), k.dims()), q.shape().clone());
        let (q, k, v) = (q.values()?, k.values()?, v.values()?);
        let (query_values, key_values) = (sizes.queries * sizes.width, sizes.keys * sizes.width);
        let mut output = vec![0f32; q.len()];
        output.par_chunks_mut(query_values).enumerate().with_min_len(4).for_each(|(sample, output)| {
            let q = &q[sample * query_values..][..query_values];
            let (k, v) = (&k[sample * key_values..][..key_values], &v[sample * key_values..][..key_values]);
            sizes.forward(self.heads, q, k, v, output);
        });
        Ok((output, shape))
    }

    fn backward(&self, [q, k, v]: [&Tensor; 3], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 3]> {
        let sizes = self.sizes(q.dims(), k.dims());
        let [qs, ks, vs, dys] = Values::each("attention", [q, k, v, grad])?;
        let (qs, ks, vs, dys): (&[f32], &[f32], &[f32], &[f32]) = (&qs, &ks, &vs, &dys);
        let (query_values, key_values) = (sizes.queries * sizes.width, sizes.keys * sizes.width);
        let (mut dq, mut dk, mut dv) = (vec![0f32; qs.len()], vec![0f32; ks.len()], vec![0f32; vs.len()]);
        dq.par_chunks_mut(query_values)
            .zip(dk.par_chunks_mut(key_values).zip(dv.par_chunks_mut(key_values)))
            .enumerate()
            .with_min_len(4)
            .for_each(|(sample, (dq, (dk, dv)))| {
                let (queries, keys) = (sample * query_values, sample * key_values);
                let inputs = [
                    &qs[queries..][..query_values],
                    &ks[keys..][..key_values],
                    &vs[keys..][..key_values],
                    &dys[queries..][..query_values],
                ];
                sizes.backward(self.heads, inputs, [dq, dk, dv]);
            });
        Ok([gradient_of(q, dq)?, gradient_of(k, dk)?, gradient_of(v, dv)?])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [q, k, v]: [Input<'_>; 3]) -> Result<Made> {
        cuda::attention(&q, &k, &v, self.heads, self.causal)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        [q, k, v]: [&Tensor; 3],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let inputs = Input::each("attention", [q, k, v, grad])?;
        let gradients = cuda::attention_backward(inputs.each_ref(), self.heads, self.causal)?;
        Ok(gradients.map(cuda::some))
    }
}

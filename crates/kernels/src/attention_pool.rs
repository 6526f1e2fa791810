//! Attention of one query over all positions of a feature map, without projecting every position.
//!
//! OpenAI's attention pool projects all HW + 1 tokens to keys and values although only the mean token asks. With
//! one query per head, `q·(W_k x + b_k)` is `(W_kᵀ q)·x` plus what the softmax ignores, and the weighted mean of
//! `W_v x + b_v` is `W_v` of the weighted mean of `x` plus `b_v`: the same numbers for a fraction of the work.

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

use crate::attention::attention;
#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::embedding::embedding;
use crate::linear::linear_of;
use crate::operation::{Argument, Operation, apply, gradient_of, sizes};
use crate::parallel::{Matrix, Values, product};
use crate::sums::column_sums;

/// A projection's weight `[C, C]` and bias `[C]`.
pub type Projection<'a> = (&'a Tensor, &'a Tensor);

/// Multi-head attention of the mean over positions (plus its position) to itself and all positions of `x`
/// `[B, H, W, C]`, up to the output projection: `[B, C]`. `positions` is `[HW + 1, C]`, the mean's first.
///
/// The keys' bias changes nothing and receives a gradient of 0. An error names the shapes where they do not fit.
pub fn attention_pool(
    x: &Tensor,
    positions: &Tensor,
    query: Projection<'_>,
    key: Projection<'_>,
    value: Projection<'_>,
    heads: usize,
) -> Result<Tensor> {
    let [batch, height, width, channels] = sizes(x);
    let tokens = height * width + 1;
    let squares =
        [query, key, value].iter().all(|(w, b)| w.dims() == [channels, channels] && b.dims() == [channels]);
    let fits = positions.dims() == [tokens, channels] && squares && heads > 0 && channels % heads == 0;
    if !fits || x.elem_count() == 0 {
        bail!(
            "attention_pool: x {:?}, positions {:?}, weights and biases {:?}, {heads} heads: expected x [B, H, W, C], not empty, positions [HW + 1, C], weights [C, C], biases [C], C a multiple of heads",
            x.dims(),
            positions.dims(),
            [query, key, value].map(|(w, b)| (w.dims(), b.dims()))
        );
    }
    let sequence = apply(MeanToken, [x, positions])?; // [B, HW + 1, C]
    let firsts: Vec<u32> = (0..batch).map(|sample| (sample * tokens) as u32).collect();
    let mean = embedding(&sequence, &Tensor::from_vec(firsts, batch, x.device())?)?; // [B, C]
    let asked = linear_of("attention_pool", &mean, query.0, Some(query.1))?;
    let asked = apply(ThroughKeys { heads }, [&asked, key.0, key.1])?; // [B, heads, C]
    let pooled = attention(&asked, &sequence, &sequence, 1, false)?; // [B, heads, C]
    apply(ToValues { heads }, [&pooled, value.0, value.1])
}

/// `[B, H, W, C]` to `[B, HW + 1, C]`: the mean, then all positions, plus learned positions.
struct MeanToken;

impl Operation<2> for MeanToken {
    fn name(&self) -> &'static str {
        "attention_pool"
    }

    fn forward(&self, [x, positions]: [Argument<'_>; 2]) -> Result<(Vec<f32>, Shape)> {
        let (tokens, channels) = positions.shape().dims2()?;
        let (batch, map) = (x.dims()[0], (tokens - 1) * channels);
        let (x, positions) = (x.values()?, positions.values()?);
        let share = 1.0 / (tokens - 1) as f32;
        let mut y = vec![0f32; batch * tokens * channels];
        y.par_chunks_mut(tokens * channels).zip(x.par_chunks(map)).for_each(|(y, x)| {
            let (mean, rest) = y.split_at_mut(channels);
            for row in x.chunks_exact(channels) {
                mean.iter_mut().zip(row).for_each(|(mean, value)| *mean += value);
            }
            mean.iter_mut().zip(positions).for_each(|(mean, position)| *mean = *mean * share + position);
            for ((y, x), position) in rest.iter_mut().zip(x).zip(&positions[channels..]) {
                *y = x + position;
            }
        });
        Ok((y, (batch, tokens, channels).into()))
    }

    fn backward(
        &self,
        [x, positions]: [&Tensor; 2],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let dy = Values::of("attention_pool", grad)?;
        let dy: &[f32] = &dy;
        let (tokens, channels) = positions.dims2()?;
        let share = 1.0 / (tokens - 1) as f32;
        let mut dx = vec![0f32; x.elem_count()];
        dx.par_chunks_mut((tokens - 1) * channels).zip(dy.par_chunks(tokens * channels)).for_each(
            |(dx, dy)| {
                let (mean, rest) = dy.split_at(channels);
                for (dx, dy) in dx.chunks_exact_mut(channels).zip(rest.chunks_exact(channels)) {
                    for ((dx, dy), mean) in dx.iter_mut().zip(dy).zip(mean) {
                        *dx = dy + mean * share;
                    }
                }
            },
        );
        Ok([gradient_of(x, dx)?, gradient_of(positions, column_sums(dy, tokens * channels))?])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [x, positions]: [Input<'_>; 2]) -> Result<Made> {
        cuda::mean_token(&x, &positions)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        [x, positions]: [&Tensor; 2],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let grad = Input::of("attention_pool", grad)?;
        let dpositions = cuda::tensor(cuda::column_sums(&grad, positions.elem_count())?);
        let dx = cuda::mean_token_backward(&grad, x.shape())?;
        Ok([cuda::some(dx), Some(dpositions.reshape(positions.dims())?)])
    }
}

/// Sizes of a projection head by head.
#[derive(Clone, Copy)]
struct Heads {
    batch: usize,
    heads: usize,
    channels: usize,
}

impl Heads {
    fn new(batch: usize, heads: usize, channels: usize) -> Self {
        Self { batch, heads, channels }
    }

    fn depth(self) -> usize {
        self.channels / self.heads
    }

    /// A head's columns of `[B, C]`.
    fn narrow(self, values: &[f32], head: usize) -> Matrix<'_> {
        Matrix { values: &values[head * self.depth()..], row_stride: self.channels, column_stride: 1 }
    }

    /// A head's rows of `[B, heads, C]`.
    fn wide(self, values: &[f32], head: usize) -> Matrix<'_> {
        let row_stride = self.heads * self.channels;
        Matrix { values: &values[head * self.channels..], row_stride, column_stride: 1 }
    }

    /// A head's rows of `[C, C]`.
    fn weights(self, w: &[f32], head: usize) -> Matrix<'_> {
        Matrix::rows(&w[head * self.depth() * self.channels..], self.channels)
    }

    /// Puts each head's `[B, columns]` side by side: `[B, heads · columns]`.
    fn join(self, columns: usize, block: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
        let mut blocks = vec![0f32; self.heads * self.batch * columns];
        blocks.par_chunks_mut(self.batch * columns).enumerate().for_each(|(head, out)| block(head, out));
        let mut joined = vec![0f32; blocks.len()];
        for (head, block) in blocks.chunks_exact(self.batch * columns).enumerate() {
            for (sample, row) in block.chunks_exact(columns).enumerate() {
                joined[(sample * self.heads + head) * columns..][..columns].copy_from_slice(row);
            }
        }
        joined
    }

    /// `[B, C]` to `[B, heads, C]`: each head's part times its rows of `w`.
    fn widen(self, narrow: &[f32], w: &[f32]) -> Vec<f32> {
        let sizes = [self.batch, self.channels, self.depth()];
        self.join(self.channels, |head, out| {
            product(sizes, out, false, self.narrow(narrow, head), self.weights(w, head));
        })
    }

    /// `[B, heads, C]` to `[B, C]`: each head's vector times its rows of `w`, transposed.
    fn shrink(self, wide: &[f32], w: &[f32]) -> Vec<f32> {
        let sizes = [self.batch, self.depth(), self.channels];
        self.join(self.depth(), |head, out| {
            product(sizes, out, false, self.wide(wide, head), self.weights(w, head).transposed());
        })
    }

    /// Gradient of `w` `[C, C]`: each head's `narrowᵀ · wide`.
    fn weight_gradient(self, narrow: &[f32], wide: &[f32]) -> Vec<f32> {
        let mut gradient = vec![0f32; self.channels * self.channels];
        let sizes = [self.depth(), self.channels, self.batch];
        gradient.par_chunks_mut(self.depth() * self.channels).enumerate().for_each(|(head, out)| {
            product(sizes, out, false, self.narrow(narrow, head).transposed(), self.wide(wide, head));
        });
        gradient
    }
}

/// `[B, C]` queries to `[B, heads, C]`: what each head's query asks of the tokens themselves. Scaled so that the
/// attention over C channels scales as one over C/heads does.
struct ThroughKeys {
    heads: usize,
}

impl Operation<3> for ThroughKeys {
    fn name(&self) -> &'static str {
        "attention_pool"
    }

    fn forward(&self, [q, w, _]: [Argument<'_>; 3]) -> Result<(Vec<f32>, Shape)> {
        let (batch, channels) = q.shape().dims2()?;
        let scale = (self.heads as f32).sqrt();
        let mut y = Heads::new(batch, self.heads, channels).widen(q.values()?, w.values()?);
        y.iter_mut().for_each(|value| *value *= scale);
        Ok((y, (batch, self.heads, channels).into()))
    }

    fn backward(
        &self,
        [q, w, bias]: [&Tensor; 3],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let (batch, channels) = q.dims2()?;
        let sizes = Heads::new(batch, self.heads, channels);
        let scale = (self.heads as f32).sqrt();
        let [qs, ws, dy] = Values::each("attention_pool", [q, w, grad])?;
        let dy: Vec<f32> = dy.iter().map(|value| value * scale).collect();
        let (dq, dw) = (sizes.shrink(&dy, &ws), sizes.weight_gradient(&qs, &dy));
        Ok([gradient_of(q, dq)?, gradient_of(w, dw)?, Some(bias.zeros_like()?)])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [q, w, _]: [Input<'_>; 3]) -> Result<Made> {
        cuda::through_keys(&q, &w, self.heads)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        [q, w, bias]: [&Tensor; 3],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let [q, w, grad] = Input::each("attention_pool", [q, w, grad])?;
        let (dq, dw) = cuda::through_keys_backward(&q, &w, &grad, self.heads)?;
        Ok([cuda::some(dq), cuda::some(dw), Some(bias.zeros_like()?)])
    }
}

/// `[B, heads, C]` weighted means to `[B, C]` values, plus the bias.
struct ToValues {
    heads: usize,
}

impl Operation<3> for ToValues {
    fn name(&self) -> &'static str {
        "attention_pool"
    }

    fn forward(&self, [x, w, bias]: [Argument<'_>; 3]) -> Result<(Vec<f32>, Shape)> {
        let (batch, _, channels) = x.shape().dims3()?;
        let (x, w, bias) = (x.values()?, w.values()?, bias.values()?);
        let mut y = Heads::new(batch, self.heads, channels).shrink(x, w);
        for row in y.chunks_exact_mut(channels) {
            row.iter_mut().zip(bias).for_each(|(value, bias)| *value += bias);
        }
        Ok((y, (batch, channels).into()))
    }

    fn backward(
        &self,
        [x, w, bias]: [&Tensor; 3],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let (batch, _, channels) = x.dims3()?;
        let sizes = Heads::new(batch, self.heads, channels);
        let [xs, ws, dy] = Values::each("attention_pool", [x, w, grad])?;
        let (dx, dw) = (sizes.widen(&dy, &ws), sizes.weight_gradient(&dy, &xs));
        Ok([gradient_of(x, dx)?, gradient_of(w, dw)?, gradient_of(bias, column_sums(&dy, channels))?])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [x, w, bias]: [Input<'_>; 3]) -> Result<Made> {
        cuda::to_values(&x, &w, &bias)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        [x, w, _]: [&Tensor; 3],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let [x, w, grad] = Input::each("attention_pool", [x, w, grad])?;
        Ok(cuda::to_values_backward(&x, &w, &grad)?.map(cuda::some))
    }
}

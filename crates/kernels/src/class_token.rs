//! A learned token in front of an image's patches, and learned positions.

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::operation::{Argument, Operation, apply, gradient_of, sizes};
use crate::parallel::{Values, written};
use crate::sums::column_sums;

/// `token` `[D]`, then the patches of `x` `[B, H, W, D]` row by row, plus `positions` `[HW + 1, D]`, the token's
/// first: `[B, HW + 1, D]`. An error names the shapes where they do not fit or `x` is empty.
pub fn prepend_token(x: &Tensor, token: &Tensor, positions: &Tensor) -> Result<Tensor> {
    let [_, height, width, channels] = sizes(x);
    let fits = token.dims() == [channels] && positions.dims() == [height * width + 1, channels];
    if !fits || x.elem_count() == 0 {
        bail!(
            "prepend_token: expected x [B, H, W, D], not empty, token [D] and positions [HW + 1, D], found {:?}, {:?} and {:?}",
            x.dims(),
            token.dims(),
            positions.dims()
        );
    }
    apply(PrependToken, [x, token, positions])
}

struct PrependToken;

impl Operation<3> for PrependToken {
    fn name(&self) -> &'static str {
        "prepend_token"
    }

    fn forward(&self, [x, token, positions]: [Argument<'_>; 3]) -> Result<(Vec<f32>, Shape)> {
        let (tokens, channels) = positions.shape().dims2()?;
        let (batch, sample) = (x.dims()[0], tokens * channels);
        let (x, token, positions) = (x.values()?, token.values()?, positions.values()?);
        let y = written(batch * sample, |y| {
            y.par_chunks_mut(sample).zip(x.par_chunks(sample - channels)).for_each(|(y, x)| {
                let terms = token.iter().chain(x).zip(positions);
                y.iter_mut().zip(terms).for_each(|(y, (value, position))| *y = value + position);
            });
        });
        Ok((y, (batch, tokens, channels).into()))
    }

    fn backward(
        &self,
        [x, token, positions]: [&Tensor; 3],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let (channels, sample) = (token.elem_count(), positions.elem_count());
        let dy = Values::of("prepend_token", grad)?;
        let dy: &[f32] = &dy;
        let dx = written(x.elem_count(), |dx| {
            dx.par_chunks_mut(sample - channels)
                .zip(dy.par_chunks(sample))
                .for_each(|(dx, dy)| dx.copy_from_slice(&dy[channels..]));
        });
        let dpositions = column_sums(dy, sample);
        let dtoken = dpositions[..channels].to_vec();
        Ok([gradient_of(x, dx)?, gradient_of(token, dtoken)?, gradient_of(positions, dpositions)?])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [x, token, positions]: [Input<'_>; 3]) -> Result<Made> {
        cuda::prepend_token(&x, &token, &positions)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        [x, _, positions]: [&Tensor; 3],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 3]> {
        let grad = Input::of("prepend_token", grad)?;
        let dx = cuda::drop_token(&grad, x.shape())?;
        let dpositions = cuda::tensor(cuda::column_sums(&grad, positions.elem_count())?);
        let dpositions = dpositions.reshape(positions.dims())?;
        Ok([cuda::some(dx), Some(dpositions.get(0)?), Some(dpositions)])
    }
}

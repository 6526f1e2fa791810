//! A learned token in front of an image's patches, and learned positions.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::fused::apply3;
use crate::parallel::{Values, values, written};
use crate::sums::column_sums;

/// `token` `[D]`, then the patches of `x` `[B, H, W, D]` row by row, plus `positions` `[HW + 1, D]`, the token's
/// first: `[B, HW + 1, D]`. An error names the shapes where they do not fit or `x` is empty.
pub fn prepend_token(x: &Tensor, token: &Tensor, positions: &Tensor) -> Result<Tensor> {
    let (_, height, width, channels) = x.dims4()?;
    let fits = token.dims() == [channels] && positions.dims() == [height * width + 1, channels];
    if !fits || x.elem_count() == 0 {
        bail!(
            "prepend_token: expected x [B, H, W, D], not empty, token [D] and positions [HW + 1, D], found {:?}, {:?} and {:?}",
            x.dims(),
            token.dims(),
            positions.dims()
        );
    }
    apply3(&x.contiguous()?, &token.contiguous()?, &positions.contiguous()?, PrependToken)
}

struct PrependToken;

impl CustomOp3 for PrependToken {
    fn name(&self) -> &'static str {
        "prepend_token"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        token: &CpuStorage,
        lt: &Layout,
        positions: &CpuStorage,
        lp: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let x = values("prepend_token", x, lx)?;
        let token = values("prepend_token", token, lt)?;
        let positions = values("prepend_token", positions, lp)?;
        let (tokens, channels) = lp.shape().dims2()?;
        let (batch, sample) = (lx.dims()[0], tokens * channels);
        let y = written(batch * sample, |y| {
            y.par_chunks_mut(sample).zip(x.par_chunks(sample - channels)).for_each(|(y, x)| {
                let terms = token.iter().chain(x).zip(positions);
                y.iter_mut().zip(terms).for_each(|(y, (value, position))| *y = value + position);
            });
        });
        Ok((CpuStorage::F32(y), Shape::from((batch, tokens, channels))))
    }

    cuda_forward!(self, "prepend_token", x, token, positions => cuda::prepend_token(&x, &token, &positions));

    fn bwd(
        &self,
        x: &Tensor,
        token: &Tensor,
        positions: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (channels, sample) = (token.elem_count(), positions.elem_count());
        cuda_backward!("prepend_token", grad, => {
            let dx = cuda::drop_token(&grad, x.shape())?;
            let dpositions = cuda::tensor(cuda::column_sums(&grad, sample)?).reshape(positions.dims())?;
            Ok((cuda::some(dx), Some(dpositions.get(0)?), Some(dpositions)))
        });
        let grad = grad.contiguous()?;
        let dy = Values::of("prepend_token", &grad)?;
        let dy: &[f32] = &dy;
        let dx = written(x.elem_count(), |dx| {
            dx.par_chunks_mut(sample - channels)
                .zip(dy.par_chunks(sample))
                .for_each(|(dx, dy)| dx.copy_from_slice(&dy[channels..]));
        });
        let dpositions = column_sums(dy, sample);
        let dtoken = Tensor::from_slice(&dpositions[..channels], channels, token.device())?;
        let dx = Tensor::from_vec(dx, x.dims(), x.device())?;
        let dpositions = Tensor::from_vec(dpositions, positions.dims(), positions.device())?;
        Ok((Some(dx), Some(dtoken), Some(dpositions)))
    }
}

//! Average pooling, channels last.

use candle_core::{Result, Shape, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::operation::{Argument, Operation, apply, gradient_of, sizes};
use crate::parallel::{Values, written};

/// Mean over `size`×`size` squares that do not overlap: `[N, H, W, C]` to `[N, H/size, W/size, C]` (rounded down,
/// as PyTorch does).
pub fn average_pool2d(x: &Tensor, size: usize) -> Result<Tensor> {
    let [n, height, width, channels] = sizes(x);
    if size == 0 || n == 0 || channels == 0 || height < size || width < size {
        bail!("average_pool2d: expected [N > 0, H >= {size}, W >= {size}, C], found {:?}", x.dims());
    }
    apply(AveragePool { size }, [x])
}

struct AveragePool {
    size: usize,
}

impl AveragePool {
    /// Visits, for each row of output squares, the pixels of the input that belong to them.
    fn pairs(&self, out_width: usize, width: usize) -> impl Iterator<Item = (usize, usize)> {
        let size = self.size;
        (0..size).flat_map(move |dy| (0..out_width * size).map(move |x| (x / size, dy * width + x)))
    }
}

impl Operation<1> for AveragePool {
    fn name(&self) -> &'static str {
        "average_pool2d"
    }

    fn forward(&self, [x]: [Argument<'_>; 1]) -> Result<(Vec<f32>, Shape)> {
        let (n, height, width, channels) = x.shape().dims4()?;
        let x = x.values()?;
        let (out_height, out_width) = (height / self.size, width / self.size);
        let scale = 1.0 / (self.size * self.size) as f32;
        let mut y = vec![0f32; n * out_height * out_width * channels];
        y.par_chunks_mut(out_width * channels).enumerate().for_each(|(row, y)| {
            let (image, out_y) = (row / out_height, row % out_height);
            let x = &x[(image * height + out_y * self.size) * width * channels..];
            for (to, from) in self.pairs(out_width, width) {
                let to = &mut y[to * channels..][..channels];
                to.iter_mut().zip(&x[from * channels..][..channels]).for_each(|(sum, value)| *sum += value);
            }
            y.iter_mut().for_each(|value| *value *= scale);
        });
        Ok((y, (n, out_height, out_width, channels).into()))
    }

    fn backward(&self, [x]: [&Tensor; 1], y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let dy = Values::of("average_pool2d", grad)?;
        let dy: &[f32] = &dy;
        let (_, height, width, channels) = x.dims4()?;
        let (_, out_height, out_width, _) = y.dims4()?;
        let scale = 1.0 / (self.size * self.size) as f32;
        let dx = written(x.elem_count(), |dx| {
            dx.par_chunks_mut(width * channels).enumerate().for_each(|(row, dx)| {
                let (image, out_y) = (row / height, row % height / self.size);
                // What is left over beside and below the pools has no gradient.
                let pooled = if out_y < out_height { out_width * self.size * channels } else { 0 };
                let (pooled, rest) = dx.split_at_mut(pooled);
                rest.fill(0.0);
                let dy = dy[(image * out_height + out_y.min(out_height - 1)) * out_width * channels..]
                    .chunks_exact(channels);
                for (dx, dy) in pooled.chunks_exact_mut(self.size * channels).zip(dy) {
                    for dx in dx.chunks_exact_mut(channels) {
                        dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = dy * scale);
                    }
                }
            });
        });
        Ok([gradient_of(x, dx)?])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [x]: [Input<'_>; 1]) -> Result<Made> {
        cuda::average_pool(&x, self.size)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(&self, [x]: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        let grad = Input::of("average_pool2d", grad)?;
        Ok([cuda::some(cuda::average_pool_backward(&grad, x.shape(), self.size)?)])
    }
}

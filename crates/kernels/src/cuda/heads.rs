//! Projections head by head, of attention pooling.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView};
use candle_core::{Result, Shape};

use super::product::{Matrices, Sizes, Target, product};
use super::weights::Weights;
use super::{Element, Input, Made, by_element, by_pack, calls, expect_f32, made, room, sums};

/// Sizes of a projection head by head.
#[derive(Clone, Copy)]
struct Heads {
    batch: usize,
    heads: usize,
    channels: usize,
}

impl Heads {
    fn depth(self) -> usize {
        self.channels / self.heads
    }

    /// A head's columns of `[B, C]`.
    fn narrow<'a, T>(self, view: &'a CudaView<'a, T>) -> Matrices<'a, T> {
        Matrices::new(view, self.channels, self.depth())
    }

    /// A head's rows of `[B, heads, C]`.
    fn wide<'a, T>(self, view: &'a CudaView<'a, T>) -> Matrices<'a, T> {
        Matrices::new(view, self.heads * self.channels, self.channels)
    }

    /// A head's rows of `[C, C]`.
    fn weights<'a, T>(self, view: &'a CudaView<'a, T>) -> Matrices<'a, T> {
        Matrices::new(view, self.channels, self.depth() * self.channels)
    }

    fn sizes(self, rows: usize, columns: usize, depth: usize) -> Sizes {
        Sizes { rows, columns, depth, batch: self.heads }
    }

    /// `[B, C]` to `[B, heads, C]`: each head's part times its rows of `w`.
    fn widen<T: Element>(
        self,
        device: &CudaDevice,
        narrow: &CudaView<'_, T>,
        w: &CudaView<'_, T>,
    ) -> Result<CudaSlice<T>> {
        let mut wide = room::<T>(device, self.batch * self.heads * self.channels)?;
        let mut to = wide.as_view_mut();
        let row_stride = self.heads * self.channels;
        let target = Target { values: &mut to, row_stride, batch_stride: self.channels };
        let sizes = self.sizes(self.batch, self.channels, self.depth());
        product(device, sizes, self.narrow(narrow), self.weights(w), target, false)?;
        Ok(wide)
    }

    /// `[B, heads, C]` to `[B, C]`: each head's vector times its rows of `w`, transposed.
    fn shrink<T: Element>(
        self,
        device: &CudaDevice,
        wide: &CudaView<'_, T>,
        w: &CudaView<'_, T>,
    ) -> Result<CudaSlice<T>> {
        let mut narrow = room::<T>(device, self.batch * self.channels)?;
        let mut to = narrow.as_view_mut();
        let target = Target { values: &mut to, row_stride: self.channels, batch_stride: self.depth() };
        let sizes = self.sizes(self.batch, self.depth(), self.channels);
        product(device, sizes, self.wide(wide), self.weights(w).transposed(), target, false)?;
        Ok(narrow)
    }

    /// Gradient of `w` `[C, C]`: each head's `narrowᵀ · wide`.
    fn weight_gradient<T: Element>(
        self,
        device: &CudaDevice,
        narrow: &CudaView<'_, T>,
        wide: &CudaView<'_, T>,
    ) -> Result<CudaSlice<f32>> {
        let mut gradient = room::<f32>(device, self.channels * self.channels)?;
        let mut to = gradient.as_view_mut();
        let batch_stride = self.depth() * self.channels;
        let target = Target { values: &mut to, row_stride: self.channels, batch_stride };
        let sizes = self.sizes(self.depth(), self.channels, self.batch);
        product(device, sizes, self.narrow(narrow).transposed(), self.wide(wide), target, false)?;
        Ok(gradient)
    }
}

fn scaled<T: Element>(device: &CudaDevice, x: &CudaView<'_, T>, factor: f32) -> Result<CudaSlice<T>> {
    let count = x.len();
    let mut y = room::<T>(device, count)?;
    calls::scale::<T>(device, by_pack::<T>(count), x, &mut y.as_view_mut(), factor, count)?;
    Ok(y)
}

/// `[B, C]` queries to `[B, heads, C]`: what each head's query asks of the tokens themselves, times √heads.
pub(crate) fn through_keys(q: &Input<'_>, w: &Input<'_>, heads: usize) -> Result<Made> {
    by_element!(q, through_keys_of(q, w, heads))
}

fn through_keys_of<T: Element>(q: &Input<'_>, w: &Input<'_>, heads: usize) -> Result<Made> {
    let (device, (batch, channels)) = (q.device()?, q.shape().dims2()?);
    let sizes = Heads { batch, heads, channels };
    // The smaller of the two is scaled: [B, C] and not [B, heads, C].
    let q = scaled::<T>(device, &q.view()?, (heads as f32).sqrt())?;
    let y = sizes.widen(device, &q.as_view(), &Weights::of(w)?.view())?;
    Ok(made(device, y, (batch, heads, channels)))
}

/// Gradients of q and w.
pub(crate) fn through_keys_backward(
    q: &Input<'_>,
    w: &Input<'_>,
    dy: &Input<'_>,
    heads: usize,
) -> Result<(Made, Made)> {
    by_element!(q, through_keys_backward_of(q, w, dy, heads))
}

fn through_keys_backward_of<T: Element>(
    q: &Input<'_>,
    w: &Input<'_>,
    dy: &Input<'_>,
    heads: usize,
) -> Result<(Made, Made)> {
    let (device, (batch, channels)) = (q.device()?, q.shape().dims2()?);
    let sizes = Heads { batch, heads, channels };
    let dy = scaled::<T>(device, &dy.view()?, (heads as f32).sqrt())?;
    let dy = dy.as_view();
    let dq = sizes.shrink(device, &dy, &Weights::of(w)?.view())?;
    let dw = sizes.weight_gradient(device, &q.view()?, &dy)?;
    Ok((made(device, dq, q.shape()), made(device, dw, w.shape())))
}

/// `[B, heads, C]` weighted means to `[B, C]` values, plus the f32 bias.
pub(crate) fn to_values(x: &Input<'_>, w: &Input<'_>, bias: &Input<'_>) -> Result<Made> {
    expect_f32(&[bias])?;
    by_element!(x, to_values_of(x, w, bias))
}

fn to_values_of<T: Element>(x: &Input<'_>, w: &Input<'_>, bias: &Input<'_>) -> Result<Made> {
    let (device, (batch, heads, channels)) = (x.device()?, x.shape().dims3()?);
    let sizes = Heads { batch, heads, channels };
    let mut y = sizes.shrink::<T>(device, &x.view()?, &Weights::of(w)?.view())?;
    let (bias, count) = (bias.view()?, batch * channels);
    calls::add_row_inplace::<T>(device, by_pack::<T>(count), &mut y.as_view_mut(), &bias, count, channels)?;
    Ok(made(device, y, Shape::from((batch, channels))))
}

/// Gradients of x, w and the bias.
pub(crate) fn to_values_backward(x: &Input<'_>, w: &Input<'_>, dy: &Input<'_>) -> Result<[Made; 3]> {
    by_element!(x, to_values_backward_of(x, w, dy))
}

fn to_values_backward_of<T: Element>(x: &Input<'_>, w: &Input<'_>, dy: &Input<'_>) -> Result<[Made; 3]> {
    let (device, (batch, heads, channels)) = (x.device()?, x.shape().dims3()?);
    let sizes = Heads { batch, heads, channels };
    let dy_view = dy.view::<T>()?;
    let dx = sizes.widen(device, &dy_view, &Weights::of(w)?.view())?;
    let dw = sizes.weight_gradient(device, &dy_view, &x.view()?)?;
    let db = sums::column_sums(dy, channels)?;
    Ok([made(device, dx, x.shape()), made(device, dw, w.shape()), db])
}

//! Values one by one, and pooling.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView};
use candle_core::{DType, Result, Shape, bail};

use crate::gelu::Gelu;

use super::{Element, Input, Made, by_element, by_pack, calls, expect_f32, made, over, pack, room};

/// `a + b`.
pub(crate) fn add(a: &Input<'_>, b: &Input<'_>) -> Result<Made> {
    by_element!(a, add_of(a, b))
}

fn add_of<T: Element>(a: &Input<'_>, b: &Input<'_>) -> Result<Made> {
    same_count(a, b)?;
    let (device, count) = (a.device()?, a.count());
    let mut y = room::<T>(device, count)?;
    calls::add::<T>(device, by_pack::<T>(count), &a.view()?, &b.view()?, &mut y.as_view_mut(), count)?;
    Ok(made(device, y, a.shape()))
}

/// `dy` where `y > 0`.
pub(crate) fn mask(y: &Input<'_>, dy: &Input<'_>) -> Result<Made> {
    by_element!(y, mask_of(y, dy))
}

fn mask_of<T: Element>(y: &Input<'_>, dy: &Input<'_>) -> Result<Made> {
    same_count(y, dy)?;
    let (device, count) = (y.device()?, y.count());
    let mut dx = room::<T>(device, count)?;
    calls::mask::<T>(device, by_pack::<T>(count), &y.view()?, &dy.view()?, &mut dx.as_view_mut(), count)?;
    Ok(made(device, dx, y.shape()))
}

/// A GELU of each value.
pub(crate) fn gelu(x: &Input<'_>, kind: Gelu) -> Result<Made> {
    by_element!(x, gelu_of(x, kind))
}

fn gelu_of<T: Element>(x: &Input<'_>, kind: Gelu) -> Result<Made> {
    let (device, count) = (x.device()?, x.count());
    let mut y = room::<T>(device, count)?;
    let (from, mut to) = (x.view()?, y.as_view_mut());
    match kind {
        Gelu::Quick => calls::quick_gelu_forward::<T>(device, by_pack::<T>(count), &from, &mut to, count)?,
        Gelu::Exact => calls::gelu_forward::<T>(device, by_pack::<T>(count), &from, &mut to, count)?,
    }
    Ok(made(device, y, x.shape()))
}

/// Gradient of [`gelu`].
pub(crate) fn gelu_backward(x: &Input<'_>, dy: &Input<'_>, kind: Gelu) -> Result<Made> {
    by_element!(x, gelu_backward_of(x, dy, kind))
}

fn gelu_backward_of<T: Element>(x: &Input<'_>, dy: &Input<'_>, kind: Gelu) -> Result<Made> {
    same_count(x, dy)?;
    let (device, count) = (x.device()?, x.count());
    let mut dx = room::<T>(device, count)?;
    let (from, dy, mut to) = (x.view()?, dy.view()?, dx.as_view_mut());
    match kind {
        Gelu::Quick => {
            calls::quick_gelu_backward::<T>(device, by_pack::<T>(count), &from, &dy, &mut to, count)?
        }
        Gelu::Exact => calls::gelu_backward::<T>(device, by_pack::<T>(count), &from, &dy, &mut to, count)?,
    }
    Ok(made(device, dx, x.shape()))
}

/// `x` `[B, L, D]` plus the first L rows of `table`.
pub(crate) fn add_table(x: &Input<'_>, table: &Input<'_>) -> Result<Made> {
    expect_f32(&[table])?;
    by_element!(x, add_table_of(x, table))
}

fn add_table_of<T: Element>(x: &Input<'_>, table: &Input<'_>) -> Result<Made> {
    let (device, count) = (x.device()?, x.count());
    let (_, length, width) = x.shape().dims3()?;
    let mut y = room::<T>(device, count)?;
    let (from, row) = (x.view()?, table.view()?);
    calls::add_row::<T>(
        device,
        by_pack::<T>(count),
        &from,
        &row,
        &mut y.as_view_mut(),
        count,
        length * width,
    )?;
    Ok(made(device, y, x.shape()))
}

/// Mean over squares, `[N, H, W, C]` to `[N, H/size, W/size, C]`.
pub(crate) fn average_pool(x: &Input<'_>, size: usize) -> Result<Made> {
    by_element!(x, average_pool_of(x, size))
}

fn average_pool_of<T: Element>(x: &Input<'_>, size: usize) -> Result<Made> {
    let device = x.device()?;
    let (n, height, width, channels) = x.shape().dims4()?;
    let shape = Shape::from((n, height / size, width / size, channels));
    let count = shape.elem_count();
    let mut y = room::<T>(device, count)?;
    let (from, mut to) = (x.view()?, y.as_view_mut());
    let packs = count / channels * channels.div_ceil(pack::<T>());
    let blocks = over(packs);
    calls::average_pool_forward::<T>(device, blocks, &from, &mut to, size, height, width, channels, packs)?;
    Ok(made(device, y, shape))
}

/// Gradient of [`average_pool`] for an input of `shape`.
pub(crate) fn average_pool_backward(dy: &Input<'_>, shape: &Shape, size: usize) -> Result<Made> {
    by_element!(dy, average_pool_backward_of(dy, shape, size))
}

fn average_pool_backward_of<T: Element>(dy: &Input<'_>, shape: &Shape, size: usize) -> Result<Made> {
    let (device, count) = (dy.device()?, shape.elem_count());
    let (_, height, width, channels) = shape.dims4()?;
    let mut dx = room::<T>(device, count)?;
    let (from, mut to) = (dy.view()?, dx.as_view_mut());
    let packs = count / channels * channels.div_ceil(pack::<T>());
    let blocks = over(packs);
    calls::average_pool_backward::<T>(device, blocks, &from, &mut to, size, height, width, channels, packs)?;
    Ok(made(device, dx, shape))
}

/// `[B, H, W, C]` to `[B, HW + 1, C]`: the mean, then all positions, plus learned positions.
pub(crate) fn mean_token(x: &Input<'_>, positions: &Input<'_>) -> Result<Made> {
    expect_f32(&[positions])?;
    by_element!(x, mean_token_of(x, positions))
}

fn mean_token_of<T: Element>(x: &Input<'_>, positions: &Input<'_>) -> Result<Made> {
    let device = x.device()?;
    let (batch, (tokens, channels)) = (x.dims()[0], positions.shape().dims2()?);
    let mut y = room::<T>(device, batch * tokens * channels)?;
    let count = batch * channels;
    let (from, positions, mut to) = (x.view()?, positions.view()?, y.as_view_mut());
    calls::mean_token_forward::<T>(device, over(count), &from, &positions, &mut to, tokens, channels, count)?;
    Ok(made(device, y, (batch, tokens, channels)))
}

/// Gradient of [`mean_token`] in `x`, of `shape`; that of the positions is a sum of columns.
pub(crate) fn mean_token_backward(dy: &Input<'_>, shape: &Shape) -> Result<Made> {
    by_element!(dy, mean_token_backward_of(dy, shape))
}

fn mean_token_backward_of<T: Element>(dy: &Input<'_>, shape: &Shape) -> Result<Made> {
    let (device, count) = (dy.device()?, shape.elem_count());
    let (_, tokens, channels) = dy.shape().dims3()?;
    let mut dx = room::<T>(device, count)?;
    let (from, mut to) = (dy.view()?, dx.as_view_mut());
    calls::mean_token_backward::<T>(device, over(count), &from, &mut to, tokens, channels, count)?;
    Ok(made(device, dx, shape))
}

/// `[B, H, W, C]` to `[B, HW + 1, C]`: a learned token, then all positions, plus learned positions.
pub(crate) fn prepend_token(x: &Input<'_>, token: &Input<'_>, positions: &Input<'_>) -> Result<Made> {
    expect_f32(&[token, positions])?;
    by_element!(x, prepend_token_of(x, token, positions))
}

fn prepend_token_of<T: Element>(x: &Input<'_>, token: &Input<'_>, positions: &Input<'_>) -> Result<Made> {
    let device = x.device()?;
    let (batch, (tokens, channels)) = (x.dims()[0], positions.shape().dims2()?);
    let count = batch * tokens * channels;
    let mut y = room::<T>(device, count)?;
    let (from, token, positions, mut to) = (x.view()?, token.view()?, positions.view()?, y.as_view_mut());
    let shape = over(count);
    calls::prepend_token_forward::<T>(
        device, shape, &from, &token, &positions, &mut to, tokens, channels, count,
    )?;
    Ok(made(device, y, (batch, tokens, channels)))
}

/// Gradient of [`prepend_token`] in `x`, of `shape`; those of token and positions are sums of columns.
pub(crate) fn drop_token(dy: &Input<'_>, shape: &Shape) -> Result<Made> {
    by_element!(dy, drop_token_of(dy, shape))
}

fn drop_token_of<T: Element>(dy: &Input<'_>, shape: &Shape) -> Result<Made> {
    let (device, count) = (dy.device()?, shape.elem_count());
    let (_, tokens, channels) = dy.shape().dims3()?;
    let mut dx = room::<T>(device, count)?;
    calls::drop_token::<T>(device, over(count), &dy.view()?, &mut dx.as_view_mut(), tokens, channels, count)?;
    Ok(made(device, dx, shape))
}

/// f32 `[C]` and `[C]` as `[2, C]`.
pub(crate) fn stack(a: &Input<'_>, b: &Input<'_>) -> Result<Made> {
    same_count(a, b)?;
    let (device, count) = (a.device()?, a.count());
    let mut both = room::<f32>(device, 2 * count)?;
    device.memcpy_dtod(&a.view::<f32>()?, &mut both.slice_mut(..count))?;
    device.memcpy_dtod(&b.view::<f32>()?, &mut both.slice_mut(count..))?;
    Ok(made(device, both, (2, count)))
}

/// One value, 0, where `x` is.
pub(crate) fn zero(x: &Input<'_>) -> Result<Made> {
    let device = x.device()?;
    let zero: CudaSlice<f32> = device.alloc_zeros(1)?;
    Ok(made(device, zero, 1))
}

/// The values of `x` as f32 or bf16.
pub(crate) fn cast(x: &Input<'_>, dtype: DType) -> Result<Made> {
    match (x.dtype(), dtype) {
        (DType::F32, DType::BF16) => {
            let (device, view) = (x.device()?, x.view()?);
            Ok(made(device, rounded::<half::bf16>(device, &view)?, x.shape()))
        }
        (DType::BF16, DType::F32) => {
            let (device, view) = (x.device()?, x.view()?);
            Ok(made(device, widened::<half::bf16>(device, &view)?, x.shape()))
        }
        (from, to) => bail!("{}: from {from:?} to {to:?} on CUDA", x.operation()),
    }
}

/// f32 values as `T`.
pub(super) fn rounded<T: Element>(device: &CudaDevice, x: &CudaView<'_, f32>) -> Result<CudaSlice<T>> {
    let mut y = room::<T>(device, x.len())?;
    calls::from_float::<T>(device, by_pack::<T>(x.len()), x, &mut y.as_view_mut(), x.len())?;
    Ok(y)
}

/// Values as f32.
pub(super) fn widened<T: Element>(device: &CudaDevice, x: &CudaView<'_, T>) -> Result<CudaSlice<f32>> {
    let mut y = room::<f32>(device, x.len())?;
    calls::to_float::<T>(device, by_pack::<T>(x.len()), x, &mut y.as_view_mut(), x.len())?;
    Ok(y)
}

/// A copy.
pub(crate) fn copy(x: &Input<'_>) -> Result<Made> {
    by_element!(x, copy_of(x))
}

fn copy_of<T: Element>(x: &Input<'_>) -> Result<Made> {
    let device = x.device()?;
    let mut y = room::<T>(device, x.count())?;
    device.memcpy_dtod(&x.view::<T>()?, &mut y)?;
    Ok(made(device, y, x.shape()))
}

/// An error where two arguments differ in size or type.
pub(super) fn same_count(a: &Input<'_>, b: &Input<'_>) -> Result<()> {
    if a.count() != b.count() || a.dtype() != b.dtype() {
        bail!(
            "{}: expected equal shapes and types, found {:?} {:?} and {:?} {:?}",
            a.operation(),
            a.dims(),
            a.dtype(),
            b.dims(),
            b.dtype()
        );
    }
    Ok(())
}

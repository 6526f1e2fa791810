//! What is done row by row: normalisation to length 1, cross-entropy.

use candle_core::{DType, Result, Shape, bail};

use super::{Element, Input, Made, WARP, by_element, by_warp, calls, expect_f32, grid, made, room};

/// Each row of `x` `[B, D]` divided by its length.
pub(crate) fn l2_normalize(x: &Input<'_>) -> Result<Made> {
    by_element!(x, l2_normalize_of(x))
}

fn l2_normalize_of<T: Element>(x: &Input<'_>) -> Result<Made> {
    let (device, (rows, columns)) = (x.device()?, x.shape().dims2()?);
    let mut y = room::<T>(device, x.count())?;
    calls::l2_normalize_forward::<T>(device, by_warp(rows), &x.view()?, &mut y.as_view_mut(), rows, columns)?;
    Ok(made(device, y, x.shape()))
}

/// Gradient of [`l2_normalize`].
pub(crate) fn l2_normalize_backward(x: &Input<'_>, y: &Input<'_>, dy: &Input<'_>) -> Result<Made> {
    by_element!(x, l2_normalize_backward_of(x, y, dy))
}

fn l2_normalize_backward_of<T: Element>(x: &Input<'_>, y: &Input<'_>, dy: &Input<'_>) -> Result<Made> {
    let (device, (rows, columns)) = (x.device()?, x.shape().dims2()?);
    let mut dx = room::<T>(device, x.count())?;
    let (x_view, y_view, dy_view) = (x.view()?, y.view()?, dy.view()?);
    let (shape, mut to) = (by_warp(rows), dx.as_view_mut());
    calls::l2_normalize_backward::<T>(device, shape, &x_view, &y_view, &dy_view, &mut to, rows, columns)?;
    Ok(made(device, dx, x.shape()))
}

/// Mean cross-entropy of `logits` `[B, K]` against u32 `targets` `[B]`, an f32 scalar. A target that is no class
/// makes it NaN.
pub(crate) fn cross_entropy(logits: &Input<'_>, targets: &Input<'_>) -> Result<Made> {
    by_element!(logits, cross_entropy_of(logits, targets))
}

fn cross_entropy_of<T: Element>(logits: &Input<'_>, targets: &Input<'_>) -> Result<Made> {
    let (device, (rows, classes)) = (logits.device()?, logits.shape().dims2()?);
    if targets.count() != rows {
        bail!("cross_entropy: {rows} rows and {} targets", targets.count());
    }
    let mut losses = room::<f32>(device, rows)?;
    let (from, targets) = (logits.view()?, targets.view()?);
    let mut to = losses.as_view_mut();
    calls::cross_entropy_forward::<T>(device, by_warp(rows), &from, &targets, &mut to, rows, classes)?;
    let mut mean = room::<f32>(device, 1)?;
    let one_block = grid((1, 1), (8 * WARP, 1));
    calls::mean_of::<T>(device, one_block, &losses.as_view(), &mut mean.as_view_mut(), rows)?;
    Ok(made(device, mean, Shape::from(())))
}

/// Gradient of [`cross_entropy`] in the logits; `gradient` is f32, one value, and stays on the device.
pub(crate) fn cross_entropy_backward(
    logits: &Input<'_>,
    targets: &Input<'_>,
    gradient: &Input<'_>,
) -> Result<Made> {
    expect_f32(&[gradient])?;
    if targets.dtype() != DType::U32 || gradient.count() != 1 {
        bail!("cross_entropy: expected u32 targets and one gradient");
    }
    by_element!(logits, cross_entropy_backward_of(logits, targets, gradient))
}

fn cross_entropy_backward_of<T: Element>(
    logits: &Input<'_>,
    targets: &Input<'_>,
    gradient: &Input<'_>,
) -> Result<Made> {
    let (device, (rows, classes)) = (logits.device()?, logits.shape().dims2()?);
    let mut slopes = room::<T>(device, logits.count())?;
    let (from, targets, gradient) = (logits.view()?, targets.view()?, gradient.view()?);
    let (shape, mut to) = (by_warp(rows), slopes.as_view_mut());
    calls::cross_entropy_backward::<T>(device, shape, &from, &targets, &gradient, &mut to, rows, classes)?;
    Ok(made(device, slopes, logits.shape()))
}

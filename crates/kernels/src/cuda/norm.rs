//! Batch and layer normalisation.

use candle_core::Result;
use candle_core::cuda_backend::CudaDevice;

use super::elementwise::{mask, same_count};
use super::sums::{Parts, joined};
use super::{
    Element, Input, Made, by_columns, by_element, by_pack_of_columns, by_tile, by_warp, calls, expect_f32,
    made, room,
};

/// Mean and biased variance of each column of `x` `[.., C]`, f32 `[C]` each.
pub(crate) fn batch_moments(x: &Input<'_>) -> Result<(Made, Made)> {
    by_element!(x, batch_moments_of(x))
}

fn batch_moments_of<T: Element>(x: &Input<'_>) -> Result<(Made, Made)> {
    let (device, columns) = (x.device()?, x.width());
    let rows = x.count() / columns;
    let parts = Parts::of(rows);
    let partial = || room::<f32>(device, parts.count * columns);
    let (mut means, mut squares) = (partial()?, partial()?);
    let (from, mut to, mut to_squares) = (x.view()?, means.as_view_mut(), squares.as_view_mut());
    let shape = by_tile::<T>(columns, parts.count);
    calls::batch_moments::<T>(device, shape, &from, &mut to, &mut to_squares, rows, columns, parts.rows)?;
    let (mut mean, mut variance) = (room::<f32>(device, columns)?, room::<f32>(device, columns)?);
    calls::join_moments::<T>(
        device,
        by_columns(columns),
        &means.as_view(),
        &squares.as_view(),
        &mut mean.as_view_mut(),
        &mut variance.as_view_mut(),
        parts.count,
        rows,
        columns,
        parts.rows,
    )?;
    Ok((made(device, mean, columns), made(device, variance, columns)))
}

/// A batch normalisation: `affine` is f32 `[2, C]`, gamma and beta; mean and variance are f32 `[C]`.
pub(crate) struct BatchNorm<'a> {
    pub(crate) affine: &'a Input<'a>,
    pub(crate) mean: Input<'a>,
    pub(crate) variance: Input<'a>,
    pub(crate) epsilon: f32,
    /// No result is below it; where the result is not above it, no gradient passes.
    pub(crate) floor: f32,
    /// Whether the statistics are the batch's own, so that gradients flow through them.
    pub(crate) of_batch: bool,
}

impl BatchNorm<'_> {
    fn check(&self) -> Result<()> {
        expect_f32(&[self.affine, &self.mean, &self.variance])
    }

    /// The result for `x` `[.., C]` and a residual of the same shape.
    pub(crate) fn forward(&self, x: &Input<'_>, residual: Option<&Input<'_>>) -> Result<Made> {
        self.check()?;
        let forward = BatchNormForward { norm: self, x, residual };
        by_element!(x, forward_of(&forward))
    }

    /// Gradients of x, affine and, where asked for, the residual behind the activation.
    pub(crate) fn backward(
        &self,
        x: &Input<'_>,
        y: &Input<'_>,
        dy: &Input<'_>,
        wants_masked: bool,
    ) -> Result<(Made, Made, Option<Made>)> {
        self.check()?;
        same_count(x, dy)?;
        let (dx, daffine) = by_element!(x, backward_of(self, x, y, dy))?;
        let masked = if wants_masked { Some(mask(y, dy)?) } else { None };
        Ok((dx, daffine, masked))
    }
}

struct BatchNormForward<'a> {
    norm: &'a BatchNorm<'a>,
    x: &'a Input<'a>,
    residual: Option<&'a Input<'a>>,
}

fn forward_of<T: Element>(forward: &BatchNormForward<'_>) -> Result<Made> {
    let BatchNormForward { norm, x, residual } = forward;
    let (device, count, columns) = (x.device()?, x.count(), x.width());
    let (affine, mean, variance) = (norm.affine.view()?, norm.mean.view()?, norm.variance.view()?);
    let from = x.view()?;
    let mut y = room::<T>(device, count)?;
    let mut to = y.as_view_mut();
    let (shape, epsilon, floor) = (by_pack_of_columns::<T>(count), norm.epsilon, norm.floor);
    match residual {
        None => calls::batch_norm_forward::<T>(
            device, shape, &from, &affine, &mean, &variance, &mut to, epsilon, floor, count, columns,
        )?,
        Some(residual) => {
            same_count(x, residual)?;
            let residual = residual.view()?;
            calls::batch_norm_residual_forward::<T>(
                device, shape, &from, &affine, &mean, &variance, &residual, &mut to, epsilon, floor, count,
                columns,
            )?;
        }
    }
    Ok(made(device, y, x.shape()))
}

fn backward_of<T: Element>(
    norm: &BatchNorm<'_>,
    x: &Input<'_>,
    y: &Input<'_>,
    dy: &Input<'_>,
) -> Result<(Made, Made)> {
    let (device, count, columns) = (x.device()?, x.count(), x.width());
    let (rows, epsilon, floor) = (count / columns, norm.epsilon, norm.floor);
    let (affine, mean, variance) = (norm.affine.view()?, norm.mean.view()?, norm.variance.view()?);
    let (x_view, y_view, dy_view) = (x.view()?, y.view()?, dy.view()?);
    let parts = Parts::of(rows);
    let mut partial = room::<f32>(device, parts.count * 2 * columns)?;
    let (shape, mut to) = (by_tile::<T>(columns, parts.count), partial.as_view_mut());
    calls::batch_norm_sums::<T>(
        device, shape, &x_view, &y_view, &dy_view, &mean, &variance, &mut to, epsilon, floor, rows, columns,
        parts.rows,
    )?;
    let sums = joined::<T>(device, &partial, parts, 2 * columns)?;
    let share = if norm.of_batch { 1.0 / rows as f32 } else { 0.0 };
    let mut dx = room::<T>(device, count)?;
    let (sums_view, mut to) = (sums.as_view(), dx.as_view_mut());
    calls::batch_norm_backward::<T>(
        device,
        by_pack_of_columns::<T>(count),
        &x_view,
        &y_view,
        &dy_view,
        &affine,
        &mean,
        &variance,
        &sums_view,
        &mut to,
        epsilon,
        floor,
        share,
        count,
        columns,
    )?;
    Ok((made(device, dx, x.shape()), made(device, sums, (2, columns))))
}

/// Layer normalisation over the last dimension; gamma and beta are f32.
pub(crate) fn layer_norm(x: &Input<'_>, gamma: &Input<'_>, beta: &Input<'_>, epsilon: f32) -> Result<Made> {
    expect_f32(&[gamma, beta])?;
    by_element!(x, layer_norm_of(x, gamma, beta, epsilon))
}

fn layer_norm_of<T: Element>(
    x: &Input<'_>,
    gamma: &Input<'_>,
    beta: &Input<'_>,
    epsilon: f32,
) -> Result<Made> {
    let (device, columns) = (x.device()?, x.width());
    let (from, gamma, beta) = (x.view()?, gamma.view()?, beta.view()?);
    let mut y = room::<T>(device, x.count())?;
    let (rows, mut to) = (x.count() / columns, y.as_view_mut());
    let shape = by_warp(rows);
    calls::layer_norm_forward::<T>(device, shape, &from, &gamma, &beta, &mut to, epsilon, rows, columns)?;
    Ok(made(device, y, x.shape()))
}

/// Gradients of x, and of gamma and beta as one `[2, D]`.
pub(crate) fn layer_norm_backward(
    x: &Input<'_>,
    gamma: &Input<'_>,
    dy: &Input<'_>,
    epsilon: f32,
) -> Result<(Made, Made)> {
    expect_f32(&[gamma])?;
    same_count(x, dy)?;
    by_element!(x, layer_norm_backward_of(x, gamma, dy, epsilon))
}

fn layer_norm_backward_of<T: Element>(
    x: &Input<'_>,
    gamma: &Input<'_>,
    dy: &Input<'_>,
    epsilon: f32,
) -> Result<(Made, Made)> {
    let (device, columns): (&CudaDevice, usize) = (x.device()?, x.width());
    let rows = x.count() / columns;
    let (from, gamma, dy) = (x.view()?, gamma.view()?, dy.view()?);
    let (mut means, mut inverses) = (room::<f32>(device, rows)?, room::<f32>(device, rows)?);
    let mut dx = room::<T>(device, x.count())?;
    calls::layer_norm_backward::<T>(
        device,
        by_warp(rows),
        &from,
        &gamma,
        &dy,
        &mut dx.as_view_mut(),
        &mut means.as_view_mut(),
        &mut inverses.as_view_mut(),
        epsilon,
        rows,
        columns,
    )?;
    let parts = Parts::of(rows);
    let mut partial = room::<f32>(device, parts.count * 2 * columns)?;
    let (means, inverses, mut to) = (means.as_view(), inverses.as_view(), partial.as_view_mut());
    let shape = by_tile::<T>(columns, parts.count);
    calls::layer_norm_sums::<T>(
        device, shape, &from, &dy, &means, &inverses, &mut to, rows, columns, parts.rows,
    )?;
    let sums = joined::<T>(device, &partial, parts, 2 * columns)?;
    Ok((made(device, dx, x.shape()), made(device, sums, (2, columns))))
}

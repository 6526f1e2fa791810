//! Convolution, channels last: by cuDNN where it is built in and knows the geometry, otherwise patches and cuBLAS.
//! 1×1 convolutions are matrix products.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView};
use candle_core::{Result, Shape};

use super::product::{times, times_transposed, transposed_times};
use super::weights::Weights;
use super::{Element, Input, Made, by_element, calls, made, over, room};
use crate::conv::geometry::Geometry;

/// Values of a patch matrix at most: 256 MiB of f32. More images than fit are taken one part after the other.
const PATCH_VALUES: usize = 64 << 20;

impl Geometry {
    pub(super) fn output_shape(&self) -> Shape {
        Shape::from((self.n, self.out_height, self.out_width, self.outputs))
    }

    /// Output pixels of an image.
    fn pixels(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Images whose patches are made at a time.
    fn images_per_part(&self) -> usize {
        (PATCH_VALUES / (self.pixels() * self.depth())).clamp(1, self.n)
    }

    /// First and number of images of each part.
    fn parts(self) -> impl Iterator<Item = (usize, usize)> {
        let each = self.images_per_part();
        (0..self.n).step_by(each).map(move |first| (first, each.min(self.n - first)))
    }
}

/// Values of one image of `[N, H, W, C]`.
struct PerImage {
    x: usize,
    y: usize,
}

impl Geometry {
    fn per_image(&self) -> PerImage {
        PerImage { x: self.height * self.width * self.channels, y: self.pixels() * self.outputs }
    }

    /// Patches `[images · pixels, depth]` of some images.
    fn gather<T: Element>(
        &self,
        device: &CudaDevice,
        x: &CudaView<'_, T>,
        patches: &mut CudaSlice<T>,
        images: usize,
    ) -> Result<()> {
        let count = images * self.pixels() * self.depth();
        calls::gather_patches::<T>(
            device,
            over(count),
            x,
            &mut patches.as_view_mut(),
            self.height,
            self.width,
            self.channels,
            self.kernel_height,
            self.kernel_width,
            self.out_height,
            self.out_width,
            self.stride,
            self.padding,
            count,
        )
    }

    fn patches_room<T: Element>(&self, device: &CudaDevice) -> Result<CudaSlice<T>> {
        room::<T>(device, self.images_per_part() * self.pixels() * self.depth())
    }

    /// Calls `work` with the patches of each part: its first image, how many images it has, and `[pixels, depth]`.
    fn by_part<T: Element>(
        &self,
        device: &CudaDevice,
        x: &CudaView<'_, T>,
        mut work: impl FnMut(usize, usize, &CudaView<'_, T>) -> Result<()>,
    ) -> Result<()> {
        if self.is_pointwise() {
            return work(0, self.n, x);
        }
        let mut patches = self.patches_room::<T>(device)?;
        for (first, images) in self.parts() {
            self.gather(device, &x.slice(first * self.per_image().x..), &mut patches, images)?;
            work(first, images, &patches.as_view())?;
        }
        Ok(())
    }

    fn forward<T: Element>(
        &self,
        device: &CudaDevice,
        x: &CudaView<'_, T>,
        w: &CudaView<'_, T>,
    ) -> Result<CudaSlice<T>> {
        let per_image = self.per_image().y;
        let mut y = room::<T>(device, self.n * per_image)?;
        self.by_part(device, x, |first, images, patches| {
            let sizes = [images * self.pixels(), self.outputs, self.depth()];
            times_transposed(device, sizes, patches, w, &mut y.slice_mut(first * per_image..))
        })?;
        Ok(y)
    }

    /// `dw = dyᵀ · patches(x)`, the parts added in order.
    fn weight_gradient<T: Element>(
        &self,
        device: &CudaDevice,
        x: &CudaView<'_, T>,
        dy: &CudaView<'_, T>,
    ) -> Result<CudaSlice<f32>> {
        let (per_image, depth) = (self.per_image().y, self.depth());
        let mut dw = room::<f32>(device, self.outputs * depth)?;
        self.by_part(device, x, |first, images, patches| {
            let sizes = [self.outputs, depth, images * self.pixels()];
            let dy = dy.slice(first * per_image..);
            transposed_times(device, sizes, &dy, patches, &mut dw.as_view_mut(), first > 0)
        })?;
        Ok(dw)
    }

    /// `dx`: patches of gradients `dy · w`, each value of the image the sum of those that came from it.
    fn input_gradient<T: Element>(
        &self,
        device: &CudaDevice,
        w: &CudaView<'_, T>,
        dy: &CudaView<'_, T>,
    ) -> Result<CudaSlice<T>> {
        let (per_image, depth) = (self.per_image(), self.depth());
        let mut dx = room::<T>(device, self.n * per_image.x)?;
        if self.is_pointwise() {
            let rows = self.n * self.pixels();
            times(device, [rows, depth, self.outputs], dy, w, &mut dx.as_view_mut())?;
            return Ok(dx);
        }
        let mut patches = self.patches_room::<T>(device)?;
        for (first, images) in self.parts() {
            let dy = dy.slice(first * per_image.y..);
            let sizes = [images * self.pixels(), depth, self.outputs];
            times(device, sizes, &dy, w, &mut patches.as_view_mut())?;
            let mut to = dx.slice_mut(first * per_image.x..);
            let count = images * per_image.x;
            calls::scatter_patches::<T>(
                device,
                over(count),
                &patches.as_view(),
                &mut to,
                self.height,
                self.width,
                self.channels,
                self.kernel_height,
                self.kernel_width,
                self.out_height,
                self.out_width,
                self.stride,
                self.padding,
                count,
            )?;
        }
        Ok(dx)
    }
}

/// The convolution of `x` with `w`.
pub(crate) fn convolution(x: &Input<'_>, w: &Input<'_>, sizes: Geometry) -> Result<Made> {
    by_element!(x, convolution_of(x, w, sizes))
}

fn convolution_of<T: Element>(x: &Input<'_>, w: &Input<'_>, sizes: Geometry) -> Result<Made> {
    let (device, x, w) = (x.device()?, x.view::<T>()?, Weights::<T>::of(w)?);
    let w = w.view();
    #[cfg(feature = "cudnn")]
    if !sizes.is_pointwise()
        && let Some(y) = super::cudnn::forward(device, sizes, &x, &w)?
    {
        return Ok(made(device, y, sizes.output_shape()));
    }
    Ok(made(device, sizes.forward(device, &x, &w)?, sizes.output_shape()))
}

/// Gradients of w and, where `wants_dx`, of x.
pub(crate) fn convolution_backward(
    x: &Input<'_>,
    w: &Input<'_>,
    dy: &Input<'_>,
    sizes: Geometry,
    wants_dx: bool,
) -> Result<(Made, Option<Made>)> {
    by_element!(x, convolution_backward_of(x, w, dy, sizes, wants_dx))
}

fn convolution_backward_of<T: Element>(
    x: &Input<'_>,
    w: &Input<'_>,
    dy: &Input<'_>,
    sizes: Geometry,
    wants_dx: bool,
) -> Result<(Made, Option<Made>)> {
    let device = x.device()?;
    let (x_view, dy) = (x.view::<T>()?, dy.view::<T>()?);
    #[cfg(feature = "cudnn")]
    let by_cudnn = !sizes.is_pointwise();
    #[cfg(feature = "cudnn")]
    let dw = if by_cudnn { super::cudnn::weight_gradient(device, sizes, &x_view, &dy)? } else { None };
    #[cfg(not(feature = "cudnn"))]
    let dw = None;
    let dw = match dw {
        Some(dw) => dw,
        None => sizes.weight_gradient(device, &x_view, &dy)?,
    };
    let dw = made(device, dw, w.shape());
    if !wants_dx {
        return Ok((dw, None));
    }
    let w = Weights::<T>::of(w)?;
    let w_view = w.view();
    #[cfg(feature = "cudnn")]
    let dx = if by_cudnn { super::cudnn::input_gradient(device, sizes, &w_view, &dy)? } else { None };
    #[cfg(not(feature = "cudnn"))]
    let dx = None;
    let dx = match dx {
        Some(dx) => dx,
        None => sizes.input_gradient(device, &w_view, &dy)?,
    };
    Ok((dw, Some(made(device, dx, x.shape()))))
}

//! Gradient of the input of a strided convolution: patches of gradients, added back where they came from. Rare:
//! the only strided convolutions of the towers read pixels, which want no gradient.

use rayon::prelude::*;

use super::geometry::Geometry;
use crate::parallel::{Matrix, product};

/// `dx[N, H, W, C]` of `w[O, KH, KW, C]` and `dy[N, H', W', O]`.
pub(super) fn gradient_of_input(geometry: &Geometry, w: &[f32], dy: &[f32]) -> Vec<f32> {
    let depth = geometry.depth();
    let image = geometry.height * geometry.width * geometry.channels;
    let row = geometry.out_width * geometry.outputs;
    let mut dx = vec![0f32; geometry.n * image];
    dx.par_chunks_mut(image).zip(dy.par_chunks(geometry.out_height * row)).for_each_init(
        || vec![0f32; geometry.out_width * depth],
        |patches, (dx, dy)| {
            for (out_y, dy) in dy.chunks_exact(row).enumerate() {
                let sizes = [geometry.out_width, depth, geometry.outputs];
                let left = Matrix::rows(dy, geometry.outputs);
                product(sizes, patches, false, left, Matrix::rows(w, depth));
                scatter(geometry, patches, out_y, dx);
            }
        },
    );
    dx
}

/// Adds the patches of one output row back into the image they came from.
fn scatter(geometry: &Geometry, patches: &[f32], out_y: usize, image: &mut [f32]) {
    let (depth, channels) = (geometry.depth(), geometry.channels);
    let inside = |at: usize, limit: usize| at.checked_sub(geometry.padding).filter(|at| *at < limit);
    for out_x in 0..geometry.out_width {
        for ky in 0..geometry.kernel_height {
            let Some(y) = inside(out_y * geometry.stride + ky, geometry.height) else { continue };
            for kx in 0..geometry.kernel_width {
                let Some(x) = inside(out_x * geometry.stride + kx, geometry.width) else { continue };
                let from =
                    &patches[out_x * depth + (ky * geometry.kernel_width + kx) * channels..][..channels];
                let to = &mut image[(y * geometry.width + x) * channels..][..channels];
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            }
        }
    }
}

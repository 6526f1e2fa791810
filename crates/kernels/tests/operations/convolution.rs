//! Convolution and pooling against candle's own, which are channels first.

use crate::support::{assert_refused, check, random};
use candle_core::{Result, Tensor};

const CHANNELS_FIRST: (usize, usize, usize, usize) = (0, 3, 1, 2);
const CHANNELS_LAST: (usize, usize, usize, usize) = (0, 2, 3, 1);

pub(crate) fn convolution(inputs: &[Tensor], stride: usize, padding: usize) -> Result<Tensor> {
    let x = inputs[0].permute(CHANNELS_FIRST)?.contiguous()?;
    let w = inputs[1].permute(CHANNELS_FIRST)?.contiguous()?;
    x.conv2d(&w, padding, stride, 1, 1)?.permute(CHANNELS_LAST)?.contiguous()
}

#[test]
pub(crate) fn convolutions_agree_with_candle() {
    // x, w, stride, padding
    let cases: &[([usize; 4], [usize; 4], usize, usize)] = &[
        ([1, 7, 5, 1], [1, 3, 3, 1], 1, 1),
        ([2, 7, 5, 3], [4, 3, 3, 3], 2, 1),
        ([1, 5, 7, 2], [3, 3, 3, 2], 1, 0),
        ([3, 6, 6, 5], [7, 1, 1, 5], 1, 0),
        ([2, 7, 9, 4], [3, 1, 1, 4], 2, 0),
        ([2, 8, 8, 3], [2, 5, 5, 3], 1, 2),
        ([2, 9, 7, 3], [2, 2, 2, 3], 2, 0),
        ([1, 1, 1, 3], [2, 3, 3, 3], 1, 1),
        ([2, 6, 6, 2], [3, 3, 3, 2], 1, 3),
        ([5, 16, 16, 8], [8, 3, 3, 8], 1, 1),
        ([9, 16, 16, 8], [16, 3, 3, 8], 1, 1),
        ([3, 8, 8, 64], [64, 3, 3, 64], 1, 1),
        ([2, 9, 9, 17], [19, 3, 3, 17], 1, 1),
        ([3, 7, 10, 48], [32, 3, 3, 48], 1, 1),
        ([4, 32, 32, 3], [8, 3, 3, 3], 2, 1),
    ];
    for (x, w, stride, padding) in cases {
        let inputs = [random(x, 1), random(w, 2)];
        let ours = |inputs: &[Tensor]| kernels::conv2d(&inputs[0], &inputs[1], *stride, *padding);
        let reference = |inputs: &[Tensor]| convolution(inputs, *stride, *padding);
        // Winograd's transforms cost about two binary digits.
        let tolerance = if w[3] >= 32 { 1e-5 } else { 3e-6 };
        check("conv2d", &ours, &reference, &inputs, tolerance);
    }
}

#[test]
pub(crate) fn convolutions_of_large_values_stay_exact() {
    let inputs = [(random(&[2, 7, 5, 3], 1) * 1e4).expect("scaled"), random(&[4, 3, 3, 3], 2)];
    let ours = |inputs: &[Tensor]| kernels::conv2d(&inputs[0], &inputs[1], 1, 1);
    check("conv2d", &ours, &|inputs| convolution(inputs, 1, 1), &inputs, 3e-6);
}

#[test]
fn constants_receive_no_gradient() -> Result<()> {
    let (pixels, w) = (random(&[2, 7, 5, 3], 1), candle_core::Var::from_tensor(&random(&[4, 3, 3, 3], 2))?);
    let gradients = kernels::conv2d(&pixels, &w, 2, 1)?.sum_all()?.backward()?;
    assert!(gradients.get(&pixels).is_none() && gradients.get(&w).is_some());
    Ok(())
}

#[test]
fn pools_agree_with_candle() {
    for (shape, size) in
        [([1, 7, 5, 1], 2), ([2, 8, 8, 3], 2), ([2, 9, 6, 5], 3), ([3, 4, 4, 64], 4), ([1, 3, 3, 2], 1)]
    {
        let ours = |inputs: &[Tensor]| kernels::average_pool2d(&inputs[0], size);
        let reference = |inputs: &[Tensor]| {
            let x = inputs[0].permute(CHANNELS_FIRST)?;
            // Candle differentiates only pools that leave no rest.
            let (height, width) = (shape[1] / size * size, shape[2] / size * size);
            let x = x.narrow(2, 0, height)?.narrow(3, 0, width)?.contiguous()?;
            x.avg_pool2d(size)?.permute(CHANNELS_LAST)?.contiguous()
        };
        check("average_pool2d", &ours, &reference, &[random(&shape, 1)], 1e-6);
    }
}

#[test]
fn wrong_shapes_are_refused() {
    let refused = |x: &[usize], w: &[usize], stride, padding, parts: &[&str]| {
        let result = kernels::conv2d(&random(x, 1), &random(w, 2), stride, padding);
        assert_refused(result, "conv2d", parts);
    };
    refused(&[0, 7, 5, 3], &[4, 3, 3, 3], 1, 1, &["[0, 7, 5, 3]", "[4, 3, 3, 3]"]);
    refused(&[1, 7, 5, 2], &[4, 3, 3, 3], 1, 1, &["[1, 7, 5, 2]", "[4, 3, 3, 3]"]);
    refused(&[1, 2, 2, 3], &[4, 3, 3, 3], 1, 0, &["[1, 2, 2, 3]"]);
    refused(&[1, 7, 5, 3], &[4, 3, 3, 3], 0, 1, &["stride 0"]);
    refused(&[1, 7, 5, 3], &[0, 3, 3, 3], 1, 1, &["[0, 3, 3, 3]"]);
    refused(&[1, 7, 5, 3], &[4, 0, 3, 3], 1, 1, &["[4, 0, 3, 3]"]);
    for (shape, size) in [([0, 8, 8, 3], 2), ([1, 1, 8, 3], 2), ([1, 8, 8, 3], 0), ([1, 8, 8, 0], 2)] {
        let message = format!("{shape:?}");
        assert_refused(kernels::average_pool2d(&random(&shape, 1), size), "average_pool2d", &[&message]);
    }
    let wrong_type = random(&[1, 4, 4, 1], 1).to_dtype(candle_core::DType::F64).expect("f64");
    assert_refused(kernels::average_pool2d(&wrong_type, 2), "average_pool2d", &["f32"]);
}

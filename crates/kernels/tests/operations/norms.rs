//! Batch and layer normalisation.

use crate::support::{assert_close, assert_refused, check, random, run, values};
use candle_core::{D, DType, Result, Tensor};
use kernels::Activation;

pub(crate) const EPSILON: f64 = 1e-5;

fn activated(x: Tensor, activation: Activation) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(x),
        Activation::Relu => x.relu(),
    }
}

pub(crate) fn reference_batch_norm(inputs: &[Tensor], activation: Activation) -> Result<Tensor> {
    let rows = inputs[0].reshape(((), inputs[1].elem_count()))?;
    let centred = rows.broadcast_sub(&rows.mean_keepdim(0)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(0)? + EPSILON)?.sqrt()?;
    let y = centred.broadcast_div(&deviation)?.broadcast_mul(&inputs[1])?.broadcast_add(&inputs[2])?;
    let y = y.reshape(inputs[0].shape())?;
    activated(if let Some(residual) = inputs.get(3) { (y + residual)? } else { y }, activation)
}

/// With the fourth input as residual, if there is one.
pub(crate) fn batch_norm(inputs: &[Tensor], activation: Activation) -> Result<Tensor> {
    let residual = inputs.get(3);
    Ok(kernels::batch_norm_train(&inputs[0], &inputs[1], &inputs[2], residual, EPSILON, activation)?.0)
}

const SHAPES: &[&[usize]] = &[
    &[3, 1],
    &[2, 7, 5, 1],
    &[1, 7, 5, 3],
    &[5, 4, 4, 65],
    &[9, 16, 16, 8],
    &[6, 16, 16, 64],
    &[40, 129],
    &[3, 2100],
];

#[test]
fn batch_norm_agrees_with_its_definition() {
    for shape in SHAPES {
        let channels = shape[shape.len() - 1];
        let inputs = [random(shape, 1), random(&[channels], 2), random(&[channels], 3), random(shape, 4)];
        for activation in [Activation::Identity, Activation::Relu] {
            let ours = |inputs: &[Tensor]| batch_norm(inputs, activation);
            let reference = |inputs: &[Tensor]| reference_batch_norm(inputs, activation);
            check("batch_norm_train", &ours, &reference, &inputs[..3], 2e-5);
            check("batch_norm_train with a residual", &ours, &reference, &inputs, 2e-5);
        }
    }
}

#[test]
fn batch_norm_survives_a_large_mean() -> Result<()> {
    // Inputs that f32 holds exactly, so that the reference sees the same ones.
    let x = ((random(&[4, 7, 5, 3], 1) * 8.0)?.round()? + 1e4)?;
    let inputs = [x, random(&[3], 2), random(&[3], 3)];
    let reference = |inputs: &[Tensor]| reference_batch_norm(inputs, Activation::Identity);
    let ours = |inputs: &[Tensor]| batch_norm(inputs, Activation::Identity);
    let (found, expected) = (run(&ours, &inputs, DType::F32)?, run(&reference, &inputs, DType::F64)?);
    for (found, expected) in found.iter().zip(&expected) {
        assert_close("batch_norm_train", found, expected, 2e-3);
    }
    Ok(())
}

#[test]
fn statistics_are_mean_and_unbiased_variance() -> Result<()> {
    for shape in SHAPES {
        let channels = shape[shape.len() - 1];
        let (x, gamma, beta) = (random(shape, 1), random(&[channels], 2), random(&[channels], 3));
        let (_, found) = kernels::batch_norm_train(&x, &gamma, &beta, None, EPSILON, Activation::Relu)?;
        let rows = x.to_dtype(DType::F64)?.reshape(((), channels))?;
        assert_close("mean", &found.mean, &rows.mean(0)?, 1e-6);
        assert_close("variance", &found.variance, &rows.var(0)?, 1e-6);
    }
    let one = random(&[1, 3], 1);
    let (y, found) = kernels::batch_norm_train(
        &one,
        &random(&[3], 2),
        &random(&[3], 3),
        None,
        EPSILON,
        Activation::Identity,
    )?;
    assert_eq!(found.variance.to_vec1::<f32>()?, [0.0; 3]);
    assert_close("one row", &y.get(0)?, &random(&[3], 3), 1e-5);
    Ok(())
}

#[test]
fn given_statistics_agree_with_their_definition() -> Result<()> {
    for shape in SHAPES {
        let channels = shape[shape.len() - 1];
        let inputs = [random(shape, 1), random(&[channels], 2), random(&[channels], 3), random(shape, 4)];
        let (mean, variance) = (random(&[channels], 5), (random(&[channels], 6).sqr()? + 0.1)?);
        for activation in [Activation::Identity, Activation::Relu] {
            let ours = |inputs: &[Tensor]| {
                let (gamma, beta) = (&inputs[1], &inputs[2]);
                let on = |tensor: &Tensor| tensor.to_device(inputs[0].device());
                let given = (&on(&mean)?, &on(&variance)?);
                kernels::batch_norm_eval(&inputs[0], gamma, beta, given, inputs.get(3), EPSILON, activation)
            };
            let reference = |inputs: &[Tensor]| {
                let deviation = (variance.to_dtype(DType::F64)? + EPSILON)?.sqrt()?;
                let y = inputs[0].broadcast_sub(&mean.to_dtype(DType::F64)?)?.broadcast_div(&deviation)?;
                let y = y.broadcast_mul(&inputs[1])?.broadcast_add(&inputs[2])?;
                activated(if let Some(residual) = inputs.get(3) { (y + residual)? } else { y }, activation)
            };
            check("batch_norm_eval", &ours, &reference, &inputs[..3], 1e-5);
            check("batch_norm_eval with a residual", &ours, &reference, &inputs, 1e-5);
        }
    }
    Ok(())
}

#[test]
fn lost_numbers_pass_the_activation() -> Result<()> {
    let x = Tensor::new(&[[f32::NAN, 1.0], [2.0, 3.0]], &candle_core::Device::Cpu)?;
    let y = batch_norm(&[x, random(&[2], 1), random(&[2], 2)], Activation::Relu)?;
    assert!(values(&y)[0].is_nan(), "a lost number must reach the loss, where the trainer reports it");
    Ok(())
}

pub(crate) fn reference_layer_norm(inputs: &[Tensor]) -> Result<Tensor> {
    let centred = inputs[0].broadcast_sub(&inputs[0].mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + EPSILON)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(&inputs[1])?.broadcast_add(&inputs[2])
}

#[test]
fn layer_norm_agrees_with_its_definition() -> Result<()> {
    for shape in [vec![1, 3], vec![7, 5, 33], vec![3, 65], vec![600, 64], vec![2, 2100]] {
        let width = shape[shape.len() - 1];
        let inputs = [random(&shape, 1), random(&[width], 2), random(&[width], 3)];
        let ours = |inputs: &[Tensor]| kernels::layer_norm(&inputs[0], &inputs[1], &inputs[2], EPSILON);
        check("layer_norm", &ours, &reference_layer_norm, &inputs, 2e-5);
    }
    let constant = (Tensor::ones((2, 64), DType::F32, &candle_core::Device::Cpu)? * 1e4)?;
    let beta = random(&[64], 3);
    let y = kernels::layer_norm(&constant, &random(&[64], 2), &beta, EPSILON)?;
    assert_close("layer_norm", &y.get(0)?, &beta, 1e-6);
    Ok(())
}

#[test]
fn wrong_shapes_are_refused() {
    let (x, three, four) = (random(&[2, 3], 1), random(&[3], 2), random(&[4], 3));
    let empty = random(&[0, 3], 1);
    let train = |x: &Tensor, gamma: &Tensor, beta: &Tensor, parts: &[&str]| {
        let result = kernels::batch_norm_train(x, gamma, beta, None, EPSILON, Activation::Relu);
        assert_refused(result, "batch_norm_train", parts);
        assert_refused(kernels::layer_norm(x, gamma, beta, EPSILON), "layer_norm", parts);
    };
    train(&x, &four, &four, &["[2, 3]", "[4]"]);
    train(&x, &three, &four, &["[2, 3]", "[4]"]);
    train(&empty, &three, &three, &["[0, 3]"]);
    train(&random(&[2, 0], 1), &random(&[0], 1), &random(&[0], 1), &["[2, 0]"]);
    let given = |mean: &Tensor, variance: &Tensor| {
        kernels::batch_norm_eval(&x, &three, &three, (mean, variance), None, EPSILON, Activation::Relu)
    };
    assert_refused(given(&four, &three), "batch_norm_eval", &["[3]", "[4]"]);
    assert_refused(given(&three, &four), "batch_norm_eval", &["[3]", "[4]"]);
    let residual = kernels::batch_norm_train(&x, &three, &three, Some(&empty), EPSILON, Activation::Relu);
    assert_refused(residual, "batch_norm_train", &["[2, 3]", "[0, 3]"]);
}

//! Row normalisation and cross-entropy.

use crate::support::{assert_close, assert_refused, check, devices, random, random_indices, run, values};
use candle_core::{D, DType, Device, Result, Tensor};

pub(crate) fn reference_cross_entropy(inputs: &[Tensor]) -> Result<Tensor> {
    let (logits, targets) = (&inputs[0], &inputs[1]);
    let shifted = logits.broadcast_sub(&logits.max_keepdim(D::Minus1)?.detach())?;
    let log_sum = shifted.exp()?.sum_keepdim(D::Minus1)?.log()?;
    let own = shifted.broadcast_sub(&log_sum)?.gather(&targets.unsqueeze(1)?, 1)?;
    own.mean_all()?.neg()
}

fn cross_entropy(inputs: &[Tensor]) -> Result<Tensor> {
    kernels::cross_entropy(&inputs[0], &inputs[1])
}

#[test]
fn cross_entropy_agrees_with_its_definition() -> Result<()> {
    for (rows, classes, scale) in [(1, 1, 1.0), (1, 9, 5.0), (7, 5, 20.0), (130, 67, 100.0), (6, 6, 1e4)] {
        let logits = (random(&[rows, classes], 1) * scale)?;
        let inputs = [logits, random_indices(&[rows], classes as u32, 2)];
        check("cross_entropy", &cross_entropy, &reference_cross_entropy, &inputs, 3e-6);
    }
    Ok(())
}

#[test]
fn cross_entropy_reports_what_is_lost() -> Result<()> {
    for device in devices() {
        let logits = Tensor::new(&[[0f32, f32::NAN], [1.0, 2.0]], device)?;
        let loss = kernels::cross_entropy(&logits, &Tensor::new(&[0u32, 1], device)?)?;
        assert!(loss.to_scalar::<f32>()?.is_nan());
    }
    Ok(())
}

pub(crate) fn reference_normalize(inputs: &[Tensor]) -> Result<Tensor> {
    inputs[0].broadcast_div(&inputs[0].sqr()?.sum_keepdim(1)?.sqrt()?.maximum(1e-12)?)
}

#[test]
fn normalisation_agrees_with_its_definition() -> Result<()> {
    let ours = |inputs: &[Tensor]| kernels::l2_normalize(&inputs[0]);
    for (rows, width, scale) in [(1, 1, 1.0), (3, 7, 1.0), (130, 129, 1.0), (5, 24, 1e4), (5, 24, 1e-4)] {
        let x = (random(&[rows, width], 1) * scale)?;
        if width == 1 {
            // The derivative is 0 and what is left of it rounding, so only the value is compared.
            assert_eq!(values(&kernels::l2_normalize(&x)?)[0].abs(), 1.0);
        } else {
            check("l2_normalize", &ours, &reference_normalize, &[x], 3e-6);
        }
    }
    for device in devices() {
        let zero = run(&ours, &[Tensor::zeros((2, 3), DType::F32, device)?], DType::F32)?;
        assert_eq!(values(&zero[0]), vec![0.0; 6]);
        assert!(values(&zero[1]).iter().all(|value| value.is_finite()));
        // Squares that no f32 holds.
        let huge = kernels::l2_normalize(&Tensor::new(&[[3e30f32, -4e30]], device)?)?;
        assert_close("l2_normalize", &huge, &Tensor::new(&[[0.6f32, -0.8]], &Device::Cpu)?, 1e-6);
    }
    Ok(())
}

#[test]
fn wrong_shapes_are_refused() -> Result<()> {
    let (logits, targets) = (random(&[2, 3], 1), random_indices(&[2], 3, 2));
    let refused = |logits: &Tensor, targets: &Tensor, parts: &[&str]| {
        assert_refused(kernels::cross_entropy(logits, targets), "cross_entropy", parts);
    };
    refused(&random(&[0, 3], 1), &random_indices(&[0], 3, 2), &["[0, 3]"]);
    refused(&logits, &random_indices(&[3], 3, 2), &["[2, 3]", "[3]"]);
    refused(&logits, &targets.to_dtype(DType::I64)?, &["I64"]);
    refused(&logits, &Tensor::new(&[0u32, 3], &Device::Cpu)?, &["target 3", "3 classes"]);
    assert_refused(kernels::l2_normalize(&random(&[0, 3], 1)), "l2_normalize", &["[0, 3]"]);
    assert_refused(kernels::l2_normalize(&random(&[3, 0], 1)), "l2_normalize", &["[3, 0]"]);
    Ok(())
}

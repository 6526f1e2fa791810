//! `fused` changes neither values nor gradients, whatever its closure runs.

use candle_core::{DType, Device, Result, Tensor, Var, backprop::GradStore};
use kernels::{Activation, fused};

use crate::support::{Operation, assert_close, bits, devices, random, same_with_any_threads};

/// A small tower with a branch, a shared weight, and candle's own operations in the middle.
fn tower(inputs: &[Tensor]) -> Result<Tensor> {
    let [x, w, gamma, beta] = inputs else { unreachable!("four inputs") };
    let y = kernels::conv2d(x, w, 1, 1)?;
    let (y, _) = kernels::batch_norm_train(&y, gamma, beta, None, 1e-5, Activation::Relu)?;
    let z = kernels::conv2d(&y, w, 1, 1)?;
    let sum = kernels::add(&y, &z)?;
    let scaled = (sum.mean_keepdim(1)? * 0.5)?.broadcast_mul(gamma)?;
    kernels::average_pool2d(&kernels::add(&sum, &scaled.broadcast_as(sum.shape())?.contiguous()?)?, 2)
}

fn inputs(device: &Device) -> [Tensor; 4] {
    let on = |tensor: Tensor| tensor.to_device(device).expect("a device with memory");
    [random(&[2, 7, 5, 3], 1), random(&[3, 3, 3, 3], 2), random(&[3], 3), random(&[3], 4)].map(on)
}

#[test]
fn fused_agrees_with_candles_graph() {
    let nested = |inputs: &[Tensor]| fused(|| kernels::quick_gelu(&fused(|| tower(inputs))?));
    let flat = |inputs: &[Tensor]| kernels::quick_gelu(&tower(inputs)?);
    for inputs in devices().iter().map(inputs) {
        let same = |name: &str, operation: Operation<'_>| same_with_any_threads(name, operation, &inputs);
        let pairs = [
            (same("fused", &|inputs| fused(|| tower(inputs))), same("plain", &tower)),
            (same("nested", &nested), same("flat", &flat)),
        ];
        for (found, expected) in pairs {
            assert_eq!(found.len(), expected.len());
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                assert_close(&format!("output {index}"), found, expected, 1e-6);
            }
        }
    }
}

#[test]
fn gradients_can_be_taken_twice_and_jointly() -> Result<()> {
    for [x, w, gamma, beta] in devices().iter().map(inputs) {
        let w = Var::from_tensor(&w)?;
        let run = || fused(|| tower(&[x.clone(), w.as_tensor().clone(), gamma.clone(), beta.clone()]));
        let y = run()?;
        type Backward = fn(&Tensor) -> Result<GradStore>;
        for backward in [Tensor::backward as Backward, kernels::backward] {
            let gradient = |loss: &Tensor| -> Result<Tensor> {
                Ok(backward(loss)?.get(&w).expect("a gradient of the weights").clone())
            };
            let once = gradient(&y.sum_all()?)?;
            assert_eq!(bits(&gradient(&y.sum_all()?)?), bits(&once));
            let joint = gradient(&(run()?.sum_all()? + y.sum_all()?)?)?;
            assert_close("joint", &joint, &(once * 2.0)?, 1e-6);
        }
    }
    Ok(())
}

#[test]
fn what_needs_no_gradient_gets_none() -> Result<()> {
    for device in devices() {
        let y = fused(|| tower(&inputs(device)))?;
        assert!(!y.track_op());
        let var = |seed| Var::from_tensor(&random(&[2, 3], seed).to_device(device)?);
        let (unused, used, input) = (var(5)?, var(6)?, var(6)?);
        let y = fused(|| {
            kernels::quick_gelu(&unused)?;
            kernels::quick_gelu(&used)
        })?;
        let gradients = kernels::backward(&y.sum_all()?)?;
        assert!(gradients.get(&used).is_some() && gradients.get(&unused).is_none());
        // Results that are no node of their own pass through.
        let y = fused(|| input.as_tensor().sqr())?;
        assert!(kernels::backward(&y.sum_all()?)?.get(&input).is_some());
    }
    Ok(())
}

#[test]
fn an_error_leaves_nothing_behind() -> Result<()> {
    for device in devices() {
        let w = Var::from_tensor(&random(&[2, 3], 6).to_device(device)?)?;
        let failed = fused(|| {
            kernels::quick_gelu(&w)?;
            kernels::add(&w, &Tensor::zeros(1, DType::F32, device)?)
        });
        assert!(failed.is_err());
        let y = kernels::quick_gelu(&w)?; // outside: a node of candle's graph
        assert!(y.sum_all()?.backward()?.get(&w).is_some());
    }
    Ok(())
}

//! Every operation on the first CUDA device against the CPU: results and all gradients, on odd shapes.
//!
//! Without the feature `cuda`, or where there is no device, nothing is tested, and that is said.
#![cfg(feature = "cuda")]

use candle_core::{DType, Device, Result, Tensor, Var};
use kernels::Activation;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Largest difference allowed, as a share of the largest value.
const TOLERANCE: f32 = 1e-4;

fn device() -> Option<Device> {
    match kernels::device(0) {
        Ok(device) => Some(device),
        Err(error) => {
            eprintln!("SKIPPED: the CUDA side was not tested: no device: {error}");
            None
        }
    }
}

fn random(shape: &[usize], seed: u64) -> Result<Tensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

fn indices(shape: &[usize], end: u32, seed: u64) -> Result<Tensor> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let values: Vec<u32> = (0..shape.iter().product()).map(|_| rng.random_range(0..end)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// The result and the gradient of every f32 input, on the CPU.
fn run(
    inputs: &[Tensor],
    device: &Device,
    operation: &dyn Fn(&[Tensor]) -> Result<Tensor>,
) -> Result<Vec<Option<Tensor>>> {
    let mut arguments = Vec::new();
    for input in inputs {
        let input = input.to_device(device)?;
        let is_constant = input.dtype() != DType::F32;
        arguments.push(if is_constant { input } else { Var::from_tensor(&input)?.into_inner() });
    }
    let y = operation(&arguments)?;
    let weights = random(y.dims(), 99)?.to_device(device)?;
    let gradients = (&y * weights)?.sum_all()?.backward()?;
    let mut found = vec![Some(y.to_device(&Device::Cpu)?)];
    for argument in &arguments {
        found.push(gradients.get(argument).map(|gradient| gradient.to_device(&Device::Cpu)).transpose()?);
    }
    Ok(found)
}

fn agree(name: &str, inputs: &[Tensor], operation: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let expected = run(inputs, &Device::Cpu, &operation)?;
    let found = run(inputs, &device, &operation)?;
    let again = run(inputs, &device, &operation)?;
    for (index, ((found, again), expected)) in found.iter().zip(&again).zip(&expected).enumerate() {
        let (Some(found), Some(again), Some(expected)) = (found, again, expected) else {
            assert!(found.is_none() && expected.is_none(), "{name}: gradient {index} on one device alone");
            continue;
        };
        assert_eq!(found.dims(), expected.dims(), "{name}: {index}");
        let values = |tensor: &Tensor| tensor.flatten_all()?.to_vec1::<f32>();
        let (found, again, expected) = (values(found)?, values(again)?, values(expected)?);
        assert_eq!(found, again, "{name}: {index} differs from run to run");
        let largest = expected.iter().fold(1e-3f32, |largest, value| largest.max(value.abs()));
        for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let close = (found - expected).abs() <= TOLERANCE * largest;
            assert!(close, "{name}: {index} at {at}: CUDA {found}, CPU {expected}, largest {largest}");
        }
    }
    Ok(())
}

#[test]
fn element_wise() -> Result<()> {
    let (a, b) = (random(&[3, 5, 7], 1)?, random(&[3, 5, 7], 2)?);
    agree("add", &[a.clone(), b], |x| kernels::add(&x[0], &x[1]))?;
    agree("quick_gelu", &[a.affine(4.0, 0.0)?], |x| kernels::quick_gelu(&x[0]))?;
    agree("gelu", &[a.affine(4.0, 0.0)?], |x| kernels::gelu(&x[0]))?;
    agree("add_table", &[a, random(&[9, 7], 3)?], |x| kernels::add_table(&x[0], &x[1]))?;
    agree("average_pool2d", &[random(&[2, 5, 7, 3], 4)?], |x| kernels::average_pool2d(&x[0], 2))
}

#[test]
fn dense() -> Result<()> {
    let (x, w, b) = (random(&[3, 50, 19], 1)?, random(&[13, 19], 2)?, random(&[13], 3)?);
    agree("linear", &[x.clone(), w.clone(), b], |x| kernels::linear(&x[0], &x[1], Some(&x[2])))?;
    agree("linear without bias", &[x, w], |x| kernels::linear(&x[0], &x[1], None))?;
    agree("embedding", &[random(&[11, 5], 4)?, indices(&[3, 70], 11, 5)?], |x| {
        kernels::embedding(&x[0], &x[1])
    })?;
    let many = indices(&[2500], 40, 6)?;
    agree("embedding of many", &[random(&[40, 3], 7)?, many], |x| kernels::embedding(&x[0], &x[1]))
}

#[test]
fn norms() -> Result<()> {
    let (x, gamma, beta) = (random(&[4, 9, 7, 37], 1)?, random(&[37], 2)?, random(&[37], 3)?);
    let residual = random(&[4, 9, 7, 37], 4)?;
    let statistics = (random(&[37], 5)?, (random(&[37], 6)? + 2.0)?);
    let inputs = [x.clone(), gamma.clone(), beta.clone(), residual];
    agree("layer_norm", &inputs[..3], |x| kernels::layer_norm(&x[0], &x[1], &x[2], 1e-5))?;
    for activation in [Activation::Identity, Activation::Relu] {
        let train = |x: &[Tensor]| {
            let residual = x.get(3);
            kernels::batch_norm_train(&x[0], &x[1], &x[2], residual, 1e-5, activation).map(|(y, _)| y)
        };
        agree("batch_norm_train", &inputs[..3], train)?;
        agree("batch_norm_train with a residual", &inputs, train)?;
        agree("batch_norm_eval", &inputs, |x| {
            let device = x[0].device();
            let (mean, variance) = (statistics.0.to_device(device)?, statistics.1.to_device(device)?);
            let given = (&mean, &variance);
            kernels::batch_norm_eval(&x[0], &x[1], &x[2], given, x.get(3), 1e-5, activation)
        })?;
    }
    let wide =
        [random(&[5, 3, 2, 64], 7)?, random(&[64], 8)?, random(&[64], 9)?, random(&[5, 3, 2, 64], 10)?];
    agree("layer_norm of whole packs", &wide[..3], |x| kernels::layer_norm(&x[0], &x[1], &x[2], 1e-5))?;
    agree("batch_norm_train of whole packs", &wide, |x| {
        kernels::batch_norm_train(&x[0], &x[1], &x[2], x.get(3), 1e-5, Activation::Relu).map(|(y, _)| y)
    })?;
    let Some(device) = device() else { return Ok(()) };
    for device in [Device::Cpu, device] {
        let [x, gamma, beta] = [&x, &gamma, &beta].map(|tensor| tensor.to_device(&device));
        let (_, statistics) =
            kernels::batch_norm_train(&x?, &gamma?, &beta?, None, 1e-5, Activation::Identity)?;
        println!("variance {:?}", statistics.variance.to_vec1::<f32>()?[0]);
    }
    Ok(())
}

#[test]
fn convolutions() -> Result<()> {
    for (size, stride, padding) in [(1, 1, 0), (3, 1, 1), (3, 2, 1), (4, 4, 0), (5, 3, 2), (2, 1, 0)] {
        let (x, w) = (random(&[3, 9, 8, 5], 1)?, random(&[7, size, size, 5], 2)?);
        let name = format!("conv2d {size}x{size}, stride {stride}, padding {padding}");
        agree(&name, &[x, w], |x| kernels::conv2d(&x[0], &x[1], stride, padding))?;
    }
    Ok(())
}

#[test]
fn attentions() -> Result<()> {
    for (batch, tokens, width, heads, causal) in
        [(2, 7, 12, 3, true), (5, 9, 8, 2, false), (1, 40, 6, 1, true)]
    {
        let inputs = [0, 1, 2].map(|seed| random(&[batch, tokens, width], seed));
        let [q, k, v] = inputs;
        let name = format!("attention of {heads} heads, causal {causal}");
        agree(&name, &[q?, k?, v?], |x| kernels::attention(&x[0], &x[1], &x[2], heads, causal))?;
    }
    let (x, positions) = (random(&[2, 3, 2, 12], 1)?, random(&[7, 12], 2)?);
    let mut inputs = vec![x, positions];
    for seed in 3..6 {
        inputs.extend([random(&[12, 12], seed)?, random(&[12], seed + 9)?]);
    }
    let inputs: Vec<Tensor> = inputs.iter().map(|tensor| tensor.affine(0.5, 0.0)).collect::<Result<_>>()?;
    let token = [random(&[2, 3, 2, 12], 1)?, random(&[12], 2)?, random(&[7, 12], 3)?];
    agree("prepend_token", &token, |x| kernels::prepend_token(&x[0], &x[1], &x[2]))?;
    agree("attention_pool", &inputs, |x| {
        kernels::attention_pool(&x[0], &x[1], (&x[2], &x[3]), (&x[4], &x[5]), (&x[6], &x[7]), 3)
    })
}

#[test]
fn losses() -> Result<()> {
    let logits = random(&[21, 35], 1)?.affine(8.0, 0.0)?;
    let targets = indices(&[21], 35, 2)?;
    agree("cross_entropy", &[logits.clone(), targets], |x| kernels::cross_entropy(&x[0], &x[1]))?;
    agree("l2_normalize", &[logits], |x| kernels::l2_normalize(&x[0]))
}

#[test]
fn whole_towers() -> Result<()> {
    let inputs = [random(&[2, 6, 6, 3], 1)?, random(&[8, 3, 3, 3], 2)?, random(&[8], 3)?, random(&[8], 4)?];
    agree("fused", &inputs, |x| {
        kernels::fused(|| {
            let y = kernels::conv2d(&x[0], &x[1], 1, 1)?;
            let (y, _) = kernels::batch_norm_train(&y, &x[2], &x[3], None, 1e-5, Activation::Relu)?;
            let y = kernels::average_pool2d(&kernels::add(&y, &y)?, 2)?;
            kernels::quick_gelu(&y)
        })
    })
}

//! What the tests of all groups share: inputs from a seed, references in f64, comparison, thread counts.

use std::io::Write;
use std::sync::OnceLock;

use candle_core::{DType, Device, Result, Tensor, Var};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// An operation under test, or its reference: some tensors in, one out.
pub(crate) type Operation<'a> = &'a (dyn Fn(&[Tensor]) -> Result<Tensor> + Sync);

/// The devices that every test runs on: the CPU, and the first CUDA device where this build can use one. Says once
/// which they are.
pub(crate) fn devices() -> &'static [Device] {
    static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();
    DEVICES.get_or_init(|| {
        let mut devices = vec![Device::Cpu];
        let cuda = match candle_core::utils::cuda_is_available() {
            false => "not built in".to_owned(),
            true => match Device::new_cuda(0) {
                Ok(device) => {
                    devices.push(device);
                    "runs".to_owned()
                }
                Err(error) => format!("built in, but no device: {error}"),
            },
        };
        // Past the capture of a test's output, so that it is seen where all tests pass.
        let _ = writeln!(std::io::stderr(), "devices: the CPU runs, CUDA {cuda}");
        devices
    })
}

/// Values in [-1, 1), the same ones for the same `seed`.
pub(crate) fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = shape.iter().product();
    let values: Vec<f32> = (0..count).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape holds")
}

/// u32 indices below `end`.
pub(crate) fn random_indices(shape: &[usize], end: u32, seed: u64) -> Tensor {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let count = shape.iter().product();
    let values: Vec<u32> = (0..count).map(|_| rng.random_range(0..end)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).expect("as many values as the shape holds")
}

/// The result of `operation`, then the gradient of each float input for a fixed random gradient of the result.
pub(crate) fn run(operation: Operation<'_>, inputs: &[Tensor], dtype: DType) -> Result<Vec<Tensor>> {
    let mut arguments = Vec::new();
    for input in inputs {
        arguments.push(match input.dtype() {
            DType::U32 => input.clone(),
            _ => Var::from_tensor(&input.to_dtype(dtype)?)?.into_inner(),
        });
    }
    let y = operation(&arguments)?;
    let weights = random(y.dims(), 99).to_dtype(dtype)?;
    let gradients = (&y * weights)?.sum_all()?.backward()?;
    let mut results = vec![y];
    for argument in arguments.iter().filter(|argument| argument.dtype() != DType::U32) {
        let gradient = gradients.get(argument).expect("every float input receives a gradient");
        assert_eq!(gradient.dims(), argument.dims());
        results.push(gradient.clone());
    }
    Ok(results)
}

/// All values as f64.
pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.flatten_all());
    tensor.and_then(|tensor| tensor.to_vec1()).expect("a tensor of numbers")
}

/// Fails where a value is further from the expected one than `tolerance` times the largest expected one.
pub(crate) fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let (found, expected) = (values(found), values(expected));
    let largest = expected.iter().fold(1e-3f64, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let distance = (found - expected).abs();
        assert!(
            distance <= tolerance * largest,
            "{what}, value {index}: {found}, expected {expected}, largest {largest}"
        );
    }
}

/// Compares result and gradients with a reference that candle differentiates in f64, and checks that 1, 2, 3 and 8
/// threads give the same bytes.
pub(crate) fn check(
    name: &str,
    operation: Operation<'_>,
    reference: Operation<'_>,
    inputs: &[Tensor],
    tolerance: f64,
) {
    let found = same_with_any_threads(name, operation, inputs);
    let expected = run(reference, inputs, DType::F64).expect("the reference accepts the inputs");
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let shapes: Vec<&[usize]> = inputs.iter().map(Tensor::dims).collect();
        assert_close(&format!("{name} {shapes:?}, output {index}"), found, expected, tolerance);
    }
}

/// Result and gradients, the same bytes with 1, 2, 3 and 8 threads.
pub(crate) fn same_with_any_threads(name: &str, operation: Operation<'_>, inputs: &[Tensor]) -> Vec<Tensor> {
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        pool.install(|| run(operation, inputs, DType::F32).expect("the operation accepts the inputs"))
    };
    let first = with(1);
    for threads in [2, 3, 8] {
        for (output, (one, many)) in first.iter().zip(with(threads)).enumerate() {
            assert_eq!(bits(one), bits(&many), "{name}, output {output}: 1 and {threads} threads differ");
        }
    }
    first
}

/// The bits of f32 values.
pub(crate) fn bits(tensor: &Tensor) -> Vec<u32> {
    let values = tensor.flatten_all().and_then(|tensor| tensor.to_vec1::<f32>()).expect("f32 values");
    values.into_iter().map(f32::to_bits).collect()
}

/// Fails unless the result is an error that names the operation and each of `parts`.
pub(crate) fn assert_refused<T>(result: Result<T>, operation: &str, parts: &[&str]) {
    let Err(error) = result else { panic!("{operation} accepted what it should refuse") };
    let message = error.to_string();
    for part in std::iter::once(&operation).chain(parts) {
        assert!(message.contains(part), "{operation}: the error lacks {part:?}: {message}");
    }
}

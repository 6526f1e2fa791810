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
        #[cfg(not(feature = "cuda"))]
        let (devices, cuda) = (vec![Device::Cpu], "not built in");
        #[cfg(feature = "cuda")]
        let (devices, cuda) = match kernels::device(0) {
            Ok(device) => (vec![Device::Cpu, device], "runs".to_owned()),
            Err(error) => (vec![Device::Cpu], format!("built in, but no device: {error}")),
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

/// How an input lies in memory.
#[derive(Clone, Copy, PartialEq)]
enum View {
    /// One value after the other.
    Whole,
    /// The same behind a value that is not part of it, so that no address is a multiple of 8 bytes.
    Shifted,
    /// Its last two dimensions in the other order.
    Transposed,
}

/// The tensor that gradients are taken of, and the operation's argument that is made of it.
fn argument(input: &Tensor, view: View) -> Result<(Tensor, Tensor)> {
    if input.dtype() == DType::U32 {
        return Ok((input.clone(), input.clone()));
    }
    let var = |tensor: &Tensor| Ok::<_, candle_core::Error>(Var::from_tensor(tensor)?.into_inner());
    match view {
        View::Shifted => {
            let front = Tensor::zeros(1, input.dtype(), input.device())?;
            let var = var(&Tensor::cat(&[&front, &input.flatten_all()?], 0)?)?;
            let argument = var.narrow(0, 1, input.elem_count())?.reshape(input.shape())?;
            Ok((var, argument))
        }
        View::Transposed if input.rank() >= 2 => {
            let var = var(&input.t()?.contiguous()?)?;
            let argument = var.t()?;
            Ok((var, argument))
        }
        _ => var(input).map(|var| (var.clone(), var)),
    }
}

/// The result of `operation`, then the gradient of each float input for a fixed random gradient of the result.
pub(crate) fn run(operation: Operation<'_>, inputs: &[Tensor], dtype: DType) -> Result<Vec<Tensor>> {
    run_as(View::Whole, operation, inputs, dtype)
}

fn run_as(view: View, operation: Operation<'_>, inputs: &[Tensor], dtype: DType) -> Result<Vec<Tensor>> {
    let (mut vars, mut arguments) = (Vec::new(), Vec::new());
    for input in inputs {
        let input = if input.dtype() == DType::U32 { input.clone() } else { input.to_dtype(dtype)? };
        let (var, argument) = argument(&input, view)?;
        vars.push(var);
        arguments.push(argument);
    }
    let y = operation(&arguments)?;
    let weights = random(y.dims(), 99).to_dtype(dtype)?.to_device(y.device())?;
    let gradients = (&y * weights)?.sum_all()?.backward()?;
    let mut results = vec![y];
    for (var, argument) in vars.iter().zip(&arguments).filter(|(var, _)| var.dtype() != DType::U32) {
        let gradient = gradients.get(var).expect("every float input receives a gradient");
        assert_eq!(gradient.dims(), var.dims());
        results.push(match view {
            View::Shifted => gradient.narrow(0, 1, argument.elem_count())?.reshape(argument.shape())?,
            View::Transposed if var.rank() >= 2 => gradient.t()?.contiguous()?,
            _ => gradient.clone(),
        });
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

/// Inputs on another device.
pub(crate) fn moved(inputs: &[Tensor], device: &Device) -> Vec<Tensor> {
    inputs.iter().map(|input| input.to_device(device).expect("a device with memory")).collect()
}

/// Compares result and gradients, on each device, with a reference that candle differentiates in f64 and with
/// central differences of it; checks that 1, 2, 3 and 8 threads give the same bytes, and that inputs that are slices
/// or transposed give the same bytes too.
pub(crate) fn check(
    name: &str,
    operation: Operation<'_>,
    reference: Operation<'_>,
    inputs: &[Tensor],
    tolerance: f64,
) {
    let expected = run(reference, inputs, DType::F64).expect("the reference accepts the inputs");
    let shapes: Vec<&[usize]> = inputs.iter().map(Tensor::dims).collect();
    for device in devices() {
        let inputs = moved(inputs, device);
        let found = same_with_any_threads(name, operation, &inputs);
        for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
            assert_close(&format!("{name} {shapes:?}, output {index}"), found, expected, tolerance);
        }
        for (view, what) in [(View::Shifted, "a slice"), (View::Transposed, "a transposed one")] {
            let again = run_as(view, operation, &inputs, DType::F32).expect("any view is accepted");
            for (index, (found, whole)) in again.iter().zip(&found).enumerate() {
                let same = bits(found) == bits(whole) || !device.is_cpu();
                assert!(same, "{name} {shapes:?}, output {index}: {what} differs from a whole input");
            }
        }
        check_differences(&format!("{name} {shapes:?}"), reference, &inputs, &found[1..], tolerance);
    }
}

/// Compares gradients with central differences of the reference in f64, at some values of each float input, all of them where there are
/// few.
fn check_differences(
    what: &str,
    reference: Operation<'_>,
    inputs: &[Tensor],
    gradients: &[Tensor],
    tolerance: f64,
) {
    let mut inputs = moved(inputs, &Device::Cpu);
    let weighted = |inputs: &[Tensor]| -> Result<f64> {
        let y = reference(inputs)?;
        let weights = random(y.dims(), 99).to_dtype(DType::F64)?;
        (y * weights)?.sum_all()?.to_scalar::<f64>()
    };
    let floats: Vec<usize> = (0..inputs.len()).filter(|index| inputs[*index].dtype() != DType::U32).collect();
    for index in &floats {
        inputs[*index] = inputs[*index].to_dtype(DType::F64).expect("f64");
    }
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for (index, gradient) in floats.into_iter().zip(gradients) {
        let (whole, gradient) = (inputs[index].clone(), values(gradient));
        let start = values(&whole);
        let largest = gradient.iter().fold(1e-3f64, |largest, value| largest.max(value.abs()));
        let size = start.iter().fold(0f64, |size, value| size.max(value.abs()));
        let width = 1e-7 * if size > 0.0 { size } else { 1.0 };
        // Each costs two runs of the reference.
        let samples = if start.len() > 2_000 { 6 } else { start.len().min(24) };
        for sample in 0..samples {
            let at = if samples == start.len() { sample } else { rng.random_range(0..start.len()) };
            let [above, below] = [width, -width].map(|step| {
                let mut values = start.clone();
                values[at] += step;
                inputs[index] =
                    Tensor::from_vec(values, whole.shape(), &Device::Cpu).expect("as many values");
                weighted(&inputs).expect("the reference accepts the inputs")
            });
            let (found, expected) = (gradient[at], (above - below) / (2.0 * width));
            let rounding = 4e-15 * (above.abs() + below.abs()) / width;
            assert!(
                (found - expected).abs() <= (tolerance + 3e-6) * largest + rounding,
                "{what}, input {index}, value {at}: gradient {found}, by differences {expected}, largest {largest}"
            );
        }
        inputs[index] = whole;
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

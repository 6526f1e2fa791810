//! What holds for every operation of the catalogue.

use candle_core::{DType, Device, Result, Tensor};

use crate::catalogue::{Case, all};
use crate::support::{assert_close, assert_refused, check, devices, moved, random, run, values};

fn floats(case: &Case) -> Vec<usize> {
    (0..case.inputs.len()).filter(|index| case.inputs[*index].dtype() == DType::F32).collect()
}

/// The inputs with the one at `index` replaced.
fn replaced(inputs: &[Tensor], index: usize, with: Tensor) -> Vec<Tensor> {
    let mut inputs = inputs.to_vec();
    inputs[index] = with;
    inputs
}

fn is_finite(tensor: &Tensor) -> bool {
    values(tensor).iter().all(|value| value.is_finite())
}

#[test]
fn each_agrees_with_its_reference() {
    for case in all() {
        check(case.name, &case.operation, &case.reference, &case.inputs, 2e-5);
    }
}

/// Large, lost in the squares of f32, absent, and without any difference.
fn extremes(shape: &[usize]) -> Result<[(&'static str, Tensor); 5]> {
    let (zeros, signs) = (Tensor::zeros(shape, DType::F32, &Device::Cpu)?, random(shape, 50));
    Ok([
        ("±1e4", (&signs * 1e4)?),
        ("denormal numbers", (&signs * 1e-40)?),
        ("zeros", zeros.clone()),
        ("negative zeros", (&zeros * -1.0)?),
        ("equal values", (zeros + 0.5)?),
    ])
}

#[test]
fn extreme_inputs_agree_with_the_reference() -> Result<()> {
    for case in all() {
        for index in floats(&case) {
            for (what, input) in extremes(case.inputs[index].dims())? {
                if what == "±1e4" && input.rank() == 0 {
                    continue; // e^1e4 as a logit scale: see `contrastive`
                }
                let inputs = replaced(&case.inputs, index, input);
                let expected = run(&case.reference, &inputs, DType::F64)?;
                for device in devices() {
                    let what = format!("{} {:?}, input {index}: {what}", case.name, inputs[index].dims());
                    let found = run(&case.operation, &moved(&inputs, device), DType::F32)?;
                    for (output, (found, expected)) in found.iter().zip(&expected).enumerate() {
                        assert!(is_finite(found), "{what}: output {output} is not finite");
                        // At 0 a normalised row has no direction and a rectifier two slopes.
                        if is_finite(expected) && !(what.contains("zeros") && output > 0) {
                            assert_close(&format!("{what}, output {output}"), found, expected, 2e-3);
                        }
                    }
                }
            }
        }
    }
    Ok(())
}

#[test]
fn lost_numbers_are_never_swallowed() -> Result<()> {
    for (case, device) in all().iter().flat_map(|case| devices().iter().map(move |device| (case, device))) {
        for index in floats(case) {
            let shape = case.inputs[index].dims();
            let mut input: Vec<f32> = case.inputs[index].flatten_all()?.to_vec1()?;
            input[0] = f32::NAN;
            let inputs = replaced(&case.inputs, index, Tensor::from_vec(input, shape, &Device::Cpu)?);
            let y = (case.operation)(&moved(&inputs, device))?;
            assert!(!is_finite(&y), "{} swallows a lost number in input {index} {shape:?}", case.name);
        }
        // A lost gradient reaches the gradient of every input.
        let lost = |inputs: &[Tensor]| (case.operation)(inputs)? * f64::NAN;
        for (index, gradient) in run(&lost, &moved(&case.inputs, device), DType::F32)?[1..].iter().enumerate()
        {
            assert!(!is_finite(gradient), "{}: input {index} swallows a lost gradient", case.name);
        }
    }
    Ok(())
}

#[test]
fn other_types_are_refused() -> Result<()> {
    for (case, device) in all().iter().flat_map(|case| devices().iter().map(move |device| (case, device))) {
        let inputs = moved(&case.inputs, device);
        for index in floats(case) {
            for dtype in [DType::F64, DType::F16, DType::U32] {
                let changed = replaced(&inputs, index, inputs[index].to_dtype(dtype)?);
                assert_refused((case.operation)(&changed), case.name, &[]);
            }
        }
        for index in (0..inputs.len()).filter(|index| !floats(case).contains(index)) {
            let changed = replaced(&inputs, index, inputs[index].to_dtype(DType::I64)?);
            assert_refused((case.operation)(&changed), case.name, &["u32"]);
        }
    }
    Ok(())
}

#[test]
fn other_shapes_are_refused() -> Result<()> {
    for case in all() {
        for index in floats(&case) {
            let input = &case.inputs[index];
            let refused = |input: &Tensor, parts: &[&str]| {
                let changed = replaced(&case.inputs, index, input.clone());
                assert_refused((case.operation)(&changed), case.name, parts);
            };
            if input.rank() > 0 {
                let mut dims = input.dims().to_vec();
                dims[0] = 0;
                let empty = Tensor::zeros(dims.as_slice(), DType::F32, &Device::Cpu)?;
                refused(&empty, &[&format!("{dims:?}")]);
            }
            if input.rank() > 1 && !case.any_shape {
                let flat = input.flatten_all()?;
                refused(&flat, &[&format!("{:?}", flat.dims())]);
            }
            let others = case.inputs.len() > 1 && case.name != "embedding" && index > 0;
            if others {
                let longer = Tensor::cat(&[&input.flatten_all()?, &random(&[1], 3)], 0)?;
                refused(&longer, &[&format!("{:?}", longer.dims())]);
            }
        }
    }
    Ok(())
}

#[test]
fn other_devices_are_refused() -> Result<()> {
    // Says nothing where `devices` holds the CPU alone, which it prints.
    for device in devices().iter().filter(|device| !device.is_cpu()) {
        for case in all().iter().filter(|case| case.inputs.len() > 1) {
            for index in 0..case.inputs.len() {
                let changed = replaced(&case.inputs, index, case.inputs[index].to_device(device)?);
                assert!((case.operation)(&changed).is_err(), "{}, input {index}", case.name);
            }
        }
    }
    Ok(())
}

//! Row normalisation, cross-entropy and the optimizer.

use crate::support::{assert_close, assert_refused, check, random, random_indices, run, values};
use candle_core::{D, DType, Device, Result, Tensor, Var};
use kernels::AdamW;

fn reference_cross_entropy(inputs: &[Tensor]) -> Result<Tensor> {
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
    let logits = Tensor::new(&[[0f32, f32::NAN], [1.0, 2.0]], &Device::Cpu)?;
    let loss = kernels::cross_entropy(&logits, &Tensor::new(&[0u32, 1], &Device::Cpu)?)?;
    assert!(loss.to_scalar::<f32>()?.is_nan());
    Ok(())
}

fn reference_normalize(inputs: &[Tensor]) -> Result<Tensor> {
    inputs[0].broadcast_div(&inputs[0].sqr()?.sum_keepdim(1)?.sqrt()?)
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
    let zero = run(&ours, &[Tensor::zeros((2, 3), DType::F32, &Device::Cpu)?], DType::F32)?;
    assert_eq!(values(&zero[0]), vec![0.0; 6]);
    assert!(values(&zero[1]).iter().all(|value| value.is_finite()));
    Ok(())
}

/// PyTorch's AdamW in f64, as its documentation writes it.
fn reference_adamw(
    settings: &AdamW,
    parameter: &mut f64,
    moments: &mut (f64, f64),
    gradient: f64,
    step: i32,
) {
    *parameter -= settings.learning_rate * settings.weight_decay * *parameter;
    moments.0 = settings.beta1 * moments.0 + (1.0 - settings.beta1) * gradient;
    moments.1 = settings.beta2 * moments.1 + (1.0 - settings.beta2) * gradient * gradient;
    let first = moments.0 / (1.0 - settings.beta1.powi(step));
    let second = moments.1 / (1.0 - settings.beta2.powi(step));
    *parameter -= settings.learning_rate * first / (second.sqrt() + settings.epsilon);
}

#[test]
fn adamw_agrees_with_its_definition_on_any_threads() -> Result<()> {
    let settings = AdamW { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
    let shape = [7, 9_001]; // more than one task
    let start = random(&shape, 1);
    let mut expected = values(&start);
    let mut moments = vec![(0f64, 0f64); expected.len()];
    for step in 1..=4 {
        let gradient = values(&random(&shape, 10 + step));
        for (index, value) in expected.iter_mut().enumerate() {
            reference_adamw(&settings, value, &mut moments[index], gradient[index], step as i32);
        }
    }
    let mut all = Vec::new();
    for threads in [1, 2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        let parameter = Var::from_tensor(&start)?;
        let (mut first, mut second) = (vec![0f32; 7 * 9_001], vec![0f32; 7 * 9_001]);
        for step in 1..=4 {
            let gradient = random(&shape, 10 + step);
            pool.install(|| settings.step(&parameter, &gradient, &mut first, &mut second, step))?;
        }
        all.push(crate::support::bits(&parameter));
        let expected = Tensor::from_slice(&expected, &shape, &Device::Cpu)?;
        assert_close("adamw", &parameter, &expected, 1e-6);
    }
    assert!(all.iter().all(|bits| *bits == all[0]), "threads change the bytes");
    Ok(())
}

#[test]
fn adamw_moves_nothing_where_a_gradient_is_not_finite() -> Result<()> {
    let settings = AdamW { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
    let parameter = Var::from_tensor(&random(&[3], 1))?;
    let before = crate::support::bits(&parameter);
    let (mut first, mut second) = (vec![0f32; 3], vec![0f32; 3]);
    for lost in [f32::NAN, f32::INFINITY] {
        let gradient = Tensor::new(&[1f32, lost, 2.0], &Device::Cpu)?;
        let result = settings.step(&parameter, &gradient, &mut first, &mut second, 1);
        assert_refused(result, "not finite", &[]);
    }
    assert_eq!((crate::support::bits(&parameter), first, second), (before, vec![0.0; 3], vec![0.0; 3]));
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
    let settings = AdamW { learning_rate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.1 };
    let result =
        settings.step(&Var::from_tensor(&logits)?, &random(&[3], 1), &mut [0.0; 6], &mut [0.0; 6], 1);
    assert_refused(result, "adamw", &["[2, 3]", "[3]"]);
    Ok(())
}

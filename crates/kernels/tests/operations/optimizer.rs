//! AdamW over several parameters at once, and gradients taken past candle.

use crate::support::{assert_close, assert_refused, bits, devices, random, values};
use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Result, Tensor, Var};
use kernels::{AdamW, Optimizer, StepStatistics};

const SETTINGS: AdamW = AdamW {
    learning_rate: 1e-2,
    beta1: 0.9,
    beta2: 0.999,
    epsilon: 1e-8,
    weight_decay: 0.1,
    largest_norm: None,
};

/// Less than a lane, one chunk and a rest, many chunks, a scalar.
const SHAPES: [&[usize]; 5] = [&[3], &[7, 9_001], &[5, 1, 4097], &[], &[1]];

/// Whether the parameter at `index` decays.
fn decays(index: usize) -> bool {
    index.is_multiple_of(2)
}

fn parameters(device: &Device) -> Result<Vec<Var>> {
    let start = |(index, shape): (usize, &&[usize])| {
        Var::from_tensor(&random(shape, index as u64).to_device(device)?)
    };
    SHAPES.iter().enumerate().map(start).collect()
}

fn optimizer(parameters: &[Var]) -> Result<Optimizer> {
    let named = |(index, var): (usize, &Var)| (format!("p{index}"), var.clone(), decays(index));
    Optimizer::new(parameters.iter().enumerate().map(named).collect())
}

fn store(parameters: &[Var], gradients: Vec<Tensor>) -> Result<GradStore> {
    let mut store = Tensor::zeros((), DType::F32, &Device::Cpu)?.backward()?;
    for (var, gradient) in parameters.iter().zip(gradients) {
        store.insert(var, gradient);
    }
    Ok(store)
}

/// Gradients of a step, from 1, on the CPU.
fn gradients(step: u64) -> Vec<Tensor> {
    SHAPES.iter().enumerate().map(|(index, shape)| random(shape, 100 * step + index as u64)).collect()
}

fn norm_of(gradients: &[Tensor]) -> f64 {
    gradients.iter().flat_map(values).map(|value| value * value).sum::<f64>().sqrt()
}

fn step(
    optimizer: &mut Optimizer,
    parameters: &[Var],
    gradients: Vec<Tensor>,
    settings: &AdamW,
) -> Result<StepStatistics> {
    let device = parameters[0].device();
    let moved = gradients.iter().map(|gradient| gradient.to_device(device)).collect::<Result<_>>()?;
    optimizer.step(&store(parameters, moved)?, settings)
}

/// PyTorch's AdamW in f64, as its documentation writes it, `steps` steps from the start.
fn reference(settings: &AdamW, steps: u64) -> Vec<Vec<f64>> {
    let mut all: Vec<Vec<f64>> =
        SHAPES.iter().enumerate().map(|(index, shape)| values(&random(shape, index as u64))).collect();
    let mut moments: Vec<Vec<(f64, f64)>> = all.iter().map(|values| vec![(0.0, 0.0); values.len()]).collect();
    for step in 1..=steps {
        let gradients = gradients(step);
        let largest = settings.largest_norm.unwrap_or(f64::INFINITY);
        let scale = (largest / (norm_of(&gradients) + 1e-6)).min(1.0);
        let power = step as i32;
        for (index, parameter) in all.iter_mut().enumerate() {
            let decay = if decays(index) { settings.learning_rate * settings.weight_decay } else { 0.0 };
            for ((value, moments), g) in
                parameter.iter_mut().zip(&mut moments[index]).zip(values(&gradients[index]))
            {
                let g = g * scale;
                *value -= decay * *value;
                moments.0 = settings.beta1 * moments.0 + (1.0 - settings.beta1) * g;
                moments.1 = settings.beta2 * moments.1 + (1.0 - settings.beta2) * g * g;
                let first = moments.0 / (1.0 - settings.beta1.powi(power));
                let second = moments.1 / (1.0 - settings.beta2.powi(power));
                *value -= settings.learning_rate * first / (second.sqrt() + settings.epsilon);
            }
        }
    }
    all
}

#[test]
fn adamw_agrees_with_its_definition_on_any_threads() -> Result<()> {
    for (device, largest_norm) in devices()
        .iter()
        .flat_map(|device| [None, Some(1.0), Some(1e9)].map(|largest_norm| (device, largest_norm)))
    {
        let settings = AdamW { largest_norm, ..SETTINGS };
        let expected = reference(&settings, 4);
        let mut all = Vec::new();
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            let parameters = parameters(device)?;
            let mut optimizer = optimizer(&parameters)?;
            for number in 1..=4 {
                let gradients = gradients(number);
                let norm = norm_of(&gradients);
                let found = pool.install(|| step(&mut optimizer, &parameters, gradients, &settings))?;
                assert!((found.gradient_norm / norm - 1.0).abs() < 1e-6, "{found:?}, expected {norm}");
            }
            assert_eq!(optimizer.steps(), 4);
            for (parameter, expected) in parameters.iter().zip(&expected) {
                let expected = Tensor::from_slice(expected, parameter.dims(), &Device::Cpu)?;
                assert_close("adamw", parameter, &expected, 1e-6);
            }
            all.push(parameters.iter().map(|parameter| bits(parameter)).collect::<Vec<_>>());
        }
        assert!(all.iter().all(|bits| *bits == all[0]), "threads change the bytes");
    }
    Ok(())
}

#[test]
fn a_restored_optimizer_goes_on_to_the_same_bytes() -> Result<()> {
    for device in devices() {
        let whole = parameters(device)?;
        let mut one = optimizer(&whole)?;
        for number in 1..=2 {
            step(&mut one, &whole, gradients(number), &SETTINGS)?;
        }
        let copies = whole.iter().map(|var| Var::from_tensor(&var.copy()?)).collect::<Result<Vec<_>>>()?;
        let mut other = optimizer(&copies)?;
        other.restore(one.steps(), &one.moments()?)?;
        step(&mut one, &whole, gradients(3), &SETTINGS)?;
        step(&mut other, &copies, gradients(3), &SETTINGS)?;
        for (found, expected) in copies.iter().zip(&whole) {
            assert_eq!(bits(found), bits(expected));
        }
        assert_refused(other.restore(1, &[]), "adamw", &["moments of 0", "expected 5"]);
        let mut moments = one.moments()?;
        moments.swap(0, 1);
        assert_refused(other.restore(1, &moments), "adamw", &["\"p0\"", "[7, 9001]", "[3]"]);
    }
    Ok(())
}

#[test]
fn a_gradient_that_is_lost_stops_the_optimizer() -> Result<()> {
    for (device, lost) in
        devices().iter().flat_map(|device| [f32::NAN, f32::INFINITY, 1e30].map(|lost| (device, lost)))
    {
        let parameters = parameters(device)?;
        let before: Vec<_> = parameters.iter().map(|var| bits(var)).collect();
        let mut optimizer = optimizer(&parameters)?;
        let start = optimizer.moments()?;
        let hostile = || -> Result<Vec<Tensor>> {
            let mut gradients = gradients(1);
            gradients[1] = gradients[1].flatten_all()?;
            let values: Vec<f32> = gradients[1].to_vec1()?;
            let values =
                values.into_iter().enumerate().map(|(at, value)| if at == 40_000 { lost } else { value });
            gradients[1] = Tensor::from_iter(values, &Device::Cpu)?.reshape(SHAPES[1])?;
            Ok(gradients)
        };
        // With a norm to be taken first, nothing has moved yet, and the next step may go on.
        let clipped = AdamW { largest_norm: Some(1.0), ..SETTINGS };
        let result = step(&mut optimizer, &parameters, hostile()?, &clipped);
        assert_refused(result, "not finite", &["\"p1\"", "of 63007"]);
        assert_eq!(parameters.iter().map(|var| bits(var)).collect::<Vec<_>>(), before);
        // Without, the step is torn: what holds the lost number stays, and nothing goes on before a restore.
        let result = step(&mut optimizer, &parameters, hostile()?, &SETTINGS);
        assert_refused(result, "not finite", &["\"p1\""]);
        assert_eq!(bits(&parameters[1])[40_000], before[1][40_000]);
        assert!(parameters.iter().all(|var| values(var).iter().all(|value| value.is_finite())));
        let result = step(&mut optimizer, &parameters, gradients(1), &SETTINGS);
        assert_refused(result, "adamw", &["restore a checkpoint"]);
        assert_refused(optimizer.moments(), "adamw", &["restore a checkpoint"]);
        optimizer.restore(0, &start)?;
        step(&mut optimizer, &parameters, gradients(1), &SETTINGS)?;
    }
    Ok(())
}

#[test]
fn large_and_tiny_gradients_are_steps() -> Result<()> {
    for (device, size) in
        devices().iter().flat_map(|device| [0f32, 1e-40, 1e-12, 1e4, 1e15].map(|size| (device, size)))
    {
        let var = Var::from_tensor(&random(&[33], 1).to_device(device)?)?;
        let mut optimizer = Optimizer::new(vec![("p".to_owned(), var.clone(), false)])?;
        let gradient = Tensor::full(size, 33, &Device::Cpu)?;
        step(&mut optimizer, std::slice::from_ref(&var), vec![gradient], &SETTINGS)?;
        let moved = values(&random(&[33], 1)).into_iter().zip(values(&var));
        // The first step has the length of the learning rate, unless ε is larger than the gradient.
        let expected = 1e-2 * f64::from(size) / (f64::from(size) + 1e-8);
        assert!(moved.into_iter().all(|(before, after)| (before - after - expected).abs() < 1e-6), "{size}");
    }
    Ok(())
}

#[test]
fn parameters_that_are_each_others_gradients_move_at_once() -> Result<()> {
    let make = || -> Result<[Var; 2]> {
        Ok([Var::from_tensor(&random(&[7], 1))?, Var::from_tensor(&random(&[7], 2))?])
    };
    let (shared, apart) = (make()?, make()?);
    let crossed = shared.iter().rev().map(|var| var.as_tensor().clone()).collect();
    let copied = apart.iter().rev().map(|var| var.copy()).collect::<Result<_>>()?;
    for (vars, gradients) in [(&shared, crossed), (&apart, copied)] {
        optimizer(vars)?.step(&store(vars, gradients)?, &SETTINGS)?;
    }
    assert_eq!(shared.map(|var| bits(&var)), apart.map(|var| bits(&var)));
    Ok(())
}

#[test]
fn what_does_not_fit_is_refused() -> Result<()> {
    let var = Var::from_tensor(&random(&[2, 3], 1))?;
    let named = |var: &Var| ("w".to_owned(), var.clone(), true);
    assert_refused(Optimizer::new(vec![named(&var), named(&var)]).map(drop), "adamw", &["\"w\"", "once"]);
    let double = Var::from_tensor(&random(&[2, 3], 1).to_dtype(DType::F64)?)?;
    assert_refused(Optimizer::new(vec![named(&double)]).map(drop), "adamw", &["\"w\"", "f32", "f64"]);
    let vars = [var];
    let mut optimizer = Optimizer::new(vec![named(&vars[0])])?;
    let mut refused = |gradients: Vec<Tensor>, parts: &[&str]| -> Result<()> {
        assert_refused(optimizer.step(&store(&vars, gradients)?, &SETTINGS), "adamw", parts);
        Ok(())
    };
    refused(vec![], &["\"w\"", "no gradient"])?;
    refused(vec![random(&[3], 1)], &["\"w\"", "[2, 3]", "[3]"])?;
    refused(vec![random(&[2, 3], 1).to_dtype(DType::F64)?], &["\"w\"", "F64"])?;
    // None of these tore the state.
    optimizer.step(&store(&vars, vec![random(&[2, 3], 1)])?, &SETTINGS)?;
    Ok(())
}

/// Towers that share a weight, which is also used outside of them.
fn shared(x: &Tensor, w: &Var) -> Result<Tensor> {
    let one = kernels::fused(|| kernels::quick_gelu(&kernels::linear(x, w, None)?))?;
    let two = kernels::fused(|| kernels::linear(&one, w, None))?;
    (two.sqr()?.sum_all()? + w.as_tensor().sqr()?.sum_all()?)? + one.sum_all()?
}

#[test]
fn gradients_are_those_of_candle() -> Result<()> {
    for device in devices() {
        let (x, w) = (
            random(&[5, 3], 1).to_device(device)?,
            Var::from_tensor(&random(&[3, 3], 2).to_device(device)?)?,
        );
        let loss = shared(&x, &w)?;
        let expected = loss.backward()?.get(&w).expect("a gradient").clone();
        for _ in 0..2 {
            let found = kernels::backward(&loss)?;
            assert_close("backward", found.get(&w).expect("a gradient"), &expected, 1e-6);
        }
        // Nothing of it is left behind for candle's own.
        let again = loss.backward()?.get(&w).expect("a gradient").clone();
        assert_eq!(bits(&again), bits(&expected));
    }
    Ok(())
}

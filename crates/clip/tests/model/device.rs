//! The model on the first CUDA device against the CPU. Nothing is tested where there is no device, and that is said.

use clip::candle_core::{Device, Result, Tensor};
use clip::{Clip, Contrastive, DeviceChoice, Mode, Objective, Precision, Seed, kernels, train, zero_shot};

use crate::support::{Folder, GoldenModel, TOWERS, assert_close, nano, pairs, recipe};
use crate::training::Saver;

fn device() -> Option<Device> {
    match DeviceChoice::Cuda(0).open(Precision::Float32) {
        Ok(device) => Some(device),
        Err(error) => {
            eprintln!("SKIPPED: the model was not tested on CUDA: {error}");
            None
        }
    }
}

/// Loss and gradient of every parameter, then the running statistics, by name and on the CPU.
fn step(model: &Clip, pixels: &Tensor, tokens: &Tensor) -> Result<Vec<(String, Tensor)>> {
    let images = model.encode_image(pixels, Mode::Train)?;
    let texts = model.encode_text(tokens)?;
    let loss = clip::loss::info_nce(&images, &texts, model.logit_scale()?)?;
    let gradients = kernels::backward(&loss)?;
    let mut found = vec![("loss".to_owned(), loss.to_device(&Device::Cpu)?)];
    for parameter in model.all_parameters() {
        let gradient = gradients.get(parameter.var.as_tensor()).expect("a gradient of every parameter");
        found.push((parameter.name, gradient.to_device(&Device::Cpu)?));
    }
    for (name, running) in model.parameters.all_running() {
        found.push((name, running.to_device(&Device::Cpu)?));
    }
    Ok(found)
}

/// A small model of every kind of tower.
fn models() -> Result<Vec<Clip>> {
    let golden = TOWERS.iter().map(|tower| GoldenModel::open(tower)?.load());
    std::iter::once(nano(3)).chain(golden).collect()
}

/// Six pairs as `model` takes them: pixels and tokens.
fn batch(model: &Clip) -> Result<(Tensor, Tensor)> {
    let pairs = pairs(6, model.config.image.resolution());
    let objective = Contrastive::new(model, &pairs)?;
    let (pixels, _) = objective.batch(&[0, 1, 2, 3, 4, 5], 0, &Seed::new(0))?;
    let vocabulary = model.parameters.get("token_embedding.weight")?.dim(0)? as u32;
    let length = model.config.text.context_length.min(9);
    let tokens: Vec<u32> = (0..6 * length as u32).map(|at| at * 37 % vocabulary).collect();
    Ok((pixels, Tensor::from_vec(tokens, (6, length), &Device::Cpu)?))
}

/// Each rounding to bf16 is off by 2^-9 of the value at most; some hundred of them between input and gradient add like a
/// random walk.
#[test]
fn a_step_in_bf16_is_near_one_in_f32() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    if std::env::var_os("CLEANBENCH_EMULATED").is_some() {
        eprintln!("SKIPPED: the emulated device computes in f32 alone");
        return Ok(());
    }
    let norm = |values: &Tensor| values.sqr()?.sum_all()?.to_scalar::<f32>().map(f64::from);
    for model in models()? {
        let (pixels, tokens) = batch(&model)?;
        let on_device = model.to_device(&device)?.with_precision(Precision::Bfloat16)?;
        let expected = step(&model, &pixels, &tokens)?;
        let found = step(&on_device, &pixels, &tokens)?;
        assert_close("loss", &found[0].1, &expected[0].1, 2e-2);
        let (mut distance, mut length) = (0.0, 0.0);
        let gradients = model.all_parameters().len();
        for ((_, expected), (_, found)) in expected.iter().zip(&found).skip(1).take(gradients) {
            distance += norm(&(found - expected)?)?;
            length += norm(expected)?;
        }
        let share = (distance / length).sqrt();
        println!("gradients in bf16 are {share:.3} of their length away from those in f32");
        assert!(share < 0.1, "gradients are {share} of their length away");
    }
    Ok(())
}

#[test]
fn a_step_on_cuda_is_a_step_on_the_cpu() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    for model in models()? {
        let (pixels, tokens) = batch(&model)?;
        let on_device = model.to_device(&device)?; // before a step moves the running statistics
        let expected = step(&model, &pixels, &tokens)?;
        let found = step(&on_device, &pixels, &tokens)?;
        for ((name, expected), (_, found)) in expected.iter().zip(&found) {
            assert_close(name, found, expected, 1e-3);
        }
    }
    Ok(())
}

#[test]
fn training_on_cuda_follows_the_cpu_and_goes_on_from_a_snapshot() -> Result<()> {
    let Some(device) = device() else { return Ok(()) };
    let folder = Folder::new("cuda");
    let pairs = pairs(20, 16);
    let run = |model: &Clip, monitor: &mut Saver| {
        train(model, &Contrastive::new(model, &pairs)?, &recipe(), &Seed::new(7), monitor)
    };
    let (model, snapshot) = (nano(1)?, folder.file("snapshot"));
    let on_device = model.to_device(&device)?;
    let (mut plain, mut saver) = (Saver::default(), Saver::saving(snapshot.clone()));
    run(&model, &mut plain)?.expect("trained");
    run(&on_device, &mut saver)?.expect("trained");
    let again = nano(1)?.to_device(&device)?;
    run(&again, &mut Saver { stop_after: Some(3), ..Saver::saving(snapshot.clone()) })?.expect_err("stopped");
    run(&again, &mut Saver { resume: true, ..Saver::saving(snapshot) })?.expect("trained");
    for (expected, (found, again)) in
        model.all_parameters().iter().zip(on_device.all_parameters().iter().zip(&again.all_parameters()))
    {
        let is_noise = expected.name.ends_with("in_proj_bias") || expected.name.ends_with("k_proj.bias");
        let [found, again] = [found, again].map(|parameter| parameter.var.to_device(&Device::Cpu));
        let (found, again) = (found?, again?);
        // The keys' bias has a gradient of 0 but for rounding, whose sign AdamW turns into steps.
        if !is_noise {
            assert_close(&expected.name, &found, expected.var.as_tensor(), 2e-2);
        }
        assert_close(&expected.name, &again, &found, 0.0);
    }
    let classes = ["cat", "dog"].map(str::to_owned);
    let weights = zero_shot::weights(&on_device, &classes, &["a {}".to_owned()])?;
    assert!(weights.device().is_cpu());
    Ok(())
}

//! What the released code does otherwise: its count of steps, its groups of decay, its optimizer that goes on.

use std::collections::BTreeSet;
use std::path::Path;

use clip::candle_core::{DType, Result, Tensor};
use clip::kernels;
use clip::{
    Clip, Contrastive, Decay, Mode, Objective, OptimizerState, Parameter, Recipe, Schedule, Seed, Stopped,
    loss, train, train_on,
};
use serde_json::json;

use crate::support::{Folder, GoldenModel, TOWERS, nano, pairs, recipe, values};
use crate::training::Saver;

/// The same batch in every step: originals, then augmented views.
struct Fixed {
    pixels: Tensor,
    tokens: Tensor,
}

impl Objective for Fixed {
    type Batch = ();

    fn examples(&self) -> usize {
        2
    }

    fn parameters(&self, model: &Clip) -> Vec<Parameter> {
        model.all_parameters()
    }

    fn batch(&self, _indices: &[usize], _epoch: usize, _seed: &Seed) -> Result<()> {
        Ok(())
    }

    fn loss(&self, model: &Clip, (): &()) -> Result<Tensor> {
        let images = model.encode_image(&self.pixels, Mode::Train)?.chunk(2, 0)?;
        let texts = model.encode_text(&self.tokens)?.chunk(2, 0)?;
        let scale = model.logit_scale()?;
        let within =
            (loss::in_modal(&images[0], &images[1], scale)? + loss::in_modal(&texts[0], &texts[1], scale)?)?;
        loss::info_nce(&images[0], &texts[0], scale)? + (within * 0.5)?
    }
}

#[test]
fn the_released_schedule_starts_an_epoch_late_and_runs_past_its_end() {
    for case in golden::json("schedule.json").as_array().expect("cases") {
        let number = |key: &str| case[key].as_u64().expect("a count") as usize;
        let expected = case["learning_rate"].as_array().expect("learning rates");
        let (total, warmup_steps) = (number("total_steps"), number("warmup_steps"));
        // The files go on for some steps past the end: an epoch of as many.
        let steps_per_epoch = expected.len() - total;
        let learning_rate = case["base"].as_f64().expect("a rate");
        for (schedule, late) in [(Schedule::FromZero, 0), (Schedule::Released, steps_per_epoch)] {
            let recipe = Recipe { learning_rate, warmup_steps, schedule, ..Recipe::paper() };
            for step in 0..total {
                let found = recipe.learning_rate_at(recipe.scheduled_step(step, steps_per_epoch), total);
                let expected = expected[step + late].as_f64().expect("a rate");
                assert!((found - expected).abs() <= 1e-12, "{schedule:?} {step}: {found}, not {expected}");
            }
        }
    }
}

#[test]
fn decay_spares_the_parameters_that_the_released_code_spares() -> Result<()> {
    let info = golden::json("info.json");
    for tower in TOWERS {
        let parameters = GoldenModel::open(tower)?.load()?.all_parameters();
        let spared = |decay: Decay| -> BTreeSet<&str> {
            let spared = parameters.iter().filter(|parameter| !decay.applies(parameter));
            spared.map(|parameter| parameter.name.as_str()).collect()
        };
        for (decay, rule) in [(Decay::Released, "released"), (Decay::ByType, "by_type")] {
            let names = info[format!("{tower}_no_decay_{rule}")].as_array().expect("names");
            let expected: BTreeSet<&str> = names.iter().filter_map(|name| name.as_str()).collect();
            assert_eq!(spared(decay), expected, "{tower} {rule}");
        }
        assert!(spared(Decay::AllButBiases).iter().all(|name| name.contains("bias")), "{tower}");
    }
    Ok(())
}

#[test]
fn three_steps_of_training_are_the_released_ones() -> Result<()> {
    for tower in TOWERS {
        let entry = GoldenModel::open(tower)?;
        let (model, golden) = (entry.load()?, &entry.numbers);
        let both = |name: &str| Tensor::cat(&[&golden[name], &golden[&format!("augmented_{name}")]], 0);
        let objective = Fixed {
            pixels: both("pixels")?.permute((0, 2, 3, 1))?.contiguous()?,
            tokens: both("tokens")?.to_dtype(DType::U32)?,
        };
        let recipe = Recipe {
            epochs: 6,
            batch_size: 2,
            learning_rate: 1e-3,
            warmup_steps: 2,
            decay: Decay::Released,
            ..Recipe::paper()
        };
        let mut monitor = Saver { stop_after: Some(3), ..Saver::default() };
        assert_eq!(train(&model, &objective, &recipe, &Seed::new(0), &mut monitor)?, Err(Stopped));
        for (step, found) in monitor.losses.iter().enumerate() {
            let expected = golden[&format!("adamw_released_loss_{step}")].to_vec0::<f32>()?;
            assert!((found - expected).abs() <= 1e-4 * expected, "step {step}: {found}, not {expected}");
        }
        let mut compared = 0;
        for Parameter { name, var, .. } in model.all_parameters() {
            let Some(gradient) = golden.get(&format!("cleanclip_1_grad.{name}")) else { continue };
            let Some(after) = golden.get(&format!("adamw_released_after3.{name}")) else { continue };
            let found = if var.rank() == 4 { var.permute((0, 3, 1, 2))? } else { var.as_detached_tensor() };
            let (found, expected, gradient) = (values(&found), values(after), values(gradient));
            for ((found, expected), gradient) in found.iter().zip(&expected).zip(&gradient) {
                // Where a gradient is 0 but for rounding, a step in either direction is right.
                let close = (found - expected).abs() <= 5e-5 || gradient.abs() < 1e-5;
                assert!(close, "{tower} {name}: {found}, not {expected}");
            }
            compared += 1;
        }
        assert!(compared > 20, "{tower}: {compared} parameters");
    }
    Ok(())
}

/// Trains one epoch and leaves its snapshot in `path`.
fn first_run(model: &Clip, objective: &Contrastive<'_>, path: &Path) -> Result<()> {
    let recipe = Recipe { epochs: 1, ..recipe() };
    train(model, objective, &recipe, &Seed::new(7), &mut Saver::saving(path.to_owned()))?.expect("trained");
    Ok(())
}

#[test]
fn a_run_with_carried_moments_is_the_same_optimizer_going_on() -> Result<()> {
    let (folder, pairs) = (Folder::new("carried"), pairs(20, 16));
    let (snapshot, kept) = (folder.file("snapshot"), folder.file("moments"));
    let model = nano(1)?;
    let objective = Contrastive::new(&model, &pairs)?;
    let indices: Vec<usize> = (0..8).collect();
    let (pixels, tokens) = objective.batch(&indices, 0, &Seed::new(0))?;
    let both = |tensor: &Tensor| Tensor::cat(&[tensor, tensor], 0);
    let fixed = Fixed { pixels: both(&pixels)?, tokens: both(&tokens)? };
    let recipe = Recipe { epochs: 2, batch_size: 2, ..recipe() };

    // One optimizer, taken twice through the schedule.
    let expected = nano(1)?;
    let mut optimizer = Decay::ByType.optimizer(&expected.all_parameters())?;
    for step in [0, 1, 0, 1] {
        let gradients = kernels::backward(&fixed.loss(&expected, &())?)?;
        optimizer.step(&gradients, &recipe.adamw(recipe.learning_rate_at(step, 2)))?;
        expected.clamp_logit_scale()?;
    }

    train(&model, &fixed, &recipe, &Seed::new(7), &mut Saver::saving(snapshot.clone()))?.expect("trained");
    OptimizerState::read(&snapshot)?.save(&kept)?;
    let carried = OptimizerState::read(&kept)?;
    assert_eq!(carried.steps(), 2);
    let mut monitor = Saver::saving(folder.file("second"));
    train_on(&model, &fixed, &recipe, &Seed::new(7), Some(&carried), &mut monitor)?.expect("trained");
    assert_eq!(OptimizerState::read(&folder.file("second"))?.steps(), 4);
    for (found, expected) in model.all_parameters().iter().zip(expected.all_parameters()) {
        assert!(values(&found.var) == values(&expected.var), "{}", expected.name);
    }
    Ok(())
}

#[test]
fn a_stopped_run_with_carried_moments_goes_on_to_the_same_bytes() -> Result<()> {
    let (folder, pairs) = (Folder::new("carried-resume"), pairs(20, 16));
    let run = |monitor: &mut Saver, carried: bool| -> Result<Vec<f64>> {
        let model = nano(1)?;
        let objective = Contrastive::new(&model, &pairs)?;
        first_run(&model, &objective, &folder.file("first"))?;
        let state = OptimizerState::read(&folder.file("first"))?;
        let recipe = Recipe { schedule: Schedule::Released, decay: Decay::Released, ..recipe() };
        let carried = carried.then_some(&state);
        let ended = train_on(&model, &objective, &recipe, &Seed::new(8), carried, monitor)?;
        assert_eq!(ended.is_err(), monitor.stop_after.is_some());
        Ok(model.all_parameters().iter().flat_map(|parameter| values(&parameter.var)).collect())
    };
    let whole = run(&mut Saver::default(), true)?;
    assert!(whole != run(&mut Saver::default(), false)?, "carried moments change nothing");
    let mut monitor = Saver { stop_after: Some(3), ..Saver::saving(folder.file("second")) };
    run(&mut monitor, true)?;
    let mut monitor = Saver { resume: true, ..Saver::saving(folder.file("second")) };
    assert!(run(&mut monitor, true)? == whole, "resumed, another result");
    assert_eq!(monitor.losses.len(), 2);
    Ok(())
}

#[test]
fn moments_that_do_not_fit_are_an_error() -> Result<()> {
    let (folder, pairs) = (Folder::new("misfit"), pairs(20, 16));
    let path = folder.file("model");
    let model = nano(1)?;
    model.save(&path, &Default::default())?;
    let message = |path: &Path| OptimizerState::read(path).err().expect("an error").to_string();
    assert!(message(&path).contains("moments"), "{}", message(&path));
    let objective = Contrastive::new(&model, &pairs)?;
    first_run(&model, &objective, &folder.file("first"))?;
    let carried = OptimizerState::read(&folder.file("first"))?;
    // A golden model has parameters of other names.
    let other = GoldenModel::open(TOWERS[1])?.load()?;
    let objective = Contrastive::new(&other, &pairs)?;
    let result =
        train_on(&other, &objective, &recipe(), &Seed::new(0), Some(&carried), &mut Saver::default());
    let error = result.expect_err("other parameters").to_string();
    assert!(error.contains("no moments of parameter") || error.contains("do not fit"), "{error}");
    Ok(())
}

#[test]
fn what_is_usual_is_not_written_down() {
    let plain = serde_json::to_value(Recipe::paper()).expect("JSON");
    assert!(Recipe::OPTIONAL.iter().all(|key| plain.get(key).is_none()), "stored keys would change: {plain}");
    let released = serde_json::to_value(Recipe::released()).expect("JSON");
    assert_eq!((&released["schedule"], &released["decay"]), (&json!("released"), &json!("released")));
    let read = serde_json::from_value::<Recipe>(released).expect("a recipe");
    assert_eq!(read, Recipe::released());
    assert!(Recipe::PRESETS.iter().all(|name| Recipe::preset(name).is_some()));
}

//! A defense in any language: a program that reads a job and weights and writes other weights.
//!
//! The job (`contract::external`) is of the kind `repair-model` and names: `model`, safetensors under OpenAI's names,
//! whose metadata `cleanbench` holds sizes and vocabulary; `optimizer`, the moments after training, or null;
//! `clean-pairs` and `clean-images`, webdataset tars, with `classes`, the names that labels count; `recipe`; `resolution` in
//! pixels; `seed`; `settings`. The program writes `output/model.safetensors` with the same names and shapes in f32.

use anyhow::Result;
use clip::{Clip, Monitor};
use contract::external::{Job, Program, ProgramSettings};
use contract::{Card, DefenderView, Defense, Entry, Granted, Model, Preset, RepairModel, preset, settings};
use serde_json::{Value, json};

/// The defense.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "external",
        title: "External program",
        summary: "Runs a program in any language that writes repaired weights.",
        paper: "none",
        follows: "the program",
        departs: "nothing",
        version: 1,
    },
    presets,
    build,
};

fn presets() -> Vec<Preset> {
    vec![
        preset("tiny", ProgramSettings::unnamed(3600)),
        preset("smoke", ProgramSettings::unnamed(60)),
        preset("paper", ProgramSettings::unnamed(86_400)),
        preset("released", ProgramSettings::unnamed(86_400)),
    ]
}

fn build(resolved: Value) -> Result<Defense> {
    Ok(Defense::RepairModel(Box::new(External { program: Program::new(settings(resolved)?)? })))
}

struct External {
    program: Program,
}

impl RepairModel for External {
    fn ready(&self) -> Result<()> {
        self.program.check()
    }

    fn work(&self, granted: &Granted<'_>) -> f64 {
        // Programs do not say; as much as the training's recipe on the clean pairs is a guess.
        (granted.recipe.epochs * granted.clean_pairs) as f64
    }

    fn repair(&self, model: Clip, view: &DefenderView<'_>, monitor: &mut dyn Monitor) -> Result<Model> {
        let mut job = Job::new("repair-model", &view.seed.child("external"))?
            .with("resolution", json!(model.config.image.resolution()))
            .with("recipe", json!(view.recipe))
            .with("classes", json!(view.classes))
            .with("optimizer", Value::Null)
            .pairs("clean-pairs", view.clean_pairs)?
            .images("clean-images", view.clean_images)?;
        let (file, path) = job.input("model.safetensors");
        model.save(&file, &Default::default())?;
        job = job.with("model", path);
        if let Some(moments) = view.optimizer {
            let (file, path) = job.input("optimizer.safetensors");
            std::fs::copy(moments, file)?;
            job = job.with("optimizer", path);
        }
        let done = job.run(&self.program, "model.safetensors", || monitor.stops())?;
        Ok(Model { clip: model.with_weights(done.path())?, head: None })
    }
}

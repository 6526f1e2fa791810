//! What `train` promises: the same bytes again, with any number of threads, after a stop; errors that say where.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clip::candle_core::{Result, Tensor};
use clip::{Clip, Contrastive, Monitor, Objective, Parameter, Recipe, Seed, Snapshot, Step, Stopped, train};

use crate::support::{Folder, nano, pairs, recipe, values};

/// Saves each epoch to a file, resumes from it where told, and stops after some steps.
#[derive(Default)]
pub(crate) struct Saver {
    pub(crate) snapshot: Option<PathBuf>,
    pub(crate) resume: bool,
    pub(crate) stop_after: Option<usize>,
    pub(crate) losses: Vec<f32>,
}

impl Saver {
    /// One that saves to a file.
    pub(crate) fn saving(snapshot: PathBuf) -> Self {
        Self { snapshot: Some(snapshot), ..Self::default() }
    }
}

impl Monitor for Saver {
    fn resume(&mut self) -> Option<PathBuf> {
        self.snapshot.clone().filter(|_| self.resume)
    }

    fn step(&mut self, step: &Step) -> ControlFlow<()> {
        self.losses.push(step.loss);
        if self.stop_after == Some(step.step) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn stops(&mut self) -> bool {
        false
    }

    fn epoch_end(&mut self, _epoch: usize, snapshot: &Snapshot<'_>) -> Result<()> {
        self.snapshot.as_deref().map_or(Ok(()), |path| snapshot.save(path))
    }
}

fn run(model: &Clip, monitor: &mut Saver) -> Result<std::result::Result<(), Stopped>> {
    let pairs = pairs(20, 16);
    train(model, &Contrastive::new(model, &pairs)?, &recipe(), &Seed::new(7), monitor)
}

fn saved(model: &Clip, path: &Path) -> Result<Vec<u8>> {
    model.save(path, &BTreeMap::from([("made-by".to_owned(), "test".to_owned())]))?;
    Ok(std::fs::read(path).expect("the saved model"))
}

#[test]
fn training_gives_the_same_bytes_with_any_threads() -> Result<()> {
    let folder = Folder::new("threads");
    let mut all = Vec::new();
    for threads in [2, 2, 1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
        let model = nano(1)?;
        let before = saved(&model, &folder.file("model"))?;
        let mut monitor = Saver::default();
        assert_eq!(pool.install(|| run(&model, &mut monitor))?, Ok(()));
        assert_eq!(monitor.losses.len(), 4);
        let after = saved(&model, &folder.file("model"))?;
        assert_ne!(before, after, "training changed nothing");
        all.push(after);
    }
    assert!(all.iter().all(|bytes| *bytes == all[0]), "the same training gave other bytes");
    Ok(())
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() -> Result<()> {
    let folder = Folder::new("resume");
    let model = nano(1)?;
    run(&model, &mut Saver::default())?.expect("trained");
    let expected = saved(&model, &folder.file("model"))?;
    let mut monitor = Saver { stop_after: Some(3), ..Saver::saving(folder.file("snapshot")) };
    assert_eq!(run(&nano(1)?, &mut monitor)?, Err(Stopped));
    // The snapshot holds everything: it goes into a model of other values.
    let model = nano(2)?;
    let mut monitor = Saver { resume: true, stop_after: None, losses: Vec::new(), ..monitor };
    assert_eq!(run(&model, &mut monitor)?, Ok(()));
    assert_eq!(monitor.losses.len(), 2, "only the second epoch is left");
    assert_eq!(saved(&model, &folder.file("model"))?, expected);
    Ok(())
}

#[test]
fn a_damaged_snapshot_is_an_error() -> Result<()> {
    let folder = Folder::new("snapshot");
    let path = folder.file("snapshot");
    let damaged = |bytes: &[u8]| {
        std::fs::write(&path, bytes).expect("a written file");
        run(&nano(1)?, &mut Saver { resume: true, ..Saver::saving(path.clone()) })
    };
    assert!(damaged(b"not a snapshot").is_err());
    nano(1)?.save(&path, &BTreeMap::new())?;
    let model = std::fs::read(&path).expect("the saved model");
    let error = damaged(&model).expect_err("a model is no snapshot").to_string();
    assert!(error.contains("holds no"), "{error}");
    Ok(())
}

/// Gives the loss that `loss` makes of the logit scale; trains the parameters named.
struct Odd<'a> {
    names: &'a [&'a str],
    loss: fn(&Tensor) -> Result<Tensor>,
}

impl Objective for Odd<'_> {
    type Batch = ();

    fn examples(&self) -> usize {
        16
    }

    fn parameters(&self, model: &Clip) -> Vec<Parameter> {
        let all = model.all_parameters().into_iter();
        all.filter(|parameter| self.names.contains(&parameter.name.as_str())).collect()
    }

    fn batch(&self, _indices: &[usize], _epoch: usize, _seed: &Seed) -> Result<()> {
        Ok(())
    }

    fn loss(&self, model: &Clip, (): &()) -> Result<Tensor> {
        (self.loss)(model.logit_scale()?)
    }
}

fn message(objective: &Odd<'_>) -> Result<String> {
    let result = train(&nano(1)?, objective, &recipe(), &Seed::new(7), &mut Saver::default());
    Ok(result.expect_err("a run that cannot go on").to_string())
}

#[test]
fn what_goes_wrong_is_named() -> Result<()> {
    let steep = message(&Odd { names: &["logit_scale"], loss: |scale| (scale - scale)?.sqrt() })?;
    for part in ["step 1 of 4", "learning rate 1e-3", "\"logit_scale\"", "not finite"] {
        assert!(steep.contains(part), "lacks {part:?}: {steep}");
    }
    let lost = message(&Odd { names: &["logit_scale"], loss: |scale| (scale * -1.0)?.log() })?;
    for part in ["step 1 of 4", "learning rate 1e-3", "loss is NaN"] {
        assert!(lost.contains(part), "lacks {part:?}: {lost}");
    }
    let idle = message(&Odd { names: &["logit_scale", "ln_final.bias"], loss: |scale| scale.sqr() })?;
    assert!(idle.contains("\"ln_final.bias\" received no gradient"), "{idle}");
    Ok(())
}

#[test]
fn overflow_and_unusable_recipes_are_errors() -> Result<()> {
    let (model, pairs) = (nano(1)?, pairs(20, 16));
    let objective = Contrastive::new(&model, &pairs)?;
    let with = |recipe: &Recipe| {
        let result = train(&model, &objective, recipe, &Seed::new(7), &mut Saver::default());
        result.expect_err("a run that cannot go on").to_string()
    };
    let error = with(&Recipe { learning_rate: f64::NAN, ..recipe() });
    assert!(error.contains("learning-rate") && error.contains("NaN"), "{error}");
    let error = with(&Recipe { gradient_clip: Some(0.0), ..recipe() });
    assert!(error.contains("gradient-clip") && error.contains('0'), "{error}");
    let error = with(&Recipe { batch_size: 21, ..recipe() });
    assert!(error.contains("20 examples") && error.contains("21"), "{error}");
    let error = with(&Recipe { learning_rate: 1e30, ..recipe() });
    assert!(error.contains("step 2 of 4") && error.contains("learning rate"), "{error}");
    Ok(())
}

#[test]
fn gradients_are_clipped_only_where_a_recipe_says_so() -> Result<()> {
    let pairs = pairs(20, 16);
    let after = |gradient_clip: Option<f64>| -> Result<Vec<f64>> {
        let recipe = Recipe { gradient_clip, ..recipe() };
        let text = serde_json::to_string(&recipe).expect("a recipe is JSON");
        assert_eq!(serde_json::from_str::<Recipe>(&text).expect("the same recipe"), recipe);
        let model = nano(1)?;
        let objective = Contrastive::new(&model, &pairs)?;
        train(&model, &objective, &recipe, &Seed::new(7), &mut Saver::default())?.expect("trained");
        Ok(model.all_parameters().iter().flat_map(|parameter| values(&parameter.var)).collect())
    };
    let plain = after(None)?;
    assert!(after(Some(1e9))? == plain, "a norm that is never reached changes the training");
    assert!(after(Some(1e-9))? != plain, "a tiny norm changes nothing");
    Ok(())
}

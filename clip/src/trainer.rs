//! The one training loop: shuffle, prepare ahead, differentiate, step, save.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Instant;

use candle_core::{Device, Result, Tensor, bail};
use rand::seq::SliceRandom;

use crate::{Clip, Parameter, Recipe, Seed, checkpoint};

/// What is minimised, over which examples and which parameters.
pub trait Objective: Sync {
    /// A batch as it is handed to [`Objective::loss`].
    type Batch: Send;

    /// Number of training examples.
    fn examples(&self) -> usize;

    /// The parameters that are trained. Each must receive a gradient in every step.
    fn parameters(&self, model: &Clip) -> Vec<Parameter>;

    /// Prepares the examples at `indices`; pure, called ahead on another thread. `epoch` counts from 0; `seed` is
    /// the batch's own.
    fn batch(&self, indices: &[usize], epoch: usize, seed: &Seed) -> Result<Self::Batch>;

    /// The loss of a batch, a scalar.
    fn loss(&self, model: &Clip, batch: &Self::Batch) -> Result<Tensor>;
}

/// One step, as a monitor sees it.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Epoch, from 1.
    pub epoch: usize,
    /// Epochs in all.
    pub epochs: usize,
    /// Steps done, over all epochs.
    pub step: usize,
    /// Steps in all.
    pub steps: usize,
    /// Loss before the step.
    pub loss: f32,
    /// Examples per second since this call of `train` began.
    pub examples_per_second: f64,
}

/// Watches a training run, saves its state, and may stop it.
pub trait Monitor {
    /// A snapshot to go on from, if there is one.
    fn resume(&mut self) -> Option<PathBuf>;

    /// After each step; `Break` stops the run.
    fn step(&mut self, step: &Step) -> ControlFlow<()>;

    /// After each epoch, counted from 1.
    fn epoch_end(&mut self, epoch: usize, snapshot: &Snapshot<'_>) -> Result<()>;
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainOutcome {
    /// All epochs are done.
    Finished,
    /// The monitor stopped it; it goes on from the last snapshot.
    Stopped,
}

/// AdamW's state.
struct Moments {
    first: Vec<Vec<f32>>,
    second: Vec<Vec<f32>>,
    steps: u64,
}

/// The state of a run at the end of an epoch.
pub struct Snapshot<'a> {
    model: &'a Clip,
    parameters: &'a [Parameter],
    moments: &'a Moments,
    epoch: usize,
}

impl Snapshot<'_> {
    /// Writes parameters, running statistics, moments and epoch to one file that appears whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = Vec::new();
        for (index, parameter) in self.parameters.iter().enumerate() {
            let name = &parameter.name;
            tensors.push((format!("value.{name}"), parameter.var.as_tensor().clone()));
            for (kind, moments) in [("first", &self.moments.first), ("second", &self.moments.second)] {
                let values = Tensor::from_slice(&moments[index], parameter.var.dims(), &Device::Cpu)?;
                tensors.push((format!("{kind}.{name}"), values));
            }
        }
        for (name, value) in self.model.parameters.all_running() {
            tensors.push((format!("running.{name}"), value));
        }
        let state = BTreeMap::from([
            ("epoch".to_owned(), self.epoch.to_string()),
            ("steps".to_owned(), self.moments.steps.to_string()),
        ]);
        checkpoint::write(path, &tensors, &state)
    }
}

/// Puts a snapshot's values into model and moments; returns the epochs done.
fn restore(path: &Path, model: &Clip, parameters: &[Parameter], moments: &mut Moments) -> Result<usize> {
    let (tensors, state) = checkpoint::read(path)?;
    let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    let get = |name: String| match tensors.get(&name) {
        Some(tensor) => Ok(tensor),
        None => bail!("{}: holds no {name:?}", path.display()),
    };
    for (index, parameter) in parameters.iter().enumerate() {
        let name = &parameter.name;
        parameter.var.set(get(format!("value.{name}"))?)?;
        moments.first[index] = get(format!("first.{name}"))?.flatten_all()?.to_vec1()?;
        moments.second[index] = get(format!("second.{name}"))?.flatten_all()?.to_vec1()?;
    }
    for (name, _) in model.parameters.all_running() {
        model.parameters.set_running(&name, get(format!("running.{name}"))?)?;
    }
    let number = |key: &str| state.get(key).and_then(|value| value.parse::<u64>().ok());
    match (number("epoch"), number("steps")) {
        (Some(epoch), Some(steps)) => {
            moments.steps = steps;
            Ok(epoch as usize)
        }
        _ => bail!("{}: no snapshot of a training run", path.display()),
    }
}

/// Trains `model` in place. Batches are shuffled by `seed.child("shuffle")`, prepared ahead on another thread, and
/// the last incomplete one of an epoch is dropped. Goes on from the monitor's snapshot, if it has one, to the same
/// bytes as a run that was never stopped.
///
/// An error where there are fewer examples than one batch, where a parameter receives no gradient, and where a
/// loss or gradient is not finite (it names step, parameter and learning rate).
pub fn train<O: Objective>(
    model: &Clip,
    objective: &O,
    recipe: &Recipe,
    seed: &Seed,
    monitor: &mut dyn Monitor,
) -> Result<TrainOutcome> {
    recipe.check()?;
    let steps_per_epoch = objective.examples() / recipe.batch_size;
    if steps_per_epoch == 0 {
        bail!("{} examples do not fill one batch of {}", objective.examples(), recipe.batch_size);
    }
    let parameters = objective.parameters(model);
    let zeros =
        || parameters.iter().map(|parameter| vec![0f32; parameter.var.elem_count()]).collect::<Vec<_>>();
    let mut moments = Moments { first: zeros(), second: zeros(), steps: 0 };
    let start = match monitor.resume() {
        Some(path) => restore(&path, model, &parameters, &mut moments)?,
        None => 0,
    };
    let steps = recipe.epochs * steps_per_epoch;
    let (started, mut done_here) = (Instant::now(), 0);
    std::thread::scope(|scope| {
        let (sender, batches) = mpsc::sync_channel(2);
        scope.spawn(move || {
            for epoch in start..recipe.epochs {
                let order = shuffled(objective.examples(), &seed.child("shuffle").at(epoch as u64));
                for (index, indices) in order.chunks_exact(recipe.batch_size).enumerate() {
                    let own = seed.child("batch").at((epoch * steps_per_epoch + index) as u64);
                    if sender.send(objective.batch(indices, epoch, &own)).is_err() {
                        return; // the trainer stopped
                    }
                }
            }
        });
        for epoch in start..recipe.epochs {
            for index in 0..steps_per_epoch {
                let step = epoch * steps_per_epoch + index;
                let Ok(batch) = batches.recv() else { bail!("the thread that prepares batches ended early") };
                let learning_rate = recipe.learning_rate_at(step, steps);
                let loss =
                    optimise(model, objective, &batch?, recipe, learning_rate, &parameters, &mut moments)
                        .map_err(|error| {
                            error.context(format!(
                                "step {} of {steps}, learning rate {learning_rate:e}",
                                step + 1
                            ))
                        })?;
                done_here += recipe.batch_size;
                let examples_per_second = done_here as f64 / started.elapsed().as_secs_f64();
                let event = Step {
                    epoch: epoch + 1,
                    epochs: recipe.epochs,
                    step: step + 1,
                    steps,
                    loss,
                    examples_per_second,
                };
                if monitor.step(&event).is_break() {
                    return Ok(TrainOutcome::Stopped);
                }
            }
            let snapshot = Snapshot { model, parameters: &parameters, moments: &moments, epoch: epoch + 1 };
            monitor.epoch_end(epoch + 1, &snapshot)?;
        }
        Ok(TrainOutcome::Finished)
    })
}

fn shuffled(count: usize, seed: &Seed) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut seed.rng());
    order
}

/// One step of AdamW; returns the loss before it.
fn optimise<O: Objective>(
    model: &Clip,
    objective: &O,
    batch: &O::Batch,
    recipe: &Recipe,
    learning_rate: f64,
    parameters: &[Parameter],
    moments: &mut Moments,
) -> Result<f32> {
    let loss = objective.loss(model, batch)?;
    let value = loss.to_scalar::<f32>()?;
    if !value.is_finite() {
        bail!("the loss is {value}; a lower learning rate may help");
    }
    let gradients = loss.backward()?;
    moments.steps += 1;
    for (index, parameter) in parameters.iter().enumerate() {
        let Some(gradient) = gradients.get(parameter.var.as_tensor()) else {
            bail!("parameter {:?} received no gradient", parameter.name);
        };
        let weight_decay = if parameter.decays { recipe.weight_decay } else { 0.0 };
        let Recipe { beta1, beta2, epsilon, .. } = *recipe;
        let adamw = kernels::AdamW { learning_rate, beta1, beta2, epsilon, weight_decay };
        let (first, second) = (&mut moments.first[index], &mut moments.second[index]);
        adamw
            .step(&parameter.var, gradient, first, second, moments.steps)
            .map_err(|error| error.context(format!("parameter {:?}", parameter.name)))?;
    }
    model.clamp_logit_scale()?;
    Ok(value)
}

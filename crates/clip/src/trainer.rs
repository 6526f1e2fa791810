//! The one training loop: shuffle, prepare ahead, differentiate, step, save.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::ScopedJoinHandle;
use std::time::Instant;

use candle_core::{Error, Result, Tensor, bail};
use kernels::{AdamW, Optimizer};
use rand::seq::SliceRandom;

use crate::{Clip, OptimizerState, Parameter, Recipe, Seed, Step, Stopped, checkpoint};

/// Steps from one look at the loss to the next where looking means to wait for a GPU. On the CPU each is looked at.
const LOOK_EVERY: usize = 10;

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

/// Watches a training run, saves its state, and may stop it.
pub trait Monitor {
    /// A snapshot to go on from, if there is one.
    fn resume(&mut self) -> Option<PathBuf>;

    /// After each step; `Break` stops the run.
    fn step(&mut self, step: &Step) -> ControlFlow<()>;

    /// Whether to stop, for work that has no steps of its own.
    fn stops(&mut self) -> bool;

    /// After each epoch, counted from 1.
    fn epoch_end(&mut self, epoch: usize, snapshot: &Snapshot<'_>) -> Result<()>;
}

/// The state of a run at the end of an epoch.
pub struct Snapshot<'a> {
    model: &'a Clip,
    parameters: &'a [Parameter],
    optimizer: &'a Optimizer,
    epoch: usize,
}

impl Snapshot<'_> {
    /// The model, running statistics and all.
    pub fn model(&self) -> &Clip {
        self.model
    }

    /// The parameters that are trained, also those outside the model.
    pub fn parameters(&self) -> &[Parameter] {
        self.parameters
    }

    /// Writes parameters, running statistics, moments and epoch to one file that appears whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = Vec::new();
        for (parameter, [first, second]) in self.parameters.iter().zip(self.optimizer.moments()?) {
            let name = &parameter.name;
            tensors.push((format!("value.{name}"), parameter.var.as_tensor().clone()));
            tensors.push((format!("first.{name}"), first));
            tensors.push((format!("second.{name}"), second));
        }
        for (name, value) in self.model.parameters.all_running() {
            tensors.push((format!("running.{name}"), value));
        }
        let state = BTreeMap::from([
            ("epoch".to_owned(), self.epoch.to_string()),
            ("steps".to_owned(), self.optimizer.steps().to_string()),
        ]);
        checkpoint::write(path, &tensors, &state)
    }
}

/// Puts a snapshot's values into model and optimizer; returns the epochs done.
fn restore(path: &Path, model: &Clip, parameters: &[Parameter], optimizer: &mut Optimizer) -> Result<usize> {
    let (tensors, state) = checkpoint::read(path)?;
    let tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
    let get = |name: String| match tensors.get(&name) {
        Some(tensor) => Ok(tensor),
        None => bail!("{}: holds no {name:?}", path.display()),
    };
    let mut moments = Vec::with_capacity(parameters.len());
    for Parameter { name, var, .. } in parameters {
        var.set(&get(format!("value.{name}"))?.to_device(var.device())?)?;
        moments.push([get(format!("first.{name}"))?.clone(), get(format!("second.{name}"))?.clone()]);
    }
    for (name, _) in model.parameters.all_running() {
        model.parameters.set_running(&name, get(format!("running.{name}"))?)?;
    }
    let number = |key: &str| state.get(key).and_then(|value| value.parse::<u64>().ok());
    match (number("epoch"), number("steps")) {
        (Some(epoch), Some(steps)) => {
            optimizer.restore(steps, &moments)?;
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
/// loss or gradient is not finite (it names step, parameter and learning rate). `model` may then be half moved; what
/// the monitor saved is not, and the same call goes on from there. The inner error says that the monitor stopped it: in
/// functions that return `anyhow::Result` a call ends in `??`.
pub fn train<O: Objective>(
    model: &Clip,
    objective: &O,
    recipe: &Recipe,
    seed: &Seed,
    monitor: &mut dyn Monitor,
) -> Result<std::result::Result<(), Stopped>> {
    train_on(model, objective, recipe, seed, None, monitor)
}

/// As [`train`], with an optimizer that goes on from the moments of an earlier run, and its count of steps, where
/// there is `carried`: as PyTorch's AdamW does after `load_state_dict`. The schedule begins anew.
pub fn train_on<O: Objective>(
    model: &Clip,
    objective: &O,
    recipe: &Recipe,
    seed: &Seed,
    carried: Option<&OptimizerState>,
    monitor: &mut dyn Monitor,
) -> Result<std::result::Result<(), Stopped>> {
    recipe.check()?;
    let steps_per_epoch = objective.examples() / recipe.batch_size;
    if steps_per_epoch == 0 {
        bail!("{} examples do not fill one batch of {}", objective.examples(), recipe.batch_size);
    }
    let parameters = objective.parameters(model);
    let (mut optimizer, start) = begin(model, &parameters, recipe, carried, monitor.resume())?;
    let steps = recipe.epochs * steps_per_epoch;
    let (started, mut done_here) = (Instant::now(), 0);
    let (every_loss, mut loss) = (model.device()?.is_cpu(), f32::NAN);
    std::thread::scope(|scope| {
        let (sender, batches) = mpsc::sync_channel(2);
        let preparing = move || prepare(objective, recipe, seed, start, &sender);
        let preparing = std::thread::Builder::new().spawn_scoped(scope, preparing);
        let mut preparing =
            Some(preparing.map_err(|error| Error::wrap(error).context("cannot start a thread"))?);
        for epoch in start..recipe.epochs {
            for index in 0..steps_per_epoch {
                let step = epoch * steps_per_epoch + index;
                let Ok(batch) = batches.recv() else {
                    // It ends early only by a panic, whose message is the reason.
                    match preparing.take().map(ScopedJoinHandle::join) {
                        Some(Err(panic)) => std::panic::resume_unwind(panic),
                        _ => bail!("the thread that prepares batches ended early"),
                    }
                };
                let place = recipe.scheduled_step(step, steps_per_epoch);
                let learning_rate = recipe.learning_rate_at(place, steps);
                let settings = recipe.adamw(learning_rate);
                let looks =
                    every_loss || done_here == 0 || index % LOOK_EVERY == 0 || index + 1 == steps_per_epoch;
                let seen = optimise(model, objective, &batch?, &settings, &mut optimizer, looks).map_err(
                    |error| {
                        error
                            .context(format!("step {} of {steps}, learning rate {learning_rate:e}", step + 1))
                    },
                )?;
                loss = seen.unwrap_or(loss);
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
                    return Ok(Err(Stopped));
                }
            }
            let snapshot =
                Snapshot { model, parameters: &parameters, optimizer: &optimizer, epoch: epoch + 1 };
            monitor.epoch_end(epoch + 1, &snapshot)?;
        }
        Ok(Ok(()))
    })
}

/// The optimizer where a run begins or goes on, and how many epochs are done.
fn begin(
    model: &Clip,
    parameters: &[Parameter],
    recipe: &Recipe,
    carried: Option<&OptimizerState>,
    snapshot: Option<PathBuf>,
) -> Result<(Optimizer, usize)> {
    let mut optimizer = recipe.decay.optimizer(parameters)?;
    let mut done = 0;
    match (snapshot, carried) {
        (Some(path), _) => done = restore(&path, model, parameters, &mut optimizer)?,
        (None, Some(carried)) => carried.restore(parameters, &mut optimizer)?,
        (None, None) => {}
    }
    Ok((optimizer, done))
}

/// Prepares the batches of all epochs from `start` on, until the trainer stops taking them.
fn prepare<O: Objective>(
    objective: &O,
    recipe: &Recipe,
    seed: &Seed,
    start: usize,
    batches: &mpsc::SyncSender<Result<O::Batch>>,
) {
    let steps_per_epoch = objective.examples() / recipe.batch_size;
    for epoch in start..recipe.epochs {
        let order = shuffled(objective.examples(), &seed.child("shuffle").at(epoch as u64));
        for (index, indices) in order.chunks_exact(recipe.batch_size).enumerate() {
            let own = seed.child("batch").at((epoch * steps_per_epoch + index) as u64);
            if batches.send(objective.batch(indices, epoch, &own)).is_err() {
                return;
            }
        }
    }
}

fn shuffled(count: usize, seed: &Seed) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut seed.rng());
    order
}

/// One step of AdamW; returns the loss before it where it is looked at.
fn optimise<O: Objective>(
    model: &Clip,
    objective: &O,
    batch: &O::Batch,
    settings: &AdamW,
    optimizer: &mut Optimizer,
    looks: bool,
) -> Result<Option<f32>> {
    let loss = objective.loss(model, batch)?;
    let value = if looks { Some(loss.to_scalar::<f32>()?) } else { None };
    if let Some(value) = value.filter(|value| !value.is_finite()) {
        bail!("the loss is {value}; a lower learning rate may help");
    }
    let gradients = kernels::backward(&loss)?;
    if looks {
        optimizer.step(&gradients, settings)?;
    } else {
        optimizer.queue(&gradients, settings)?;
    }
    model.clamp_logit_scale()?;
    Ok(value)
}

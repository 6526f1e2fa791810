//! Runs a plan: a graph of stages over cells, several at a time.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use polars::prelude::DataFrame;

use crate::coverage::Coverage;
use crate::evidence::Evidence;
use crate::metric::METRICS;
use crate::plan::Plan;
use crate::progress::{Progress, Verbosity};
use crate::record::{Row, Status};
use crate::stages::{Desk, Interrupted, Laboratory, Made};
use crate::store::Store;
use crate::{describe, panic_text};

/// The name of the entries that do nothing: the unpoisoned model among attacks, the undefended one among defenses.
pub const BASELINE: &str = "none";

/// How a plan is run; nothing here changes a result.
pub struct Options {
    /// Cells at a time, at least 1.
    pub jobs: usize,
    /// Threads of all cells together, at least 1.
    pub threads: usize,
    /// What is shown.
    pub verbosity: Verbosity,
    /// Columns of the terminal.
    pub width: usize,
}

/// A cell observed under a trigger: what the rows of a record are made from.
pub struct Observation {
    /// Seed of the cell.
    pub seed: u64,
    /// Label of the attack that the model was trained under.
    pub attack: String,
    /// Label of the defense.
    pub defense: String,
    /// Label of the attack whose trigger the test images bear.
    pub trigger: String,
    /// The epoch of the defense after which it was observed; `None` after the last one.
    pub epoch: Option<usize>,
    /// Hash of the evidence's key, and the evidence; otherwise why there is none.
    pub evidence: Result<(String, Evidence), String>,
}

impl Observation {
    /// Rows of every metric on every test set; one row where the cell failed.
    pub fn rows(&self) -> Vec<Row> {
        let row = || Row {
            seed: self.seed,
            attack: self.attack.clone(),
            defense: self.defense.clone(),
            trigger: self.trigger.clone(),
            epoch: self.epoch,
            test_set: String::new(),
            metric: String::new(),
            value: None,
            samples: None,
            status: Status::Measured,
            message: String::new(),
            evidence: String::new(),
        };
        let (key, evidence) = match &self.evidence {
            Ok(found) => found,
            Err(message) => return vec![Row { status: Status::Failed, message: message.clone(), ..row() }],
        };
        let mut rows = Vec::new();
        for set in evidence {
            for metric in METRICS {
                let Some(share) = (metric.measure)(set) else { continue };
                rows.push(Row {
                    test_set: set.test_set.clone(),
                    metric: metric.name.to_owned(),
                    value: Some(share.value),
                    samples: Some(share.samples),
                    evidence: key.clone(),
                    ..row()
                });
            }
        }
        rows
    }
}

/// What a run brought.
pub struct Outcome {
    /// Every cell, observed or failed.
    pub observations: Vec<Observation>,
    /// The poison manifests of all trained models in one table, with seed and attack before each edited pair.
    pub poison: DataFrame,
    /// What was found of data that are read from files.
    pub data: Vec<Coverage>,
    /// What all trainings and defenses took when they were made, in seconds, wherever and whenever that was.
    pub stage_seconds: f64,
}

/// A piece of work; indices are into the plan's lists.
enum Task {
    Train { attack: usize, seed: u64 },
    Defend { attack: usize, defense: usize, seed: u64, trained: std::sync::Arc<Made> },
}

struct Queue {
    tasks: VecDeque<Task>,
    running: usize,
    observations: Vec<Observation>,
    stopped: bool,
}

/// Runs every cell of `plan`. A cell that fails is an observation without evidence; an error means that nothing
/// could be run at all, or ([`Interrupted`]) that the user stopped it.
pub fn run(plan: &Plan, store: &Store, options: &Options, interrupted: &AtomicBool) -> Result<Outcome> {
    let progress = Progress::new(options.verbosity, 1.0, options.width);
    let laboratory =
        Laboratory::new(plan, Desk { store, progress: &progress, interrupted, only_looks: false })?;
    // Before anything is trained: what is missing is said at once.
    let found = laboratory.found()?.into_iter().map(Coverage::of).collect::<Result<Vec<_>>>()?;
    let data = found.into_iter().flatten().collect();
    let cells = (plan.seeds.len() * plan.attacks.len()) as f64;
    let training = (plan.pairs * plan.recipe.epochs) as f64;
    progress.add_work(cells * (training + plan.defenses.len() as f64 * laboratory.expected_cell()));
    let seeds = plan.seeds.iter();
    let tasks =
        seeds.flat_map(|seed| (0..plan.attacks.len()).map(|attack| Task::Train { attack, seed: *seed }));
    let queue =
        Mutex::new(Queue { tasks: tasks.collect(), running: 0, observations: Vec::new(), stopped: false });
    let changed = Condvar::new();
    let jobs = options.jobs.max(1);
    let pools = (0..jobs)
        .map(|job| {
            let threads = (options.threads / jobs + usize::from(job < options.threads % jobs)).max(1);
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")
        })
        .collect::<Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        for pool in &pools {
            scope.spawn(|| pool.install(|| work(&laboratory, &queue, &changed)));
        }
    });
    progress.clear();
    let queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    if queue.stopped {
        return Err(Interrupted.into());
    }
    let mut observations = queue.observations;
    let attack = |label: &str| plan.attacks.iter().position(|attack| attack.label == label);
    let defense = |label: &str| plan.defenses.iter().position(|defense| defense.label == label);
    observations.sort_by_key(
        |Observation { seed, attack: trained, defense: defended, trigger, epoch, .. }| {
            (*seed, attack(trained), defense(defended), attack(trigger), epoch.unwrap_or(usize::MAX))
        },
    );
    let (poison, stage_seconds) = laboratory.left()?;
    Ok(Outcome { observations, poison, data, stage_seconds })
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes tasks until none is left and none is running that could bring more.
fn work(laboratory: &Laboratory<'_>, queue: &Mutex<Queue>, changed: &Condvar) {
    loop {
        let mut guard = lock(queue);
        let task = loop {
            if guard.stopped {
                return;
            }
            match guard.tasks.pop_front() {
                Some(task) => break task,
                None if guard.running == 0 => return,
                None => guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
            }
        };
        guard.running += 1;
        drop(guard);
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| perform(laboratory, &task)));
        let mut guard = lock(queue);
        guard.running -= 1;
        let done = done.unwrap_or_else(|payload| {
            let message = format!("a panic: {}", panic_text(&*payload));
            Ok(Done::failed(laboratory, &task, &message))
        });
        match done {
            Ok(Done { next, observations }) => {
                // Behind the trainings, the longest tasks, so that no worker is left alone with one at the end.
                guard.tasks.extend(next);
                guard.observations.extend(observations);
            }
            Err(Interrupted) => guard.stopped = true,
        }
        drop(guard);
        changed.notify_all();
    }
}

/// What a task brought.
struct Done {
    next: Vec<Task>,
    observations: Vec<Observation>,
}

impl Done {
    /// Every observation that will not be made because `task` failed.
    fn failed(laboratory: &Laboratory<'_>, task: &Task, message: &str) -> Self {
        let plan = laboratory.plan;
        let (attack, defenses, seed) = match task {
            Task::Train { attack, seed } => (*attack, 0..plan.defenses.len(), *seed),
            Task::Defend { attack, defense, seed, .. } => (*attack, *defense..*defense + 1, *seed),
        };
        let failed = |defense: usize| {
            let (attack, defense) =
                (plan.attacks[attack].label.clone(), plan.defenses[defense].label.clone());
            let name = format!("{attack}::{defense}::seed-{seed}");
            laboratory.desk.progress.warn(&format!("{name} failed: {message}"));
            let trigger = attack.clone();
            Observation { seed, attack, defense, trigger, epoch: None, evidence: Err(message.to_owned()) }
        };
        Self { next: Vec::new(), observations: defenses.map(failed).collect() }
    }
}

fn perform(laboratory: &Laboratory<'_>, task: &Task) -> Result<Done, Interrupted> {
    let done = match task {
        Task::Train { attack, seed } => train(laboratory, *attack, *seed),
        Task::Defend { attack, defense, seed, trained } => {
            defend(laboratory, *attack, *defense, *seed, trained)
        }
    };
    match done {
        Ok(done) => Ok(done),
        Err(error) if error.is::<Interrupted>() => Err(Interrupted),
        Err(error) => Ok(Done::failed(laboratory, task, &describe(&error))),
    }
}

fn train(laboratory: &Laboratory<'_>, attack: usize, seed: u64) -> Result<Done> {
    let plan = laboratory.plan;
    let trained = std::sync::Arc::new(laboratory.train(&plan.attacks[attack], seed)?);
    let next = (0..plan.defenses.len()).map(|defense| Task::Defend {
        attack,
        defense,
        seed,
        trained: trained.clone(),
    });
    Ok(Done { next: next.collect(), observations: Vec::new() })
}

/// Defends and observes a cell under its own trigger; the model that was neither poisoned nor defended is observed
/// under every other trigger too, for base rates.
fn defend(
    laboratory: &Laboratory<'_>,
    attack: usize,
    defense: usize,
    seed: u64,
    trained: &Made,
) -> Result<Done> {
    let plan = laboratory.plan;
    let (attack, defense) = (&plan.attacks[attack], &plan.defenses[defense]);
    let defended = laboratory.defend(attack, trained, defense, seed)?;
    let is_anchor = attack.entry.card.name == BASELINE && defense.entry.card.name == BASELINE;
    let others = plan.attacks.iter().filter(|other| is_anchor && other.label != attack.label);
    let mut observations = Vec::new();
    let points = std::iter::once((attack, None)).chain(others.map(|other| (other, None)));
    let epochs = laboratory.epochs(&defended).into_iter().map(|epoch| (attack, Some(epoch)));
    for (trigger, epoch) in points.chain(epochs) {
        let mut name = format!("{}::{}::seed-{seed}", attack.label, defense.label);
        if trigger.label != attack.label {
            name += &format!(" under {}", trigger.label);
        }
        if let Some(epoch) = epoch {
            name += &format!(" after epoch {epoch}");
        }
        let (evidence, key) = laboratory.observe(&name, &defended, epoch, trigger, seed)?;
        observations.push(Observation {
            seed,
            attack: attack.label.clone(),
            defense: defense.label.clone(),
            trigger: trigger.label.clone(),
            epoch,
            evidence: Ok((key.hash().to_owned(), evidence)),
        });
    }
    Ok(Done { next: Vec::new(), observations })
}

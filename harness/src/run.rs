//! Runs a plan: a graph of stages over cells, several at a time.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use polars::prelude::DataFrame;

use crate::agenda::Agenda;
use crate::contract::{Attack, Defense};
use crate::coverage::Coverage;
use crate::events::{Event, FORMAT};
use crate::evidence::Evidence;
use crate::metric::METRICS;
use crate::plan::{Choice, Plan};
use crate::predict::SPEEDS;
use crate::program::Build;
use crate::progress::{Progress, Verbosity};
use crate::record::{Row, Status};
use crate::stages::{Desk, Interrupted, Laboratory, Left, Made, OBSERVE};
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
    /// Time after which nothing more is begun.
    pub budget: Option<Duration>,
}

/// Why a cell was not observed.
#[derive(Clone, Debug)]
pub struct Missing {
    /// Failed or skipped.
    pub status: Status,
    /// Why.
    pub message: String,
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
    pub evidence: Result<(String, Evidence), Missing>,
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
            Err(Missing { status, message }) => {
                return vec![Row { status: *status, message: message.clone(), ..row() }];
            }
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
    /// Other builds of the program that made some of it.
    pub others: Vec<Build>,
}

/// A piece of work; indices are into the plan's lists.
enum Task {
    Train { attack: usize, seed: u64 },
    Defend { attack: usize, defense: usize, seed: u64, trained: std::sync::Arc<Made> },
}

impl Task {
    /// Seed, attack, and the defense of one that defends.
    fn place(&self) -> (u64, usize, Option<usize>) {
        match self {
            Self::Train { attack, seed } => (*seed, *attack, None),
            Self::Defend { attack, defense, seed, .. } => (*seed, *attack, Some(*defense)),
        }
    }
}

struct Queue {
    tasks: VecDeque<Task>,
    running: usize,
    observations: Vec<Observation>,
    stopped: bool,
    /// Whether anything was begun that takes time.
    begun: bool,
}

impl Queue {
    /// The next task, and why it is left for another run where there is no time for it.
    fn next(&mut self, agenda: Option<&Agenda<'_>>) -> Option<(Task, Option<String>)> {
        let Some(agenda) = agenda else { return self.tasks.pop_front().map(|task| (task, None)) };
        let rank = |task: &Task| {
            let (seed, attack, defense) = task.place();
            agenda.rank(seed, attack, defense)
        };
        let first = (0..self.tasks.len()).min_by_key(|index| rank(&self.tasks[*index]))?;
        let task = self.tasks.remove(first)?;
        let (seed, attack, defense) = task.place();
        let left = agenda.leaves(seed, attack, defense, !self.begun);
        self.begun |= left.is_none() && agenda.takes_time(seed, attack, defense);
        Some((task, left))
    }
}

/// Runs every cell of `plan`. A cell that fails is an observation without evidence; an error means that nothing
/// could be run at all, or ([`Interrupted`]) that the user stopped it.
pub fn run(plan: &Plan, store: &Store, options: &Options, interrupted: &AtomicBool) -> Result<Outcome> {
    let progress = Progress::new(options.verbosity, 1.0, options.width);
    let deadline = options.budget.map(|budget| Instant::now() + budget);
    let (question, count) = (&plan.question, plan.seeds.len() * plan.attacks.len() * plan.defenses.len());
    let (jobs, threads) = (options.jobs.max(1), options.threads);
    progress.emit(&Event::RunStarted { format: FORMAT, question, cells: count, jobs, threads });
    let desk = Desk { store, progress: &progress, interrupted, deadline, only_looks: false };
    let laboratory = Laboratory::new(plan, desk)?;
    // Before anything is trained: what is missing is said at once, and first what takes no look at samples.
    laboratory.problems()?.into_iter().try_for_each(Err)?;
    let found = laboratory.found()?.into_iter().map(Coverage::of).collect::<Result<Vec<_>>>()?;
    let data = found.into_iter().flatten().collect();
    let speed = match plan.device {
        clip::DeviceChoice::Cpu => SPEEDS[0] * threads as f64 / jobs as f64,
        _ => SPEEDS[1],
    };
    let agenda = deadline.map(|deadline| Agenda::new(&laboratory, deadline, speed)).transpose()?;
    let cells = (plan.seeds.len() * plan.attacks.len()) as f64;
    let training = (plan.pairs * plan.recipe.epochs) as f64;
    progress.add_work(cells * (training + plan.defenses.len() as f64 * laboratory.expected_cell()));
    let seeds = plan.seeds.iter();
    let tasks =
        seeds.flat_map(|seed| (0..plan.attacks.len()).map(|attack| Task::Train { attack, seed: *seed }));
    let queue = Mutex::new(Queue {
        tasks: tasks.collect(),
        running: 0,
        observations: Vec::new(),
        stopped: false,
        begun: false,
    });
    let changed = Condvar::new();
    let pools = (0..jobs)
        .map(|job| {
            let threads = (options.threads / jobs + usize::from(job < options.threads % jobs)).max(1);
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")
        })
        .collect::<Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        for pool in &pools {
            scope.spawn(|| pool.install(|| work(&laboratory, agenda.as_ref(), &queue, &changed)));
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
    let Left { poison, seconds: stage_seconds, mut programs } = laboratory.left()?;
    let evidence = observations.iter().filter_map(|observation| observation.evidence.as_ref().ok());
    programs.extend(evidence.filter_map(|(hash, _)| Some(store.made(OBSERVE, hash)?.1)));
    programs.remove(Build::this());
    let others = programs.into_iter().collect();
    Ok(Outcome { observations, poison, data, stage_seconds, others })
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes tasks until none is left and none is running that could bring more.
fn work(laboratory: &Laboratory<'_>, agenda: Option<&Agenda<'_>>, queue: &Mutex<Queue>, changed: &Condvar) {
    loop {
        let mut guard = lock(queue);
        let (task, left) = loop {
            if guard.stopped {
                return;
            }
            match guard.next(agenda) {
                Some(found) => break found,
                None if guard.running == 0 => return,
                None => guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
            }
        };
        guard.running += 1;
        drop(guard);
        let perform = || match left {
            Some(why) => Ok(Done::without(laboratory, &task, Status::Skipped, &why)),
            None => perform(laboratory, &task),
        };
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(perform));
        let done = done.unwrap_or_else(|payload| {
            let message = format!("a panic: {}", panic_text(&*payload));
            Ok(Done::without(laboratory, &task, Status::Failed, &message))
        });
        for observation in done.iter().flat_map(|done| &done.observations) {
            laboratory.desk.progress.emit(&Event::of(observation));
        }
        let mut guard = lock(queue);
        guard.running -= 1;
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
    /// Every observation that will not be made because `task` failed or was left.
    fn without(laboratory: &Laboratory<'_>, task: &Task, status: Status, message: &str) -> Self {
        let plan = laboratory.plan;
        let (seed, attack, defense) = task.place();
        let defenses = defense.map_or(0..plan.defenses.len(), |defense| defense..defense + 1);
        let missing = |defense: usize| {
            let (attack, defense) =
                (plan.attacks[attack].label.clone(), plan.defenses[defense].label.clone());
            let name = format!("{attack}::{defense}::seed-{seed}");
            match status {
                Status::Failed => laboratory.desk.progress.warn(&format!("{name} failed: {message}")),
                _ => laboratory.desk.progress.say(&format!("{name} {message}")),
            }
            let trigger = attack.clone();
            let evidence = Err(Missing { status, message: message.to_owned() });
            Observation { seed, attack, defense, trigger, epoch: None, evidence }
        };
        Self { next: Vec::new(), observations: defenses.map(missing).collect() }
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
        Err(error) if error.is::<Interrupted>() && laboratory.desk.stops() => Err(Interrupted),
        Err(error) if error.is::<Interrupted>() => {
            let why =
                "left for another run: the budget was used up between two epochs, and what is done is saved";
            Ok(Done::without(laboratory, task, Status::Skipped, why))
        }
        Err(error) => Ok(Done::without(laboratory, task, Status::Failed, &describe(&error))),
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

/// The attacks under whose triggers a cell is observed: its own, and where nothing was poisoned nor defended all
/// others.
pub(crate) fn triggers<'a>(
    plan: &'a Plan,
    attack: &'a Choice<Attack>,
    defense: &Choice<Defense>,
) -> impl Iterator<Item = &'a Choice<Attack>> {
    let is_anchor = attack.entry.card.name == BASELINE && defense.entry.card.name == BASELINE;
    let others = plan.attacks.iter().filter(move |other| is_anchor && other.label != attack.label);
    std::iter::once(attack).chain(others)
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
    let mut observations = Vec::new();
    let points = triggers(plan, attack, defense).map(|trigger| (trigger, None));
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

//! Runs a plan: a graph of stages over cells, several at a time.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use base::{Build, Progress, Stopped, Verbosity, describe, panic_text, size};
use plan::Plan;
use polars_core::prelude::DataFrame;
use record::{CellId, Coverage, Metrics, Missing, Observation, Status, TriggerSize, View};
use store::{Store, stage};

use crate::events::{Event, FORMAT};
use crate::forecast::SPEEDS;
use crate::schedule::{Place, Schedule};
use crate::stages::{Context, DataCheck, StageOutput, Stages, StoredArtifacts};

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
    /// Metrics of the events.
    pub metrics: Metrics,
}

/// The result of a run.
pub struct Outcome {
    /// Every cell, observed or failed.
    pub observations: Vec<Observation>,
    /// The poison manifests of all trained models in one table, with seed and attack before each edited pair.
    pub poison: DataFrame,
    /// How much of the data that are read from files could be used.
    pub data: Vec<Coverage>,
    /// How large the triggers are where models see them.
    pub triggers: Vec<TriggerSize>,
    /// Seconds that all trainings and defenses took when they were computed, in whichever run that was.
    pub stage_seconds: f64,
    /// Other builds of the program that computed some of it.
    pub others: Vec<Build>,
}

/// A piece of work; indices are into the plan's lists.
enum Task {
    Train { attack: usize, seed: u64 },
    Defend { attack: usize, defense: usize, seed: u64, trained: Arc<StageOutput> },
}

impl Task {
    fn place(&self) -> Place {
        match self {
            Self::Train { attack, seed } => (*seed, *attack, None),
            Self::Defend { attack, defense, seed, .. } => (*seed, *attack, Some(*defense)),
        }
    }
}

#[derive(Default)]
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
    fn next(&mut self, schedule: Option<&Schedule<'_>>) -> Option<(Task, Option<String>)> {
        let Some(schedule) = schedule else { return self.tasks.pop_front().map(|task| (task, None)) };
        let rank = |index: &usize| schedule.rank(self.tasks[*index].place());
        let task = self.tasks.remove((0..self.tasks.len()).min_by_key(rank)?)?;
        let left = schedule.leaves(task.place(), !self.begun);
        self.begun |= left.is_none() && schedule.seconds(task.place()) > 0.0;
        Some((task, left))
    }
}

/// Runs every cell of `plan`. A cell that fails is an observation without evidence; an error means that nothing
/// could be run at all, or ([`Stopped`]) that the user stopped it.
pub fn run(plan: &Plan, store: &Store, options: &Options, interrupted: &AtomicBool) -> Result<Outcome> {
    let progress = Progress::new(options.verbosity, 1.0, options.width);
    let deadline = options.budget.map(|budget| Instant::now() + budget);
    let (question, count) = (&plan.question, plan.seeds.len() * plan.attacks.len() * plan.defenses.len());
    let (jobs, threads) = (options.jobs.max(1), options.threads);
    progress.emit(&Event::RunStarted { format: FORMAT, question, cells: count, jobs, threads });
    let context = Context { store, progress: &progress, interrupted, deadline, only_looks: false };
    let stages = Stages::new(plan, context)?;
    // Before anything is trained: what is missing is said at once, and first what takes no look at samples.
    stages.problems()?.into_iter().try_for_each(Err)?;
    let found = stages.data_checks().into_iter().map(coverage).collect::<Result<Vec<_>>>()?;
    let data = found.into_iter().flatten().collect();
    let triggers = stages.trigger_sizes()?;
    triggers.iter().filter_map(TriggerSize::warning).for_each(|warning| progress.warn(&warning));
    let speed = match plan.device {
        clip::DeviceChoice::Cpu => SPEEDS[0] * threads as f64 / jobs as f64,
        _ => SPEEDS[1],
    };
    let schedule = deadline.map(|deadline| Schedule::new(&stages, deadline, speed)).transpose()?;
    let defended: f64 =
        plan.defenses.iter().map(|defense| stages.cost.defense(defense) + stages.cost.observation()).sum();
    let models = (plan.seeds.len() * plan.attacks.len()) as f64;
    progress.add_work(models * (stages.cost.training() + defended));
    let seeds = plan.seeds.iter();
    let tasks =
        seeds.flat_map(|seed| (0..plan.attacks.len()).map(|attack| Task::Train { attack, seed: *seed }));
    let queue = Mutex::new(Queue { tasks: tasks.collect(), ..Queue::default() });
    let changed = Condvar::new();
    let pools = (0..jobs)
        .map(|job| {
            let threads = (options.threads / jobs + usize::from(job < options.threads % jobs)).max(1);
            rayon::ThreadPoolBuilder::new().num_threads(threads).build().context("cannot start threads")
        })
        .collect::<Result<Vec<_>>>()?;
    std::thread::scope(|scope| {
        for pool in &pools {
            let work = || work(&stages, schedule.as_ref(), &options.metrics, &queue, &changed);
            scope.spawn(move || pool.install(work));
        }
    });
    progress.clear();
    let queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    if queue.stopped {
        return Err(Stopped.into());
    }
    let mut observations = queue.observations;
    let attack = |label: &str| plan.attacks.iter().position(|attack| attack.label == label);
    let defense = |label: &str| plan.defenses.iter().position(|defense| defense.label == label);
    observations.sort_by_key(|Observation { view: View { cell, trigger, epoch }, .. }| {
        let place = (attack(&cell.attack), defense(&cell.defense), attack(trigger));
        (cell.seed, place, epoch.unwrap_or(usize::MAX))
    });
    let StoredArtifacts { poison, seconds: stage_seconds, mut programs } = stages.stored()?;
    let evidence = observations.iter().filter_map(|observation| observation.evidence.as_ref().ok());
    programs.extend(evidence.filter_map(|(hash, _)| Some(store.made(stage::OBSERVE, hash)?.1)));
    programs.remove(Build::this());
    let others = programs.into_iter().collect();
    Ok(Outcome { observations, poison, data, triggers, stage_seconds, others })
}

/// How much of some data could be used; nothing of synthetic data. An error where data are missing, or too many of them
/// cannot be used.
fn coverage(DataCheck { set, purpose, asked, shared_names, checked }: DataCheck) -> Result<Option<Coverage>> {
    let Some(checked) = checked? else { return Ok(None) };
    Ok(Some(Coverage {
        set,
        used_for: purpose.in_words(),
        asked,
        found: checked.listed,
        usable: checked.usable(),
        content: checked.content.clone(),
        unusable: checked.reasons.clone(),
        first_unusable: checked.first.clone(),
        remarks: checked.remarks.clone(),
        shared_names,
    }))
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Takes tasks until none is left and none is running that could bring more.
fn work(
    stages: &Stages<'_>,
    schedule: Option<&Schedule<'_>>,
    metrics: &Metrics,
    queue: &Mutex<Queue>,
    changed: &Condvar,
) {
    loop {
        let mut guard = lock(queue);
        let (task, left) = loop {
            if guard.stopped {
                return;
            }
            match guard.next(schedule) {
                Some(found) => break found,
                None if guard.running == 0 => return,
                None => guard = changed.wait(guard).unwrap_or_else(PoisonError::into_inner),
            }
        };
        guard.running += 1;
        drop(guard);
        let perform = || match left {
            Some(why) => Ok(Done::without(stages, &task, Status::Skipped, &why)),
            None => perform(stages, &task),
        };
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(perform));
        let done = done.unwrap_or_else(|payload| {
            let message = explained(stages, format!("a panic: {}", panic_text(&*payload)));
            Ok(Done::without(stages, &task, Status::Failed, &message))
        });
        for observation in done.iter().flat_map(|done| &done.observations) {
            stages.context.progress.emit(&Event::of(observation, metrics));
        }
        let mut guard = lock(queue);
        guard.running -= 1;
        match done {
            Ok(Done { next, observations }) => {
                // Behind the trainings, the longest tasks, so that no worker is left alone with one at the end.
                guard.tasks.extend(next);
                guard.observations.extend(observations);
            }
            Err(Stopped) => guard.stopped = true,
        }
        drop(guard);
        changed.notify_all();
    }
}

struct Done {
    next: Vec<Task>,
    observations: Vec<Observation>,
}

impl Done {
    /// Every observation that will not be made because `task` failed or was left.
    fn without(stages: &Stages<'_>, task: &Task, status: Status, message: &str) -> Self {
        let plan = stages.plan;
        let (seed, attack, defense) = task.place();
        let defenses = defense.map_or(0..plan.defenses.len(), |defense| defense..defense + 1);
        let missing = |defense: usize| {
            let cell = CellId::new(&plan.attacks[attack].label, &plan.defenses[defense].label, seed);
            match status {
                Status::Failed => stages.context.progress.warn(&format!("{cell} failed: {message}")),
                _ => stages.context.progress.say(&format!("{cell} {message}")),
            }
            let evidence = Err(Missing { status, message: message.to_owned() });
            Observation { view: cell.final_view(), evidence }
        };
        Self { next: Vec::new(), observations: defenses.map(missing).collect() }
    }
}

fn perform(stages: &Stages<'_>, task: &Task) -> Result<Done, Stopped> {
    let done = match task {
        Task::Train { attack, seed } => train(stages, *attack, *seed),
        Task::Defend { attack, defense, seed, trained } => defend(stages, *attack, *defense, *seed, trained),
    };
    match done {
        Ok(done) => Ok(done),
        Err(error) if error.is::<Stopped>() && stages.context.stops() => Err(Stopped),
        Err(error) if error.is::<Stopped>() => {
            let why =
                "left for another run: the budget was used up between two epochs, and what is done is saved";
            Ok(Done::without(stages, task, Status::Skipped, why))
        }
        Err(error) => Ok(Done::without(stages, task, Status::Failed, &explained(stages, describe(&error)))),
    }
}

/// What systems, libraries and drivers say where there is no memory left, also for the stack of a thread.
const OUT_OF_MEMORY: [&str; 4] =
    ["Cannot allocate memory", "Resource temporarily unavailable", "memory allocation of", "OUT_OF_MEMORY"];

/// Why a cell failed, with what helps where memory is the reason.
fn explained(stages: &Stages<'_>, message: String) -> String {
    if !OUT_OF_MEMORY.iter().any(|sign| message.contains(sign)) {
        return message;
    }
    let expected = size(stages.cost.memory().of(1));
    format!(
        "out of memory ({message}): a cell is expected to take {expected}; free some, raise the limit of the \
         process (ulimit -v, the control group), or run fewer cells at a time with --jobs 1"
    )
}

fn train(stages: &Stages<'_>, attack: usize, seed: u64) -> Result<Done> {
    let plan = stages.plan;
    let trained = Arc::new(stages.train(&plan.attacks[attack], seed)?);
    let defend = |defense| Task::Defend { attack, defense, seed, trained: trained.clone() };
    Ok(Done { next: (0..plan.defenses.len()).map(defend).collect(), observations: Vec::new() })
}

/// Defends and observes a cell under its own trigger; the model that was neither poisoned nor defended is observed
/// under every other trigger too, for base rates.
fn defend(
    stages: &Stages<'_>,
    attack: usize,
    defense: usize,
    seed: u64,
    trained: &StageOutput,
) -> Result<Done> {
    let plan = stages.plan;
    let (attack, defense) = (&plan.attacks[attack], &plan.defenses[defense]);
    let defended = stages.defend(attack, trained, defense, seed)?;
    let mut observations = Vec::new();
    let points = stages.triggers(attack, defense).map(|trigger| (trigger, None));
    let epochs = stages.epochs(&defended).into_iter().map(|epoch| (attack, Some(epoch)));
    for (trigger, epoch) in points.chain(epochs) {
        let cell = CellId::new(&attack.label, &defense.label, seed);
        let view = View { cell, trigger: trigger.label.clone(), epoch };
        let (evidence, key) = stages.observe(&view, &defended, trigger)?;
        observations.push(Observation { view, evidence: Ok((key.hash().to_owned(), evidence)) });
    }
    Ok(Done { next: Vec::new(), observations })
}

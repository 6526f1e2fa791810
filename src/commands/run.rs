//! `cleanbench run`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use harness::events::{Event, emit};
use harness::progress::{Verbosity, duration};
use harness::record::{Record, Status};
use harness::report::{Summary, Verdict, judge, markdown, terminal};
use harness::run::{Observation, Options};
use harness::store::{Store, parse_duration};
use harness::{Catalog, Interrupted, Plan, run as run_plan};

use super::memory::cells_at_a_time;
use super::{choose, name, terminal_width};
use crate::cli::RunOptions;
use crate::{FAILED, FINE, INTERRUPTED, UNEXPECTED, exit_code, mistake};

static STOP: AtomicBool = AtomicBool::new(false);

/// Runs a plan, writes its record, prints its tables.
pub(crate) fn run(catalog: &Catalog, options: &RunOptions) -> Result<u8> {
    let started = Instant::now();
    let folder = record_folder(options, &name(options.choice.plan.as_deref()));
    announced(options, &folder, || {
        let plan = choose(catalog, &options.choice)?;
        let record = recorded(&plan, options, &folder)?;
        finish(&plan, &record, options, started.elapsed().as_secs_f64())
    })
}

/// Where the options say that a record goes; where they do not, under this name.
pub(crate) fn record_folder(options: &RunOptions, name: &str) -> PathBuf {
    options.record.clone().unwrap_or_else(|| Path::new("record").join(name))
}

/// Does a run and, for programs that listen, says how it ended.
pub(crate) fn announced(options: &RunOptions, folder: &Path, run: impl FnOnce() -> Result<u8>) -> Result<u8> {
    let started = Instant::now();
    let done = run();
    if options.json {
        let (exit_code, seconds) = (exit_code(&done), started.elapsed().as_secs_f64());
        emit(&Event::RunFinished { exit_code, seconds, record: folder.display().to_string() });
    }
    done
}

/// Cells above which a plan is not run without a yes.
const MANY: usize = 1000;

/// Asks whether so many cells are meant, where they are many; an error where the answer is not yes or nobody is asked.
fn confirm(cells: usize) -> Result<()> {
    if cells <= MANY {
        return Ok(());
    }
    let refusal =
        || mistake(format!("the plan has {cells} cells; --yes runs more than {MANY}, `plan` shows them"));
    if !std::io::stdin().is_terminal() {
        return Err(refusal());
    }
    eprint!("the plan has {cells} cells; run them? [y/N] ");
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("no answer")?;
    if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) { Ok(()) } else { Err(refusal()) }
}

/// An error where a folder that was asked for holds the record of a plan that asks something else.
fn of_this_plan(folder: &Path, plan: &Plan) -> Result<()> {
    match Record::open(folder).and_then(|record| record.question()) {
        Ok(question) if question != plan.question => Err(mistake(format!(
            "{} holds the record of another plan ({question:?}); choose another with --record, or remove it",
            folder.display()
        ))),
        _ => Ok(()),
    }
}

/// Runs a plan and writes its record.
pub(crate) fn recorded(plan: &Plan, options: &RunOptions, folder: &Path) -> Result<Record> {
    if !options.yes {
        confirm(plan.seeds.len() * plan.attacks.len() * plan.defenses.len())?;
    }
    if options.record.is_some() {
        of_this_plan(folder, plan)?;
    }
    let budget = options.budget.as_deref().map(parse_duration).transpose();
    let budget = budget.map_err(|error| mistake(format!("--budget: {error}")))?;
    let record = Record::create(folder)?;
    let store = Store::open(&options.choice.folder.store)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.map_or(cores, usize::from);
    let jobs = cells_at_a_time(plan, options, threads)?;
    let verbosity = match (options.quiet, options.json) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Json,
        _ => Verbosity::Normal,
    };
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        eprintln!("\nstopping after this step; press Ctrl-C again to stop at once");
    })
    .context("cannot listen for Ctrl-C")?;
    let started = Instant::now();
    let settings = Options { jobs, threads, verbosity, width: terminal_width(), budget };
    let mut outcome = match run_plan(plan, &store, &settings, &STOP) {
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("stopped; the same command goes on from the last finished epoch of each cell");
            return Err(error);
        }
        other => other?,
    };
    let skipped = |observation: &Observation| {
        observation.evidence.as_ref().is_err_and(|missing| missing.status == Status::Skipped)
    };
    let left = outcome.observations.iter().filter(|observation| skipped(observation)).count();
    if left > 0 {
        eprintln!("{left} cells are left; the same command goes on with them");
    }
    if !outcome.others.is_empty() && verbosity == Verbosity::Normal {
        let others: Vec<String> = outcome.others.iter().map(ToString::to_string).collect();
        eprintln!(
            "made in part by other builds: {}; `store prune --other-builds --yes` lets this one make it again",
            others.join(", ")
        );
    }
    let elapsed = started.elapsed().as_secs();
    record.write(plan, &mut outcome, threads, elapsed)?;
    Ok(record)
}

/// Prints what the record says.
fn finish(plan: &Plan, record: &Record, options: &RunOptions, seconds: f64) -> Result<u8> {
    let summary = Summary::of(&record.rows()?, record.data()?)?;
    record.put_made("report.md", markdown(plan, &summary).as_bytes())?;
    if !options.json {
        println!("{}\n", plan.question);
        print!("{}", terminal(plan, &summary, terminal_width()));
    }
    if !options.quiet && !options.json {
        eprintln!("\n{} in all; record: {}", duration(seconds), record.folder().display());
    }
    Ok(verdict_code(plan, &summary))
}

/// The exit code: a failed cell weighs more than a claim that does not hold.
pub(crate) fn verdict_code(plan: &Plan, summary: &Summary) -> u8 {
    if !summary.failures.is_empty() {
        return FAILED;
    }
    let unexpected =
        |verdict| matches!(verdict, Verdict::NotReproduced | Verdict::Undecided | Verdict::NotImplanted);
    if judge(plan, summary).iter().any(|judgement| unexpected(judgement.verdict)) { UNEXPECTED } else { FINE }
}

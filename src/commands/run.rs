//! `cleanbench run`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use base::{Stopped, Verbosity, command_output, duration, errln, out, outln, output, print_event};
use clip::DeviceChoice;
use harness::events::Event;
use harness::survey::survey;
use harness::{Options, run as run_plan};
use plan::{Catalog, Plan};
use record::{Contents, Environment, Record, Status};
use report::{Sheet, Summary, terminal};
use store::{Store, parse_duration};

use super::memory::cells_at_a_time;
use super::report::{put_tables, verdict_code};
use super::{choose, name, terminal_width};
use crate::cli::RunOptions;
use crate::{INTERRUPTED, exit_code, user_error};

static STOP: AtomicBool = AtomicBool::new(false);

/// Runs a plan, writes its record, prints its tables.
pub(crate) fn run(catalog: &Catalog, options: &RunOptions) -> Result<u8> {
    let started = Instant::now();
    let folder = record_folder(options, &name(options.choice.plan.as_deref()));
    announced(options, &folder, || {
        let plan = choose(catalog, &options.choice)?;
        let record = recorded(catalog, &plan, options, &folder)?;
        finish(catalog, &record, options, started.elapsed().as_secs_f64())
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
        print_event(&Event::RunFinished { exit_code, seconds, record: folder.display().to_string() });
    }
    done
}

/// Cells above which a plan is not run without a yes.
const MANY: usize = 1000;

/// Asks for confirmation before a large number of cells; an error unless the answer is yes.
fn confirm(cells: usize) -> Result<()> {
    if cells <= MANY {
        return Ok(());
    }
    let refusal =
        || user_error(format!("the plan has {cells} cells; --yes runs more than {MANY}, `plan` shows them"));
    if !std::io::stdin().is_terminal() {
        return Err(refusal());
    }
    output::print_error(format_args!("the plan has {cells} cells; run them? [y/N] "));
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).context("no answer")?;
    if ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) { Ok(()) } else { Err(refusal()) }
}

/// An error where a folder holds the record of a plan that asks something else.
fn of_this_plan(folder: &Path, plan: &Plan) -> Result<()> {
    match Record::open(folder).and_then(|record| record.design()) {
        Ok(design) if design.question != plan.question => Err(user_error(format!(
            "{} holds the record of another plan ({:?}); choose another with --record, or remove it",
            folder.display(),
            design.question
        ))),
        _ => Ok(()),
    }
}

/// Cells that an error names.
const NAMED: usize = 5;

/// An error that names the cells which a store that cannot be written lacks.
fn holds_all(store: &Store, plan: &Plan) -> Result<()> {
    let Some(why) = store.unwritable() else { return Ok(()) };
    let (cells, _) = survey(plan, store)?;
    let missing = cells.iter().filter(|found| !found.observed).map(|found| found.cell.to_string());
    let missing: Vec<String> = missing.collect();
    if missing.is_empty() {
        return Ok(());
    }
    let more = if missing.len() > NAMED { ", …" } else { "" };
    Err(user_error(format!(
        "the store cannot be written ({why}), and {} of {} cells are not in it: {}{more}; choose another with --store",
        missing.len(),
        cells.len(),
        missing[..missing.len().min(NAMED)].join(", ")
    )))
}

/// Runs a plan and writes its record.
pub(crate) fn recorded(
    catalog: &Catalog,
    plan: &Plan,
    options: &RunOptions,
    folder: &Path,
) -> Result<Record> {
    if !options.yes {
        confirm(plan.seeds.len() * plan.attacks.len() * plan.defenses.len())?;
    }
    of_this_plan(folder, plan)?;
    let budget = options.budget.as_deref().map(parse_duration).transpose();
    let budget = budget.map_err(|error| user_error(format!("--budget: {error}")))?;
    let store = Store::open(&options.choice.folder.store)?;
    holds_all(&store, plan)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.map_or(cores, usize::from);
    let record = Record::create(folder)?;
    let jobs = cells_at_a_time(plan, options, threads)?;
    let verbosity = match (options.quiet, options.json) {
        (true, _) => Verbosity::Quiet,
        (_, true) => Verbosity::Json,
        _ => Verbosity::Normal,
    };
    stop_on_ctrl_c()?;
    let started = Instant::now();
    let metrics = catalog.metrics.clone();
    let settings = Options { jobs, threads, verbosity, width: terminal_width(), budget, metrics };
    let outcome = match run_plan(plan, &store, &settings, &STOP) {
        Err(error) if error.is::<Stopped>() => {
            errln!("stopped; the same command resumes from the last finished epoch of each cell");
            return Err(error);
        }
        Err(error) => {
            // Nothing was written into it, unless an earlier run did.
            let _ = std::fs::remove_dir(folder);
            return Err(error);
        }
        Ok(outcome) => outcome,
    };
    let missing = outcome.observations.iter().filter_map(|observation| observation.evidence.as_ref().err());
    let left = missing.filter(|missing| missing.status == Status::Skipped).count();
    if left > 0 {
        errln!("{left} cells are left; the same command resumes with them");
    }
    if !outcome.others.is_empty() && verbosity == Verbosity::Normal {
        let others: Vec<String> = outcome.others.iter().map(ToString::to_string).collect();
        errln!(
            "made in part by other builds: {}; `store prune --other-builds --yes` lets this one make it again",
            others.join(", ")
        );
    }
    let elapsed = started.elapsed().as_secs();
    let times = [elapsed, outcome.stage_seconds.round() as u64];
    let (device, gpu) = (plan.precision.beside(plan.device), gpu(plan.device));
    record.write(Contents {
        plan: &plan.to_yaml()?,
        observations: &outcome.observations,
        metrics: &catalog.metrics,
        poison: outcome.poison,
        data: &outcome.data,
        triggers: &outcome.triggers,
        environment: &Environment::here(device, gpu, threads, times, &outcome.others),
    })?;
    Ok(record)
}

fn stop_on_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        errln!("\nstopping after this step; press Ctrl-C again to stop at once");
    })
    .context("cannot listen for Ctrl-C")
}

/// Name and driver of the GPU that models are trained on, as `nvidia-smi` prints them.
fn gpu(device: DeviceChoice) -> Option<String> {
    let DeviceChoice::Cuda(number) = device else { return None };
    let number = number.to_string();
    let query = ["--query-gpu=name,driver_version", "--format=csv,noheader"];
    command_output("nvidia-smi", &[&["--id", &number], &query[..]].concat())
}

/// Prints the tables of a record.
fn finish(catalog: &Catalog, record: &Record, options: &RunOptions, seconds: f64) -> Result<u8> {
    let (design, rows) = (record.design()?, record.rows()?);
    let summary = Summary::of_record(record, &rows, &catalog.metrics)?;
    let sheet = Sheet::of(&design, &summary);
    put_tables(record, &sheet, &rows)?;
    if !options.json {
        outln!("{}\n", design.question);
        out!("{}", terminal(&sheet, terminal_width()));
    }
    if !options.quiet && !options.json {
        errln!("\n{} in all; record: {}", duration(seconds), record.folder().display());
    }
    Ok(verdict_code(&sheet, options.strict))
}

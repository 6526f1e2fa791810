//! `cleanbench run`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use harness::cost::Cost;
use harness::events::{Event, emit};
use harness::progress::{Verbosity, duration};
use harness::record::{Record, Status};
use harness::report::{Summary, Verdict, judge, markdown, terminal};
use harness::run::{Observation, Options};
use harness::store::{Store, parse_duration};
use harness::{Interrupted, Plan, run as run_plan};

use super::{choose, name, terminal_width};
use crate::cli::RunOptions;
use crate::{FAILED, FINE, INTERRUPTED, UNEXPECTED, exit_code, mistake};

static STOP: AtomicBool = AtomicBool::new(false);

/// Runs a plan, writes its record, prints its tables.
pub(crate) fn run(options: &RunOptions) -> Result<u8> {
    let started = Instant::now();
    let done = run_to_end(options);
    if options.json {
        let (exit_code, seconds) = (exit_code(&done), started.elapsed().as_secs_f64());
        emit(&Event::RunFinished {
            exit_code,
            seconds,
            record: record_folder(options).display().to_string(),
        });
    }
    done
}

fn run_to_end(options: &RunOptions) -> Result<u8> {
    let budget = options.budget.as_deref().map(parse_duration).transpose();
    let budget = budget.map_err(|error| mistake(format!("--budget: {error}")))?;
    let memory = options.memory.as_deref().map(parse_size).transpose()?;
    let plan = choose(&options.choice)?;
    let folder = record_folder(options);
    let record = Record::create(&folder)?;
    let store = Store::open(&options.choice.folder.store)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.map_or(cores, usize::from);
    let jobs = cells_at_a_time(&plan, options, threads, memory);
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
    let mut outcome = match run_plan(&plan, &store, &settings, &STOP) {
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
    let elapsed = started.elapsed().as_secs();
    record.write(&plan, &mut outcome, threads, elapsed)?;
    finish(&plan, &record, options, elapsed as f64)
}

/// One a core is fastest (results/speed/parallel.md), as far as memory goes; one GPU is not faster for several models at a
/// time, and their memory adds up.
fn cells_at_a_time(plan: &Plan, options: &RunOptions, threads: usize, memory: Option<f64>) -> usize {
    if plan.device != clip::DeviceChoice::Cpu {
        return options.jobs.map_or(1, usize::from);
    }
    let wanted = options.jobs.map_or(threads, usize::from);
    let limit = match (memory, options.jobs) {
        (None, None) => available_memory().map(|available| 0.8 * available),
        (memory, _) => memory,
    };
    let Some(limit) = limit else { return wanted };
    let cost = Cost::of(plan);
    let fitting = (1..=wanted).rev().find(|jobs| cost.memory(*jobs) <= limit);
    let gigabytes = |bytes: f64| format!("{:.1} GB", bytes / 1e9);
    if fitting.is_none() {
        let needed = gigabytes(cost.memory(1));
        eprintln!(
            "warning: one cell is expected to take {needed}, more than the {} there are for it",
            gigabytes(limit)
        );
    } else if fitting != Some(wanted) && !options.quiet && !options.json {
        let jobs = fitting.unwrap_or(1);
        eprintln!("{jobs} of {wanted} cells at a time: more would not fit {}", gigabytes(limit));
    }
    fitting.unwrap_or(1)
}

/// Bytes that can be had without swapping, where the system says so.
fn available_memory() -> Option<f64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// Reads `8G` or `500M`.
fn parse_size(text: &str) -> Result<f64> {
    let scale = |unit| match unit {
        'G' => Some(1e9),
        'M' => Some(1e6),
        _ => None,
    };
    let number = |scale: f64| text[..text.len() - 1].parse::<f64>().ok().map(|number| number * scale);
    let size = text.chars().next_back().and_then(scale).and_then(number).filter(|size| *size > 0.0);
    size.ok_or_else(|| mistake(format!("--memory: {text:?} is no size; write 8G or 500M")))
}

fn record_folder(options: &RunOptions) -> PathBuf {
    match &options.record {
        Some(folder) => folder.clone(),
        None => Path::new("record").join(name(options.choice.plan.as_deref())),
    }
}

/// Prints what the record says.
fn finish(plan: &Plan, record: &Record, options: &RunOptions, seconds: f64) -> Result<u8> {
    let summary = Summary::of(&record.rows()?, record.data()?)?;
    record.put("report.md", markdown(plan, &summary).as_bytes())?;
    if !options.json {
        println!("{}\n", plan.question);
        print!("{}", terminal(plan, &summary, terminal_width()));
    }
    if !options.quiet && !options.json {
        eprintln!("\n{} in all; record: {}", duration(seconds), record.folder().display());
    }
    Ok(verdict_code(plan, &summary))
}

/// The exit code: a failed cell weighs more than a claim outside its band.
pub(crate) fn verdict_code(plan: &Plan, summary: &Summary) -> u8 {
    if !summary.failures.is_empty() {
        return FAILED;
    }
    let unexpected = |verdict| matches!(verdict, Verdict::NotReproduced | Verdict::NotImplanted);
    if judge(plan, summary).iter().any(|judgement| unexpected(judgement.verdict)) { UNEXPECTED } else { FINE }
}

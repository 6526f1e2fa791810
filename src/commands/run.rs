//! `cleanbench run`.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, Result};
use harness::progress::{Verbosity, duration};
use harness::record::Record;
use harness::report::{Summary, Verdict, judge, markdown, terminal};
use harness::run::Options;
use harness::store::Store;
use harness::{Interrupted, Plan, run as run_plan};

use super::{choose, name, terminal_width};
use crate::cli::RunOptions;
use crate::{FAILED, FINE, INTERRUPTED, UNEXPECTED, mistake};

static STOP: AtomicBool = AtomicBool::new(false);

/// Runs a plan, writes its record, prints its tables.
pub(crate) fn run(options: &RunOptions) -> Result<u8> {
    let plan = choose(&options.choice)?;
    if !options.yes {
        confirm(plan.seeds.len() * plan.attacks.len() * plan.defenses.len())?;
    }
    let folder = record_folder(options);
    let record = Record::create(&folder)?;
    let store = Store::open(&options.choice.store)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = options.threads.map_or(cores, usize::from);
    // One GPU is not faster for several models at a time, and their memory adds up.
    let cells = if plan.device == clip::DeviceChoice::Cpu { threads } else { 1 };
    let jobs = options.jobs.map_or(cells, usize::from);
    let verbosity = if options.quiet { Verbosity::Quiet } else { Verbosity::Normal };
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(i32::from(INTERRUPTED));
        }
        eprintln!("\nstopping after this step; press Ctrl-C again to stop at once");
    })
    .context("cannot listen for Ctrl-C")?;
    let started = Instant::now();
    let settings = Options { jobs, threads, verbosity, width: terminal_width() };
    let mut outcome = match run_plan(&plan, &store, &settings, &STOP) {
        Err(error) if error.is::<Interrupted>() => {
            eprintln!("stopped; the same command goes on from the last finished epoch of each cell");
            return Err(error);
        }
        other => other?,
    };
    let elapsed = started.elapsed().as_secs();
    record.write(&plan, &mut outcome, threads, elapsed)?;
    finish(&plan, &record, options, elapsed as f64)
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
    println!("{}", plan.question);
    println!();
    print!("{}", terminal(plan, &summary, terminal_width()));
    if !options.quiet {
        eprintln!("\n{} in all; record: {}", duration(seconds), record.folder().display());
    }
    Ok(verdict_code(plan, &summary))
}

/// The exit code: a failed cell weighs more than a claim outside its band.
pub(crate) fn verdict_code(plan: &Plan, summary: &Summary) -> u8 {
    if !summary.failures.is_empty() {
        return FAILED;
    }
    let unexpected =
        |verdict| matches!(verdict, Verdict::NotReproduced | Verdict::Undecided | Verdict::NotImplanted);
    if judge(plan, summary).iter().any(|judgement| unexpected(judgement.verdict)) { UNEXPECTED } else { FINE }
}

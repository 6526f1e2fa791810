//! Answers a driver (`benches/versus_pytorch/run`): one JSON request a line on standard input, one JSON answer a line
//! on standard output. Its counterpart is `benches/versus_pytorch/worker.py`.

use std::io::{BufRead, Write};
use std::time::Instant;

use clip::candle_core::{Error, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::place::Place;
use crate::prepare::prepare;
use crate::rows::Work;
use crate::work::Workload;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", rename_all_fields = "kebab-case")]
enum Request {
    /// Makes a piece of work ready in place of the one before; a model's weights are written to `weights`.
    Prepare { work: Box<Work>, weights: Option<String> },
    /// Runs the work once or a few times and says what came out.
    Check {},
    /// Seconds of `repetitions` samples, each the mean of `inner` runs.
    Run { repetitions: usize, inner: usize },
    /// Makes the work ready in a fresh process, runs it `repetitions` times and says what memory the process held.
    Memory { work: Box<Work>, repetitions: usize },
}

/// Serves until standard input ends.
pub(crate) fn serve(place: &Place) -> Result<()> {
    let mut current: Option<Box<dyn Workload>> = None;
    for line in std::io::stdin().lock().lines() {
        let answer = match answer(place, &mut current, &line.map_err(Error::wrap)?) {
            Ok(answer) => answer,
            Err(error) => json!({ "error": error.to_string() }),
        };
        println!("{answer}");
        std::io::stdout().flush().map_err(Error::wrap)?;
    }
    Ok(())
}

fn ready(current: &mut Option<Box<dyn Workload>>) -> Result<&mut dyn Workload> {
    match current {
        Some(work) => Ok(work.as_mut()),
        None => bail!("nothing is prepared"),
    }
}

fn answer(place: &Place, current: &mut Option<Box<dyn Workload>>, line: &str) -> Result<Value> {
    match serde_json::from_str(line).map_err(Error::wrap)? {
        Request::Prepare { work, weights } => {
            *current = None; // frees the memory of the one before first
            let prepared = prepare(&work, weights.as_deref(), place)?;
            let count = prepared.count();
            *current = Some(prepared);
            serde_json::to_value(count).map_err(Error::wrap)
        }
        Request::Check {} => {
            let check = ready(current)?.check()?;
            serde_json::to_value(check).map_err(Error::wrap)
        }
        Request::Run { repetitions, inner } => {
            Ok(json!({ "seconds": seconds(ready(current)?, repetitions, inner)? }))
        }
        Request::Memory { work, repetitions } => {
            let before = status("VmRSS")?;
            let mut work = prepare(&work, None, place)?;
            // What making the model took at its peak is not the step's: the kernel starts a new peak.
            std::fs::write("/proc/self/clear_refs", "5").map_err(Error::wrap)?;
            seconds(work.as_mut(), repetitions, 1)?;
            Ok(json!({ "before": before, "peak": status("VmHWM")? }))
        }
    }
}

/// Seconds of each sample: the mean of `inner` runs.
pub(crate) fn seconds(work: &mut dyn Workload, repetitions: usize, inner: usize) -> Result<Vec<f64>> {
    let sample = |_| {
        let started = Instant::now();
        (0..inner.max(1)).try_for_each(|_| work.run())?;
        work.wait()?;
        Ok(started.elapsed().as_secs_f64() / inner.max(1) as f64)
    };
    (0..repetitions).map(sample).collect()
}

/// Bytes of a line of `/proc/self/status`.
fn status(name: &str) -> Result<usize> {
    let text = std::fs::read_to_string("/proc/self/status").map_err(Error::wrap)?;
    let number = |line: &str| line.strip_prefix(name)?.split_whitespace().nth(1)?.parse::<usize>().ok();
    match text.lines().find_map(number) {
        Some(kibibytes) => Ok(kibibytes << 10),
        None => bail!("/proc/self/status has no {name}"),
    }
}

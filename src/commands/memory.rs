//! How many cells fit memory.

use anyhow::Result;
use base::{errln, size};
use plan::Plan;
use plan::cost::Cost;
use plan::memory;

use crate::cli::RunOptions;
use crate::user_error;

/// One per core is fastest (results/speed/parallel.md), if memory suffices; a GPU is not faster with several models at a
/// time, and their memory adds up.
pub(crate) fn cells_at_a_time(plan: &Plan, options: &RunOptions, threads: usize) -> Result<usize> {
    let stated = options.memory.as_deref().map(parse_size).transpose()?;
    if plan.device != clip::DeviceChoice::Cpu {
        return Ok(options.jobs.map_or(1, usize::from));
    }
    let wanted = options.jobs.map_or(threads, usize::from);
    let limit = match (stated, options.jobs) {
        (None, None) => memory::available().map(|available| 0.8 * available),
        (stated, _) => stated,
    };
    let Some(limit) = limit else { return Ok(wanted) };
    let expected = Cost::of(plan).memory();
    let fitting = (1..=wanted).rev().find(|jobs| expected.of(*jobs) <= limit);
    if fitting.is_none() {
        let needed = size(expected.of(1));
        errln!(
            "warning: one cell is expected to take {needed}, more than the {} there are for it",
            size(limit)
        );
    } else if fitting != Some(wanted) && !options.quiet && !options.json {
        let jobs = fitting.unwrap_or(1);
        errln!("{jobs} of {wanted} cells at a time: more would not fit {}", size(limit));
    }
    Ok(fitting.unwrap_or(1))
}

/// Reads `8G` or `500M`.
fn parse_size(text: &str) -> Result<f64> {
    let scale = |unit| match unit {
        'T' => Some(1e12),
        'G' => Some(1e9),
        'M' => Some(1e6),
        _ => None,
    };
    let number = |scale: f64| text[..text.len() - 1].parse::<f64>().ok().map(|number| number * scale);
    let size = text.chars().next_back().and_then(scale).and_then(number).filter(|size| *size > 0.0);
    size.ok_or_else(|| user_error(format!("--memory: {text:?} is not a size; write 8G or 500M")))
}

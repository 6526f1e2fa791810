//! How fast each operation and each model is on this machine.
//!
//!     cargo bench -p clip --bench speed                  # our side alone: time, rate, share of the peak
//!     cargo bench -p clip --bench speed -- conv batch    # rows whose names contain one of these
//!     RAYON_NUM_THREADS=1 cargo bench -p clip --bench speed
//!     benches/versus_pytorch/run                         # the same rows beside PyTorch
//!
//! The last one starts this program with `serve`.

mod inputs;
mod models;
mod operations;
mod place;
mod prepare;
mod rows;
mod serve;
mod work;

use clip::candle_core::Result;

use crate::prepare::prepare;
use crate::rows::Row;
use crate::serve::seconds;
use crate::work::Count;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Samples of a row, and about how long one lasts.
const SAMPLES: usize = 9;
const SAMPLE_SECONDS: f64 = 0.03;

fn main() -> Result<()> {
    clip::kernels::keep_freed_memory();
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        Some("serve") => serve::serve(&place::Place::of(&arguments[1..])?),
        Some("--help" | "-h") => {
            println!(
                "cargo bench -p clip --bench speed -- [part of a row's name]...\nRAYON_NUM_THREADS sets the threads; benches/versus_pytorch/run compares with PyTorch."
            );
            Ok(())
        }
        _ => table(&arguments),
    }
}

/// Median seconds and spread (half of the distance between the quartiles, as a share of the median).
fn timed(row: &Row) -> Result<(f64, f64, Count)> {
    let mut work = prepare(&row.work, None, &place::Place::of(&[])?)?;
    let warm = seconds(work.as_mut(), 2, 1)?;
    let inner = (SAMPLE_SECONDS / warm[1].max(1e-9)).ceil().clamp(1.0, 1e4) as usize;
    let mut samples = seconds(work.as_mut(), SAMPLES, inner)?;
    samples.sort_by(f64::total_cmp);
    let [low, median, high] = [1, 2, 3].map(|quarter| samples[quarter * (SAMPLES - 1) / 4]);
    Ok((median, (high - low) / (2.0 * median), work.count()))
}

/// Prints the rows whose names contain one of `filters`, all operations where there are none.
fn table(filters: &[String]) -> Result<()> {
    let rows = rows::rows()?;
    let is_model = |row: &Row| matches!(row.work, rows::Work::Step { .. } | rows::Work::Encode { .. });
    let wanted = |row: &&Row| match filters {
        [] => !is_model(row),
        filters => filters.iter().any(|filter| row.name.contains(filter.as_str())),
    };
    let mut peak = 0f64;
    for row in rows.iter().filter(|row| row.name == "sgemm") {
        let (seconds, _, count) = timed(row)?;
        peak = peak.max(count.flop / seconds);
    }
    println!("{} threads, sgemm peak {:.0} GFLOP/s", rayon::current_num_threads(), peak / 1e9);
    println!(
        "{:<26} {:>12} {:>7} {:>9} {:>14} {:>6}  work",
        "row", "time", "spread", "GFLOP", "rate", "peak"
    );
    for row in rows.iter().filter(wanted) {
        let (seconds, spread, Count { flop, bytes }) = timed(row)?;
        let rate = if flop > 0.0 {
            format!("{:.0} GFLOP/s", flop / seconds / 1e9)
        } else {
            format!("{:.1} GB/s", bytes / seconds / 1e9)
        };
        let share = if flop > 0.0 { format!("{:.0} %", 100.0 * flop / seconds / peak) } else { "-".into() };
        println!(
            "{:<26} {:>9.3} ms {:>5.1} % {:>9.2} {:>14} {:>6}  {}",
            row.name,
            seconds * 1e3,
            spread * 100.0,
            flop / 1e9,
            rate,
            share,
            row.title
        );
    }
    Ok(())
}

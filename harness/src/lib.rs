//! The contracts, and a cell's life: plan, poison, train, defend, observe, measure, record, report.

mod agenda;
mod archive;
pub mod catalog;
pub mod conformance;
pub mod contract;
pub mod cost;
pub mod coverage;
pub mod events;
pub mod evidence;
pub mod external;
pub mod metric;
pub mod page;
pub mod plan;
pub mod predict;
pub mod program;
pub mod progress;
pub mod provenance;
pub mod record;
pub mod report;
pub mod run;
mod stages;
pub mod statistics;
pub mod store;
pub mod survey;
pub mod verify;

pub use catalog::Catalog;
pub use plan::Plan;
pub use run::run;
pub use stages::{Bad, Interrupted, Unfit, measure_checkpoint};

/// What a panic said.
pub(crate) fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it said nothing")
}

/// BLAKE3 of a file's bytes, in 64 hexadecimal digits.
pub fn hash_file(path: &std::path::Path) -> std::io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    hasher.update_reader(std::fs::File::open(path)?)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// An error and its causes on one line, without the backtraces that candle puts into its messages where
/// `RUST_BACKTRACE` is set.
pub fn describe(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let message = text.split("\n   0: ").next().unwrap_or_default();
    message.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(": ")
}

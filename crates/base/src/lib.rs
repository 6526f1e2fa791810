//! What every other crate may use and what decides whether a number can be reproduced: named seeds, content hashes,
//! the identity of the program that ran, and how progress and errors are shown.
//!
//! It holds no tensors and knows neither models nor attacks, so that reading a record compiles in seconds.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic where nothing can be written; `output` does not"
)]

pub mod archive;
mod aside;
mod build;
mod guard;
pub mod output;
mod progress;
mod seed;
mod suggestion;

pub use aside::Aside;
pub use build::{Build, COMPILER, NAME, command_output};
pub use guard::{Panicked, guarded, panic_text};
pub use progress::{Progress, Step, Verbosity, duration, print_event, size};
pub use seed::Seed;
pub use suggestion::{nearest, suggestion};

/// Work was stopped before its end: by the user, or because its time was up. What was saved is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped;

impl std::fmt::Display for Stopped {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("stopped before the end")
    }
}

impl std::error::Error for Stopped {}

/// Name of the entries that do nothing: among attacks the unpoisoned model, among defenses the undefended one.
pub const BASELINE: &str = "none";

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

#[cfg(test)]
mod tests {
    #[test]
    fn errors_are_described_on_one_line() {
        let error = anyhow::anyhow!("no space\n   0: frame\n      at file.rs:1").context("cannot write");
        assert_eq!(super::describe(&error), "cannot write: no space");
    }
}

//! What a program prints. `print!` panics where its output cannot be written, on a full disk for one; these macros note
//! the problem of standard output, which [`problem`] tells at the end, and go on: a run whose output is lost still
//! writes its record. What standard error cannot take is lost.

use std::fmt::Arguments;
use std::io::{self, Write};
use std::sync::OnceLock;

static PROBLEM: OnceLock<io::Error> = OnceLock::new();

/// Prints to standard output, as `print!` does.
#[macro_export]
macro_rules! out {
    ($($text:tt)*) => { $crate::output::print(format_args!($($text)*)) };
}

/// Prints a line to standard output, as `println!` does.
#[macro_export]
macro_rules! outln {
    () => { $crate::out!("\n") };
    ($($text:tt)*) => { $crate::out!("{}\n", format_args!($($text)*)) };
}

/// Prints a line to standard error, as `eprintln!` does.
#[macro_export]
macro_rules! errln {
    ($($text:tt)*) => { $crate::output::print_error(format_args!("{}\n", format_args!($($text)*))) };
}

/// What [`out!`] does.
pub fn print(text: Arguments<'_>) {
    if PROBLEM.get().is_none() {
        note(io::stdout().lock().write_fmt(text));
    }
}

/// What [`errln!`] does.
pub fn print_error(text: Arguments<'_>) {
    let mut stderr = io::stderr().lock();
    let _ = stderr.write_fmt(text).and_then(|()| stderr.flush());
}

/// The first problem with standard output, once everything that was printed is written.
pub fn problem() -> Option<&'static io::Error> {
    note(io::stdout().lock().flush());
    PROBLEM.get()
}

/// Notes the outcome of another way of printing to standard output.
pub fn note(done: io::Result<()>) {
    if let Err(error) = done {
        let _ = PROBLEM.set(error);
    }
}

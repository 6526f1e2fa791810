//! The command line.

mod cli;
mod commands;

use std::process::ExitCode;

use clap::Parser;
use harness::{Interrupted, describe};

use cli::{Cli, Command, DataCommand};

/// An allocator that reuses the pages of large tensors: several times faster training than with glibc's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Everything as expected.
const FINE: u8 = 0;
/// A claim lies outside its band.
const UNEXPECTED: u8 = 1;
/// The user made a mistake.
const MISTAKE: u8 = 2;
/// A cell or the program failed.
const FAILED: u8 = 3;
/// Stopped by Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

/// Something that the user can put right.
#[derive(Debug)]
pub(crate) struct Mistake(String);

impl std::fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}

/// An error that the user can put right.
pub(crate) fn mistake(message: impl Into<String>) -> anyhow::Error {
    Mistake(message.into()).into()
}

fn main() -> ExitCode {
    clip::kernels::keep_freed_memory();
    let cli = Cli::parse();
    let done = match cli.command {
        None => commands::run::run(&cli.run),
        Some(Command::Run(options)) => commands::run::run(&options),
        Some(Command::Test(options)) => commands::test::test(&options),
        Some(Command::Plan(options)) => commands::plan::plan(&options),
        Some(Command::List(options)) => commands::list::list(&options),
        Some(Command::Report(options)) => commands::report::report(&options),
        Some(Command::Expect(options)) => commands::records::expect(&options),
        Some(Command::Replay(options)) => commands::records::replay(&options),
        Some(Command::Diff(options)) => commands::records::diff(&options),
        Some(Command::Merge(options)) => commands::records::merge(&options),
        Some(Command::Bundle(options)) => commands::records::bundle(&options),
        Some(Command::Show(options)) => commands::show::triggers(&options),
        Some(Command::Data(DataCommand::Show(options))) => commands::show::scenes(&options),
        Some(Command::Data(DataCommand::Bench(options))) => commands::bench::bench(&options),
        Some(Command::Data(DataCommand::Fetch(options))) => commands::fetch::fetch(&options),
        Some(Command::Data(DataCommand::Inspect(options))) => commands::data::inspect::inspect(&options),
        Some(Command::Data(DataCommand::Subset(options))) => commands::data::subset::subset(&options),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) if error.is::<Interrupted>() => ExitCode::from(INTERRUPTED),
        Err(error) => {
            eprintln!("error: {}", describe(&error));
            let mistaken = error.is::<Mistake>() || error.is::<harness::plan::PlanError>();
            ExitCode::from(if mistaken { MISTAKE } else { FAILED })
        }
    }
}

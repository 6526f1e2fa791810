//! The lists of data sets, attacks and defenses joined into one catalog, and the command line over a catalog: the whole
//! program, to which another crate can add entries of its own. Holds no algorithm.

pub mod cells;
mod cli;
mod commands;
mod published;

use std::process::ExitCode;

use clap::Parser;
use harness::plan::PlanError;
use harness::{Catalog, Interrupted, Unfit, describe};

pub use clip;
pub use harness;

use cli::{Cli, Command, DataCommand, WeightsCommand};

/// An allocator that reuses the pages of large tensors: several times faster training than with glibc's. It is set
/// here and not in `main.rs`, so that programs with entries of their own have it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Everything as expected.
const FINE: u8 = 0;
/// A claim is not reproduced, or undecided.
const UNEXPECTED: u8 = 1;
/// The user made a mistake.
const MISTAKE: u8 = 2;
/// A cell or the program failed.
const FAILED: u8 = 3;
/// Stopped by Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

/// The plan that runs where none is named.
pub const DEFAULT_PLAN: &str = include_str!("../results/tiny/plan.yaml");

/// Everything that comes with the program.
pub fn builtin() -> Catalog {
    Catalog { datasets: datasets::all(), attacks: attacks::all(), defenses: defenses::all() }
}

/// The command line over a catalog.
pub trait RunCli {
    /// Does what the program's arguments say with these entries: the whole of `main`. Where two entries share a name
    /// it does nothing but say so.
    fn run_cli(self) -> ExitCode;
}

impl RunCli for Catalog {
    fn run_cli(self) -> ExitCode {
        sigpipe::reset();
        clip::kernels::keep_freed_memory();
        let cli = Cli::parse();
        let done = self.check().map_err(|error| mistake(error.to_string())).and_then(|()| obey(&self, cli));
        if let Err(error) = done.as_ref()
            && !error.is::<Interrupted>()
        {
            eprintln!("error: {}", describe(error));
        }
        ExitCode::from(exit_code(&done))
    }
}

/// The exit code of what a command brought.
fn exit_code(done: &anyhow::Result<u8>) -> u8 {
    match done {
        Ok(code) => *code,
        Err(error) if error.is::<Interrupted>() => INTERRUPTED,
        Err(error) if error.is::<Mistake>() || error.is::<PlanError>() || error.is::<Unfit>() => MISTAKE,
        Err(_) => FAILED,
    }
}

/// Does what the command line says; returns the exit code.
fn obey(catalog: &Catalog, cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        None => {
            commands::is_no_slip(&cli.run)?;
            commands::run::run(catalog, &cli.run)
        }
        Some(Command::Run(options)) => commands::run::run(catalog, &options),
        Some(Command::Plan(options)) => commands::plan::plan(catalog, &options),
        Some(Command::List(options)) => commands::list::list(catalog, &options),
        Some(Command::Report(options)) => commands::report::report(catalog, &options),
        Some(Command::Test(options)) => commands::test::test(catalog, &options),
        Some(Command::Expect(options)) => commands::records::expect(&options),
        Some(Command::Replay(options)) => commands::records::replay(catalog, &options),
        Some(Command::Diff(options)) => commands::records::diff(&options),
        Some(Command::Merge(options)) => commands::records::merge(catalog, &options),
        Some(Command::Bundle(options)) => commands::records::bundle(&options),
        Some(Command::Compare(options)) => commands::compare::compare(catalog, &options),
        Some(Command::Conformance(options)) => commands::conformance::conformance(catalog, &options),
        Some(Command::New(options)) => commands::new::new(catalog, &options),
        Some(Command::Verify(options)) => commands::verify::verify(catalog, &options),
        Some(Command::Card(options)) => commands::card::card(catalog, &options),
        Some(Command::Weights(WeightsCommand::Show(options))) => commands::weights::show(&options),
        Some(Command::Weights(WeightsCommand::Convert(options))) => commands::weights::convert(&options),
        Some(Command::Weights(WeightsCommand::Export(options))) => {
            commands::weights::export(catalog, &options)
        }
        Some(Command::Store(command)) => commands::store::store(catalog, &command),
        Some(Command::Show(options)) => commands::show::triggers(catalog, &options),
        Some(Command::Data(DataCommand::Show(options))) => commands::show::scenes(catalog, &options),
        Some(Command::Data(DataCommand::Fetch(options))) => commands::fetch::fetch(&options),
        Some(Command::Data(DataCommand::Inspect(options))) => commands::data::inspect::inspect(&options),
        Some(Command::Data(DataCommand::Subset(options))) => commands::data::subset::subset(&options),
        Some(Command::Data(DataCommand::Bench(options))) => commands::bench::bench(&options),
    }
}

/// Something that the user can put right.
#[derive(Debug)]
struct Mistake(String);

impl std::fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for Mistake {}

/// An error that the user can put right.
fn mistake(message: impl Into<String>) -> anyhow::Error {
    Mistake(message.into()).into()
}

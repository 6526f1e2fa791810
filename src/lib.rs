//! The whole program: everything that comes with the suite in one catalog, and the command line over a catalog, to which
//! another crate can add entries of its own. Holds no algorithm.

#![warn(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic where nothing can be written; base::output does not"
)]

mod cli;
mod commands;
mod published;
pub mod trials;

use std::process::ExitCode;

use base::{Stopped, describe, errln, output};
use clap::Parser;
use harness::Unfit;
use plan::{Catalog, PlanError};
use record::Metrics;

pub use {clip, contract, harness, plan, record, report, store};

use cli::{Cli, Command, DataCommand, WeightsCommand};

/// An allocator that reuses the pages of large tensors: several times faster training than with glibc's. It is set
/// here and not in `main.rs`, so that programs with entries of their own have it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Success.
const SUCCESS: u8 = 0;
/// A claim that must hold is not reproduced, or a comparison found nothing.
const CLAIM_FAILED: u8 = 1;
/// The plan or the command line is wrong.
const USAGE_ERROR: u8 = 2;
/// A cell or the program failed.
const FAILED: u8 = 3;
/// Stopped by Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

/// The plan that runs where none is named.
pub const DEFAULT_PLAN: &str = include_str!("../results/tiny/plan.yaml");

/// Everything that comes with the program.
pub fn builtin() -> Catalog {
    Catalog {
        datasets: datasets::all(),
        attacks: attacks::all(),
        defenses: defenses::all(),
        metrics: Metrics::builtin(),
    }
}

/// The command line over a catalog.
pub trait RunCli {
    /// Runs the command of the program's arguments with these entries: the whole of `main`. Two entries that share a name
    /// are an error.
    fn run_cli(self) -> ExitCode;
}

impl RunCli for Catalog {
    fn run_cli(self) -> ExitCode {
        sigpipe::reset();
        clip::kernels::keep_freed_memory();
        let mut arguments: Vec<_> = std::env::args_os().collect();
        if arguments.len() == 1 {
            arguments.push("run".into());
        }
        let code = match Cli::try_parse_from(arguments) {
            Ok(cli) => run_command(&self, cli),
            Err(error) => commands::usage_error(error),
        };
        ExitCode::from(match output::problem() {
            Some(error) => {
                errln!("error: cannot write to standard output: {error}");
                FAILED
            }
            None => code,
        })
    }
}

/// Runs a command and says what is wrong; returns the exit code.
fn run_command(catalog: &Catalog, cli: Cli) -> u8 {
    let known = catalog.check().map_err(|error| user_error(error.to_string()));
    let done = known.and_then(|()| dispatch(catalog, cli));
    if let Err(error) = &done
        && !error.is::<Stopped>()
    {
        errln!("error: {}", describe(error));
    }
    exit_code(&done)
}

/// The exit code of a command's result.
fn exit_code(done: &anyhow::Result<u8>) -> u8 {
    match done {
        Ok(code) => *code,
        Err(error) if error.is::<Stopped>() => INTERRUPTED,
        Err(error) if error.is::<UserError>() || error.is::<PlanError>() || error.is::<Unfit>() => {
            USAGE_ERROR
        }
        Err(_) => FAILED,
    }
}

/// Runs a command; returns the exit code.
fn dispatch(catalog: &Catalog, cli: Cli) -> anyhow::Result<u8> {
    match cli.command {
        Command::Run(options) => commands::run::run(catalog, &options),
        Command::Plan(options) => commands::plan::plan(catalog, &options),
        Command::List(options) => commands::list::list(catalog, &options),
        Command::Report(options) => commands::report::report(catalog, &options),
        Command::Test(options) => commands::test::test(catalog, &options),
        Command::Expect(options) => commands::records::expect(&options),
        Command::Replay(options) => commands::records::replay(catalog, &options),
        Command::Diff(options) => commands::records::diff(&options),
        Command::Merge(options) => commands::records::merge(catalog, &options),
        Command::Bundle(options) => commands::records::bundle(catalog, &options),
        Command::Compare(options) => commands::compare::compare(catalog, &options),
        Command::Conformance(options) => commands::conformance::conformance(catalog, &options),
        Command::New(options) => commands::new::new(catalog, &options),
        Command::Verify(options) => commands::verify::verify(catalog, &options),
        Command::Card(options) => commands::card::card(catalog, &options),
        Command::Weights(WeightsCommand::Show(options)) => commands::weights::show(&options),
        Command::Weights(WeightsCommand::Convert(options)) => commands::weights::convert(&options),
        Command::Weights(WeightsCommand::Export(options)) => commands::weights::export(catalog, &options),
        Command::Store(command) => commands::store::store(catalog, &command),
        Command::Show(options) => commands::show::triggers(catalog, &options),
        Command::Data(DataCommand::Show(options)) => commands::show::scenes(catalog, &options),
        Command::Data(DataCommand::Fetch(options)) => commands::fetch::fetch(&options),
        Command::Data(DataCommand::Inspect(options)) => commands::data::inspect::inspect(&options),
        Command::Data(DataCommand::Subset(options)) => commands::data::subset::subset(&options),
        Command::Data(DataCommand::Bench(options)) => commands::bench::bench(&options),
    }
}

/// An error that the user can correct.
#[derive(Debug)]
struct UserError(String);

impl std::fmt::Display for UserError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for UserError {}

/// An error that the user can correct.
fn user_error(message: impl Into<String>) -> anyhow::Error {
    UserError(message.into()).into()
}

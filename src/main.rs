//! The program with everything that comes with it.

use std::process::ExitCode;

use cleanbench::{RunCli, builtin};

fn main() -> ExitCode {
    builtin().run_cli()
}

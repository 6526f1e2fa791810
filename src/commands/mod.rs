//! One file a command.

pub(crate) mod bench;
pub(crate) mod card;
pub(crate) mod compare;
pub(crate) mod conformance;
pub(crate) mod data;
pub(crate) mod fetch;
pub(crate) mod list;
mod memory;
pub(crate) mod new;
pub(crate) mod plan;
pub(crate) mod records;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod show;
pub(crate) mod store;
pub(crate) mod test;
pub(crate) mod verify;
pub(crate) mod weights;

use std::path::Path;

use anyhow::Result;
use clap::CommandFactory;
use harness::catalog::nearest;
use harness::contract::{Attack, Defense};
use harness::plan::Choice;
use harness::{Catalog, Plan};

use crate::cli::{Cli, PlanChoice, RunOptions};
use crate::{DEFAULT_PLAN, mistake};

/// Columns of the terminal; 100 where there is none.
pub(crate) fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0))
}

/// The named plan, or the one that comes with the program.
pub(crate) fn load(catalog: &Catalog, path: Option<&Path>) -> Result<Plan> {
    match path {
        Some(path) => Plan::load(path, catalog),
        None => Ok(Plan::parse("results/tiny/plan.yaml (built in)", DEFAULT_PLAN, catalog)?),
    }
}

/// Refuses a plan that is no file and whose name is nearly that of a command.
pub(crate) fn is_no_slip(options: &RunOptions) -> Result<()> {
    let Some(path) = options.choice.plan.as_deref().filter(|path| !path.exists()) else { return Ok(()) };
    let command = Cli::command();
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    match path.to_str().and_then(|given| nearest(given, &names)) {
        Some(name) => {
            Err(mistake(format!("{path:?} is neither a command nor a plan; did you mean {name:?}?")))
        }
        None => Ok(()),
    }
}

/// The plan of a command line.
pub(crate) fn choose(catalog: &Catalog, choice: &PlanChoice) -> Result<Plan> {
    let mut plan = load(catalog, choice.plan.as_deref())?;
    if let Some(seeds) = choice.seeds {
        plan.seeds = (0..seeds).collect();
    }
    plan.device = choice.device.unwrap_or(plan.device);
    plan.device.check().map_err(|error| mistake(error.to_string()))?;
    are_ready("attacks", &plan.attacks, Attack::ready)?;
    are_ready("defenses", plan.defenses.iter().chain(&plan.pretraining), Defense::ready)?;
    Ok(plan)
}

/// An error where this machine lacks what one of a plan's methods needs.
fn are_ready<'a, T: 'static>(
    key: &str,
    choices: impl IntoIterator<Item = &'a Choice<T>>,
    ready: fn(&T) -> Result<()>,
) -> Result<()> {
    for choice in choices {
        ready(&choice.build()?).map_err(|error| mistake(format!("{key}, {}: {error:#}", choice.label)))?;
    }
    Ok(())
}

/// The plan's name: its file's without the ending, or its folder's where the file is called plan.yaml.
pub(crate) fn name(path: Option<&Path>) -> String {
    let Some(path) = path else { return "tiny".to_owned() };
    let stem = |path: &Path| path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    match stem(path) {
        Some(stem) if !stem.starts_with("plan") => stem,
        _ => path.parent().and_then(stem).unwrap_or_else(|| "plan".to_owned()),
    }
}

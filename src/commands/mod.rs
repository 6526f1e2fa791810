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

use ::plan::{Catalog, Choice, Plan};
use anyhow::Result;
use base::{Progress, Verbosity, errln, output};
use clap::error::{ContextKind, ContextValue};
use contract::{Attack, Defense};

use crate::cli::PlanChoice;
use crate::{DEFAULT_PLAN, USAGE_ERROR, user_error};

/// Columns of the terminal; 100 where there is none.
pub(crate) fn terminal_width() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0))
}

/// Progress over `total`, or nothing.
pub(crate) fn progress(quiet: bool, total: f64) -> Progress {
    let verbosity = if quiet { Verbosity::Quiet } else { Verbosity::Normal };
    Progress::new(verbosity, total, terminal_width())
}

/// The named plan, or the one that comes with the program.
pub(crate) fn load(catalog: &Catalog, path: Option<&Path>) -> Result<Plan> {
    match path {
        Some(path) => Ok(Plan::load(path, catalog)?),
        None => Ok(Plan::parse("results/tiny/plan.yaml (built in)", DEFAULT_PLAN, catalog)?),
    }
}

/// Prints why a command line cannot be read, with the command that was probably meant.
pub(crate) fn usage_error(error: clap::Error) -> u8 {
    let plan = match error.get(ContextKind::InvalidSubcommand) {
        Some(ContextValue::String(given)) if Path::new(given).is_file() => Some(given.clone()),
        _ => None,
    };
    let printed = error.print();
    if !error.use_stderr() {
        output::note(printed);
    }
    if let Some(plan) = plan {
        errln!("to run a plan: cleanbench run {plan}");
    }
    u8::try_from(error.exit_code()).unwrap_or(USAGE_ERROR)
}

/// The plan of a command line.
pub(crate) fn choose(catalog: &Catalog, choice: &PlanChoice) -> Result<Plan> {
    let mut plan = load(catalog, choice.plan.as_deref())?;
    if let Some(seeds) = choice.seeds {
        let seeds: Vec<u64> = (0..seeds).collect();
        if seeds != plan.seeds {
            // Required bands are those of the plan's own seeds.
            plan.claims.retain(|claim| !claim.required);
            plan.seeds = seeds;
        }
    }
    plan.device = choice.device.unwrap_or(plan.device);
    plan.precision = choice.precision.unwrap_or(plan.precision);
    plan.device.check(plan.precision).map_err(|error| user_error(error.to_string()))?;
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
        ready(&choice.build()?).map_err(|error| user_error(format!("{key}, {}: {error:#}", choice.label)))?;
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

//! `cleanbench test`.

use std::sync::Arc;

use anyhow::{Context, Result};
use base::{guarded, nearest, outln};
use libtest_mimic::Arguments;
use plan::Catalog;
use serde_json::json;

use super::choose;
use crate::cli::TestOptions;
use crate::trials::{Entry, OUTCOMES, Trials, counted};
use crate::{CLAIM_FAILED, FAILED, SUCCESS, user_error};

/// Runs cells and claims of a plan as tests.
pub(crate) fn test(catalog: &Catalog, options: &TestOptions) -> Result<u8> {
    let plan = choose(catalog, &options.choice)?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    // One GPU is not faster for several models at a time, and their memory adds up.
    let cells = if plan.device == clip::DeviceChoice::Cpu { cores } else { 1 };
    let at_once = options.jobs.map_or(cells, usize::from);
    let store = options.choice.folder.store.clone();
    let own = Arc::new(Trials::new(plan, catalog.metrics.clone(), store, cores / at_once)?);
    let trials = own.trials()?;
    let chosen = |name: &str| match &options.filter {
        Some(filter) if options.exact => name == filter,
        Some(filter) => name.contains(filter.as_str()),
        None => true,
    };
    let is_empty = !trials.iter().any(|trial| chosen(trial.name()));
    if let Some(filter) = options.filter.as_deref().filter(|_| is_empty) {
        let names: Vec<&str> = trials.iter().map(libtest_mimic::Trial::name).collect();
        let near = nearest(filter, &names)
            .map_or_else(|| "--list shows them".to_owned(), |name| format!("did you mean {name:?}?"));
        return Err(user_error(format!("no cell or claim is called {filter:?}; {near}")));
    }
    if options.list {
        trials.iter().filter(|trial| chosen(trial.name())).for_each(|trial| outln!("{}", trial.name()));
        return Ok(SUCCESS);
    }
    let arguments = Arguments {
        filter: options.filter.clone(),
        exact: options.exact,
        ignored: options.ignored,
        include_ignored: options.include_ignored,
        test_threads: Some(at_once),
        ..Arguments::default()
    };
    let conclusion =
        guarded(|| libtest_mimic::run(&arguments, trials)).ok().context("cannot print the trials")?;
    let ledger = own.ledger();
    outln!("{}", counted(&ledger));
    let count = |outcome: &str| ledger.iter().filter(|entry| entry.outcome == outcome).count();
    let heavy = (conclusion.num_ignored as usize).saturating_sub(count("skipped"));
    if heavy > 0 && !options.ignored {
        outln!("{heavy} left out as heavy; --ignored runs them");
    }
    if let Some(path) = &options.json {
        let counts: serde_json::Map<_, _> =
            OUTCOMES.iter().map(|outcome| (outcome.replace(' ', "_"), count(outcome).into())).collect();
        let trial = |entry: &Entry| json!({ "name": entry.name, "outcome": entry.outcome.replace(' ', "_"), "message": entry.message });
        let trials: Vec<_> = ledger.iter().map(trial).collect();
        let all = json!({ "counts": counts, "heavy": heavy, "trials": trials });
        let text = serde_json::to_string_pretty(&all)?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    let denied = options.deny_skips && count("skipped") > 0;
    if denied {
        outln!("failed: --deny-skips, and {} were skipped", count("skipped"));
    }
    let code = if conclusion.has_failed() || denied { CLAIM_FAILED } else { SUCCESS };
    Ok(if count("failed") > 0 { FAILED } else { code })
}

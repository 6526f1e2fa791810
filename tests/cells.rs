//! Cells as tests: every attack against every defense of the smoke plan, each a trial of its own.
//!
//! `cargo test --release --test cells -- --list` names them; a filter such as `badnet::` runs some of them. A process
//! for each, as cargo-nextest starts them, shares a store with the others.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use cleanbench::builtin;
use cleanbench::trials::{Trials, counted};
use libtest_mimic::{Arguments, Failed, Trial};
use plan::Plan;

/// Where nothing is poisoned, filters drop nothing and train the undefended model again; elsewhere they do not.
fn filters_drop_what_was_poisoned(smoke: &Trials) -> Result<(), Failed> {
    for filter in ["oracle-filter", "random-filter"] {
        if smoke.values("none", filter, 0)? != smoke.values("none", "none", 0)? {
            return Err(format!("{filter} drops pairs that nobody poisoned").into());
        }
        if smoke.values("badnet", filter, 0)? == smoke.values("badnet", "none", 0)? {
            return Err(format!("{filter} drops nothing").into());
        }
    }
    Ok(())
}

/// A store for the processes of this very build, so that no trial is answered by what other code made.
fn store() -> anyhow::Result<PathBuf> {
    let built = std::fs::metadata(std::env::current_exe()?)?.modified()?.duration_since(UNIX_EPOCH)?;
    let (parent, name) = (Path::new(env!("CARGO_TARGET_TMPDIR")), format!("cells-{}", built.as_nanos()));
    for entry in std::fs::read_dir(parent)? {
        let entry = entry?;
        let other = entry.file_name().to_string_lossy().into_owned();
        if other.starts_with("cells-") && other != name {
            // Another process may be doing the same.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
    Ok(parent.join(name))
}

fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = Arguments::from_args();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/smoke.yaml");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let at_once = *arguments.test_threads.get_or_insert(cores);
    let store = if arguments.list { PathBuf::new() } else { store()? };
    let catalog = builtin();
    let plan = Plan::load(&path, &catalog)?;
    let smoke = Arc::new(Trials::new(plan, catalog.metrics, store, cores / at_once.max(1))?);
    let mut trials = smoke.trials()?;
    let of_filters = smoke.clone();
    trials.push(Trial::test("filters-drop-what-was-poisoned", move || {
        filters_drop_what_was_poisoned(&of_filters)
    }));
    let conclusion = libtest_mimic::run(&arguments, trials);
    if !arguments.list {
        eprintln!("{}", counted(&smoke.ledger()));
    }
    Ok(conclusion.exit_code())
}

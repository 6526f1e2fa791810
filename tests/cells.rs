//! Cells as tests: every attack against every defense of the smoke plan, each a trial of its own.
//!
//! `cargo test --release --test cells -- --list` names them; a filter such as `badnet::` runs some of them.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use cleanbench::builtin;
use harness::Plan;
use harness::evidence::Evidence;
use harness::metric::METRICS;
use harness::progress::Verbosity;
use harness::run::{Observation, Options};
use harness::store::Store;
use libtest_mimic::{Arguments, Failed, Trial};

/// What stands in the names of metrics of image–caption pairs.
const OF_PAIRS: [&str; 3] = ["similarity", "recall", "caption-hit"];

/// The grid, run once by the first trial that needs it.
struct Grid {
    plan: Plan,
    observations: OnceLock<Result<Vec<Observation>, String>>,
}

impl Grid {
    fn observations(&self) -> Result<&[Observation], Failed> {
        let run = || -> anyhow::Result<Vec<Observation>> {
            let folder = tempfile::tempdir()?;
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let options =
                Options { jobs: threads, threads, verbosity: Verbosity::Quiet, width: 80, budget: None };
            let store = Store::open(folder.path())?;
            Ok(harness::run(&self.plan, &store, &options, &AtomicBool::new(false))?.observations)
        };
        let observations = self.observations.get_or_init(|| run().map_err(|error| format!("{error:#}")));
        observations.as_deref().map_err(|error| error.clone().into())
    }

    /// A cell passes when it was measured in full and every figure is possible.
    fn check(&self, attack: &str, defense: &str, seed: u64) -> Result<(), Failed> {
        let mut found = 0;
        for observation in self.observations()? {
            if (observation.attack.as_str(), observation.defense.as_str(), observation.seed)
                != (attack, defense, seed)
            {
                continue;
            }
            found += 1;
            let (_, evidence) = observation.evidence.as_ref().map_err(|missing| missing.message.clone())?;
            for set in evidence {
                if set.labels.len() != self.plan.test_images {
                    return Err(
                        format!("{} of {} images observed", set.labels.len(), self.plan.test_images).into()
                    );
                }
                for metric in METRICS {
                    let of_pairs = OF_PAIRS.iter().any(|word| metric.name.contains(word));
                    let lowest = if of_pairs { -1.0 } else { 0.0 };
                    match (metric.measure)(set).map(|found| found.value) {
                        Some(value) if (lowest..=1.0).contains(&value) => {}
                        Some(value) => return Err(format!("{} is {value}", metric.name).into()),
                        // A model with a trained head is not asked for pairs.
                        None if of_pairs && set.pairs.is_none() && defense == "supervised" => {}
                        None => return Err(format!("{} was not measured", metric.name).into()),
                    }
                }
            }
        }
        let is_anchor = (attack, defense) == ("none", "none");
        let expected = if is_anchor { self.plan.attacks.len() } else { 1 };
        if found == expected {
            Ok(())
        } else {
            Err(format!("{found} observations, expected {expected}").into())
        }
    }
}

/// The evidence of a cell under its own trigger.
fn evidence<'a>(grid: &'a Grid, attack: &str, defense: &str) -> Result<&'a Evidence, Failed> {
    let mut observations = grid.observations()?.iter();
    let own = observations.find(|observation| {
        (observation.attack.as_str(), observation.defense.as_str(), observation.trigger.as_str())
            == (attack, defense, attack)
    });
    let found = own.ok_or("no such cell")?;
    Ok(&found.evidence.as_ref().map_err(|missing| missing.message.clone())?.1)
}

/// Where nothing is poisoned, filters drop nothing and train the undefended model again; elsewhere they do not.
fn filters_drop_what_was_poisoned(grid: &Grid) -> Result<(), Failed> {
    for filter in ["oracle-filter", "random-filter"] {
        if evidence(grid, "none", filter)? != evidence(grid, "none", "none")? {
            return Err(format!("{filter} drops pairs that nobody poisoned").into());
        }
        if evidence(grid, "badnet", filter)? == evidence(grid, "badnet", "none")? {
            return Err(format!("{filter} drops nothing").into());
        }
    }
    Ok(())
}

fn main() {
    let arguments = Arguments::from_args();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/plans/smoke.yaml");
    let plan = match Plan::load(&path, &builtin()) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("{error:#}");
            std::process::exit(2);
        }
    };
    let grid = Arc::new(Grid { plan, observations: OnceLock::new() });
    let mut trials = Vec::new();
    for seed in &grid.plan.seeds {
        for attack in &grid.plan.attacks {
            for defense in &grid.plan.defenses {
                let (grid, seed) = (grid.clone(), *seed);
                let (attack, defense) = (attack.label.clone(), defense.label.clone());
                let name = format!("{attack}::{defense}::seed-{seed}");
                trials.push(Trial::test(name, move || grid.check(&attack, &defense, seed)));
            }
        }
    }
    let filters =
        Trial::test("filters-drop-what-was-poisoned", move || filters_drop_what_was_poisoned(&grid));
    trials.push(filters);
    libtest_mimic::run(&arguments, trials).exit();
}

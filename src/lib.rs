//! The lists of data sets, attacks and defenses joined into one catalog. Holds no algorithm.

pub mod cells;

use harness::Catalog;

/// Everything that comes with the program.
pub fn builtin() -> Catalog {
    Catalog { datasets: datasets::all(), attacks: attacks::all(), defenses: defenses::all() }
}

/// The plan that runs where none is named.
pub const DEFAULT_PLAN: &str = include_str!("../results/tiny/plan.yaml");

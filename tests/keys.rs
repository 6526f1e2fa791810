//! Stores that were filled by earlier programs still answer: the keys of the built-in plan stay what they are.

use std::fmt::Write as _;

use cleanbench::{DEFAULT_PLAN, builtin};
use plan::Plan;
use store::Store;

/// A method's `Card::version` or a stage's `VERSION` that is raised changes keys, and this file with them: write the
/// expected text anew from the failure. No other change may.
#[test]
fn a_store_filled_before_answers_every_cell() {
    let plan = Plan::parse("plan.yaml", DEFAULT_PLAN, &builtin()).expect("the built-in plan");
    let folder = tempfile::tempdir().expect("a folder");
    let (cells, _) = harness::survey::survey(&plan, &Store::at(folder.path())).expect("a survey");
    let mut found = String::new();
    for cell in cells {
        for key in cell.keys.expect("data that need no files") {
            writeln!(found, "{} {} {}", cell.cell, key.stage(), key.hash()).expect("text");
        }
    }
    assert_eq!(found, include_str!("keys/tiny.txt"), "found:\n{found}");
}

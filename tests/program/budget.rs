//! Runs with little time, and runs that a program reads along.

use std::collections::BTreeMap;

use record::Status;
use serde_json::Value;

use crate::support::{Bench, holds};

/// A budget that nothing fits brings one training further, epoch by epoch, until all is done, to the same bytes.
#[test]
fn what_does_not_fit_the_budget_is_left_and_the_next_run_goes_on() {
    let whole = Bench::with("micro", &[]);
    whole.exits(0, &["run", "plan.yaml", "--record", "record"]);
    let bench = Bench::with("micro", &[]);
    let arguments = ["run", "plan.yaml", "--record", "record", "--budget", "0s"];
    let first = bench.exits(0, &arguments);
    holds(&first.err, &["2 cells are left"]);
    holds(&first.out, &["skipped"]);
    for row in bench.rows("record") {
        assert!(row.status == Status::Skipped && row.message.contains("budget"), "{row:?}");
    }
    let mut measured = Vec::new();
    for run in 0.. {
        assert!(run < 20, "twenty runs brought it to no end");
        bench.exits(0, &arguments);
        let rows = bench.rows("record");
        for row in rows.iter().filter(|row| row.status == Status::Measured) {
            if !measured.contains(&row.defense) {
                measured.push(row.defense.clone());
            }
        }
        if rows.iter().all(|row| row.status == Status::Measured) {
            break;
        }
    }
    assert_eq!(measured, ["none", "cleanclip"], "undefended models come first");
    assert_eq!(whole.result("record"), bench.result("record"));
    bench.exits(2, &["run", "plan.yaml", "--budget", "soon"]);
}

#[test]
fn what_is_left_is_predicted_from_what_was_timed() {
    let bench = Bench::with("micro", &[]);
    let planned = |plan: &str| bench.run(&["plan", plan]).out;
    assert!(!planned("plan.yaml").contains("to train, about"));
    bench.exits(0, &["run", "plan.yaml"]);
    assert!(!planned("plan.yaml").contains("to train"));
    bench.plan("longer.yaml", &[("epochs: 3", "epochs: 3000")]);
    let said = planned("longer.yaml");
    assert_eq!(said.matches("to train, about ").count(), 2, "{said}");
}

#[test]
fn events_tell_a_run_from_its_beginning_to_its_end() {
    let bench = Bench::with("micro", &[]);
    let run = |code: i32, plan: &str| -> Vec<Value> {
        let printed = bench.exits(code, &["run", plan, "--json"]).out;
        printed.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    };
    let events = run(0, "plan.yaml");
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for event in &events {
        *counts.entry(event["event"].as_str().expect("a name")).or_default() += 1;
    }
    assert_eq!((&events[0]["event"], &events[0]["cells"]), (&"run-started".into(), &2.into()));
    assert_eq!((counts["stage-started"], counts["stage-finished"], counts["cell-finished"]), (5, 5, 2));
    assert!(counts["step"] >= 2);
    let last = events.last().expect("an event");
    assert_eq!((&last["event"], &last["exit_code"]), (&"run-finished".into(), &0.into()));
    let cell = events.iter().rfind(|event| event["event"] == "cell-finished").expect("a cell");
    assert!(cell["metrics"]["emoji-scenes"]["clean-accuracy"].is_number(), "{cell}");
    let again = run(0, "plan.yaml");
    let finished = again.iter().filter(|event| event["event"] == "stage-finished");
    assert!(finished.clone().count() == 5 && finished.clone().all(|event| event["cached"] == true));
    let refused = run(2, "absent.yaml");
    assert!(refused.len() == 1 && refused[0]["exit_code"] == 2, "{refused:?}");
    // Without a terminal and asked to be quiet, nothing is said.
    assert_eq!(bench.run(&["run", "plan.yaml", "--quiet"]).err, "");
}

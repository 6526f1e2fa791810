//! Runs with little time, and runs that a program reads along.

use std::collections::BTreeMap;

use record::{Record, Status};
use serde_json::Value;

use crate::support::{Bench, stderr, stdout};

/// A budget that nothing fits brings one training further, epoch by epoch, until all is done, to the same bytes.
#[test]
fn what_does_not_fit_the_budget_is_left_and_the_next_run_goes_on() {
    let whole = Bench::with("micro", &[]);
    assert_eq!(whole.run(&["run", "plan.yaml", "--record", "record"]).status.code(), Some(0));
    let bench = Bench::with("micro", &[]);
    let arguments = ["run", "plan.yaml", "--record", "record", "--budget", "0s"];
    let first = bench.run(&arguments);
    assert_eq!(first.status.code(), Some(0), "{}", stderr(&first));
    assert!(stderr(&first).contains("2 cells are left"), "{}", stderr(&first));
    assert!(stdout(&first).contains("skipped"), "{}", stdout(&first));
    let rows = || Record::open(&bench.path("record")).and_then(|record| record.rows()).expect("rows");
    let left = rows();
    assert!(
        left.iter().all(|row| row.status == Status::Skipped && row.message.contains("budget")),
        "{left:?}"
    );
    let mut measured = Vec::new();
    for run in 0.. {
        assert!(run < 20, "twenty runs brought it to no end");
        let output = bench.run(&arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let rows = rows();
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
    let refused = bench.run(&["run", "plan.yaml", "--budget", "soon"]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
}

#[test]
fn what_is_left_is_predicted_from_what_was_timed() {
    let bench = Bench::with("micro", &[]);
    let planned = |plan: &str| stdout(&bench.run(&["plan", plan]));
    assert!(!planned("plan.yaml").contains("to train, about"));
    assert_eq!(bench.run(&["run", "plan.yaml"]).status.code(), Some(0));
    assert!(!planned("plan.yaml").contains("to train"));
    let plan = String::from_utf8(bench.read("plan.yaml")).expect("text");
    std::fs::write(bench.path("longer.yaml"), plan.replace("epochs: 3", "epochs: 3000")).expect("a plan");
    let said = planned("longer.yaml");
    assert_eq!(said.matches("to train, about ").count(), 2, "{said}");
}

#[test]
fn events_tell_a_run_from_its_beginning_to_its_end() {
    let bench = Bench::with("micro", &[]);
    let run = |bench: &Bench, arguments: &[&str], code: i32| -> Vec<Value> {
        let output = bench.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        stdout(&output).lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    };
    let events = run(&bench, &["run", "plan.yaml", "--json"], 0);
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
    let again = run(&bench, &["run", "plan.yaml", "--json"], 0);
    let finished = again.iter().filter(|event| event["event"] == "stage-finished");
    assert!(finished.clone().count() == 5 && finished.clone().all(|event| event["cached"] == true));
    let refused = run(&bench, &["run", "absent.yaml", "--json"], 2);
    assert!(refused.len() == 1 && refused[0]["exit_code"] == 2, "{refused:?}");
    // Without a terminal and asked to be quiet, nothing is said.
    let quiet = bench.run(&["run", "plan.yaml", "--quiet"]);
    assert_eq!(stderr(&quiet), "");
}

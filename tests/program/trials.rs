//! `cleanbench test`: cells and claims of a plan as tests.

use crate::support::{Bench, stderr, stdout};

#[test]
fn a_list_is_pure_and_a_filter_chooses() {
    let bench = Bench::with("micro", &[]);
    let output = bench.run(&["test", "plan.yaml", "--list"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let claim = "claim-1::the-success-rate-is-a-fraction::badnet::attack-success-rate";
    assert_eq!(stdout(&output), format!("badnet::none::seed-0\nbadnet::cleanclip::seed-0\n{claim}\n"));
    assert!(!bench.path("store").exists(), "a list makes nothing");
    let output = bench.run(&["test", "plan.yaml", "claim-1", "--list"]);
    assert_eq!(stdout(&output), format!("{claim}\n"));
    let output = bench.run(&["test", "plan.yaml", "badnet::none", "--list", "--exact"]);
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_trial_runs_what_it_needs_and_fails_with_its_band() {
    let bench =
        Bench::with("micro", &[("attack-success-rate: [0.0, 1.0]", "attack-success-rate: [1.0, 1.0]")]);
    let output = bench.run(&["test", "plan.yaml", "badnet::none::seed-0", "--exact"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).ends_with("1 measured\n"), "{}", stdout(&output));
    let defended = std::fs::read_dir(bench.path("store/defend")).map_or(0, Iterator::count);
    assert_eq!(defended, 1, "no other cell was run");
    let output = bench.run(&["test", "plan.yaml", "--json", "trials.json"]);
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let text = stdout(&output);
    assert!(text.contains("expected 1–1 (source: its definition, n = 1)"), "{text}");
    assert!(text.ends_with("2 measured, 1 not reproduced\n"), "{text}");
    let trials: serde_json::Value = serde_json::from_slice(&bench.read("trials.json")).expect("JSON");
    assert_eq!(trials["counts"]["not_reproduced"], 1);
    assert_eq!(trials["trials"].as_array().map(Vec::len), Some(3));
}

#[test]
fn what_is_missing_is_skipped_and_what_is_heavy_waits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/results/paper-main/plan.yaml");
    let bench = Bench::with("micro", &[]);
    let output = bench.run(&["test", path]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("left out as heavy"), "{}", stdout(&output));
    let filtered = ["test", path, "none::none::seed-0", "--exact", "--ignored"];
    let output = bench.run(&filtered);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(
        stdout(&output).contains("needs ") && stdout(&output).ends_with("1 skipped\n"),
        "{}",
        stdout(&output)
    );
    let output = bench.run(&[&filtered[..], &["--deny-skips"]].concat());
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
}

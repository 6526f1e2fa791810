//! `cleanbench test`: cells and claims of a plan as tests.

use crate::support::{Bench, holds};

#[test]
fn a_list_is_pure_and_a_filter_chooses() {
    let bench = Bench::with("micro", &[]);
    let listed = |options: &[&str]| bench.exits(0, &[&["test", "plan.yaml", "--list"], options].concat()).out;
    let claim = "claim-1::the-success-rate-is-a-fraction::badnet::attack-success-rate";
    assert_eq!(listed(&[]), format!("badnet::none::seed-0\nbadnet::cleanclip::seed-0\n{claim}\n"));
    assert!(!bench.path("store").exists(), "a list makes nothing");
    assert_eq!(listed(&["claim-1"]), format!("{claim}\n"));
    assert_eq!(bench.run(&["test", "plan.yaml", "badnet::none", "--list", "--exact"]).out, "");
}

#[test]
fn a_trial_runs_what_it_needs_and_fails_with_its_band() {
    let bench =
        Bench::with("micro", &[("attack-success-rate: [0.0, 1.0]", "attack-success-rate: [1.0, 1.0]")]);
    let output = bench.exits(0, &["test", "plan.yaml", "badnet::none::seed-0", "--exact"]);
    assert!(output.out.ends_with("1 measured\n"), "{}", output.out);
    assert_eq!(bench.list("store/defend").len(), 1, "no other cell was run");
    let text = bench.exits(1, &["test", "plan.yaml", "--json", "trials.json"]).out;
    holds(&text, &["expected 1–1 (source: its definition, n = 1)"]);
    assert!(text.ends_with("2 measured, 1 not reproduced\n"), "{text}");
    let trials: serde_json::Value = serde_json::from_slice(&bench.read("trials.json")).expect("JSON");
    assert_eq!(trials["counts"]["not_reproduced"], 1);
    assert_eq!(trials["trials"].as_array().map(Vec::len), Some(3));
}

#[test]
fn what_is_missing_is_skipped_and_what_is_heavy_waits() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/results/paper-main/plan.yaml");
    let bench = Bench::with("micro", &[]);
    holds(&bench.exits(0, &["test", path]).out, &["left out as heavy"]);
    let filtered = ["test", path, "none::none::seed-0", "--exact", "--ignored"];
    let text = bench.exits(0, &filtered).out;
    assert!(text.contains("needs ") && text.ends_with("1 skipped\n"), "{text}");
    bench.exits(1, &[&filtered[..], &["--deny-skips"]].concat());
}

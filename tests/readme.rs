//! The pages say what the committed records say.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cleanbench::builtin;
use plan::Plan;
use record::{Metrics, Record};
use report::{Sheet, Summary, csv, latex, markdown, splice_sheet};

/// Folders of records that are committed beside their plans.
fn records() -> Vec<String> {
    let folders = std::fs::read_dir(root("results")).expect("results");
    let names = folders.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.map(|name| format!("results/{name}")).collect();
    names.retain(|name| root(name).join("rows.csv").is_file());
    names.sort();
    assert!(names.contains(&"results/tiny".to_owned()), "{names:?}");
    names
}

fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn every_plan_under_results_is_a_plan() {
    let mut seen = 0;
    for entry in std::fs::read_dir(root("results")).expect("results") {
        let folder = entry.expect("an entry").path();
        for name in ["plan.yaml", "plan.resolved.yaml"] {
            let path = folder.join(name);
            if path.is_file() {
                seen += 1;
                let plan = Plan::load(&path, &builtin());
                assert!(plan.is_ok(), "{:#}", plan.err().expect("an error"));
            }
        }
    }
    assert!(seen >= 10, "{seen} plans");
}

/// `cargo run --release -- report results/tiny --splice README.md` mends a failure.
#[test]
fn readme_shows_the_committed_record() {
    let record = Record::open(&root("results/tiny")).expect("a record");
    let (design, rows) = (record.design().expect("a design"), record.rows().expect("rows"));
    let summary = Summary::of_record(&record, &rows, &Metrics::builtin()).expect("a summary");
    let sheet = Sheet::of(&design, &summary);
    let page = std::fs::read_to_string(root("README.md")).expect("a page");
    assert_eq!(splice_sheet(&page, "tiny", &sheet).expect("marks"), page);
}

/// No value stands in the rows that the evidence beside them does not give.
#[test]
fn the_committed_rows_follow_from_the_committed_evidence() {
    for name in records() {
        let record = Record::open(&root(&name)).expect("a record");
        let (mut rescored, rows) =
            (record.rescored(&Metrics::builtin()).expect("evidence"), record.rows().expect("rows"));
        // A metric that is newer than the record has no rows there.
        let metrics: BTreeSet<&str> = rows.iter().map(|row| row.metric.as_str()).collect();
        rescored.retain(|row| metrics.contains(row.metric.as_str()));
        assert_eq!(rescored, rows, "{name}");
    }
}

/// `cargo run --release -- replay results/NAME` mends a failure.
#[test]
fn the_committed_tables_follow_from_the_committed_evidence() {
    for name in records() {
        let record = Record::open(&root(&name)).expect("a record");
        let (metrics, design) = (Metrics::builtin(), record.design().expect("a design"));
        let rows = record.rescored(&metrics).expect("evidence");
        let summary = Summary::of_record(&record, &rows, &metrics).expect("a summary");
        let sheet = Sheet::of(&design, &summary);
        let made = [
            ("report.md", markdown(&sheet)),
            ("table.csv", csv(&sheet).expect("CSV")),
            ("table.tex", latex(&sheet, &rows)),
        ];
        for (file, text) in made {
            let committed = std::fs::read_to_string(root(&name).join(file)).expect("tables");
            assert!(text == committed, "{name}/{file}");
        }
    }
}

/// A preset that changed leaves a record that its plan would no longer give.
#[test]
fn the_committed_record_is_of_the_committed_plan() {
    for name in records() {
        let plan = Plan::load(&root(&name).join("plan.yaml"), &builtin()).expect("a plan");
        let resolved =
            std::fs::read_to_string(root(&name).join("plan.resolved.yaml")).expect("a resolved plan");
        assert_eq!(plan.to_yaml().expect("YAML"), resolved, "{name}");
    }
}

#[test]
fn the_guide_shows_the_example_of_a_metric() {
    let read = |name: &str| std::fs::read_to_string(root(name)).expect("a file");
    let example = read("examples/own_metric.rs");
    let (_, code) = example.split_once("\n\n").expect("a header");
    assert!(read("CONTRIBUTING.md").contains(&format!("```rust\n{code}```\n")), "{code}");
}

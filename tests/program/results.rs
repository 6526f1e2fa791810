//! The same cell gives the same bytes, however it is run, stopped, damaged or shared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use record::{Record, Row};

use crate::support::{Bench, Ran, holds, interrupt, wait};

fn micro() -> Bench {
    Bench::with("micro", &[])
}

/// Runs the micro plan to its end with further options.
fn run(bench: &Bench, record: &str, options: &[&str]) -> String {
    bench.exits(0, &[&["run", "plan.yaml", "--record", record], options].concat()).err
}

#[test]
fn threads_and_jobs_change_nothing_and_the_store_answers_at_once() {
    let bench = micro();
    run(&bench, "one", &["--jobs", "1", "--threads", "1", "--store", "a"]);
    run(&bench, "two", &["--jobs", "1", "--threads", "2", "--store", "b"]);
    run(&bench, "three", &["--jobs", "2", "--threads", "3", "--store", "c"]);
    let one = bench.result("one");
    assert_eq!(one, bench.result("two"), "two threads");
    assert_eq!(one, bench.result("three"), "two jobs");
    assert_eq!(models(&bench, "a"), models(&bench, "b"), "weights with two threads");
    assert_eq!(models(&bench, "a"), models(&bench, "c"), "weights with two jobs");
    let started = Instant::now();
    run(&bench, "again", &["--store", "a"]);
    assert!(started.elapsed() < Duration::from_secs(2), "the store took {:?}", started.elapsed());
    assert_eq!(one, bench.result("again"), "from the store");
}

/// Bytes of every trained and defended model of a store, by key.
fn models(bench: &Bench, store: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = ["train", "defend"].into_iter().flat_map(|stage| bench.list(&format!("{store}/{stage}")));
    let model = |entry: PathBuf| {
        let bytes = std::fs::read(entry.join("model.safetensors")).expect("a model");
        (entry.strip_prefix(bench.path(store)).expect("inside").to_owned(), bytes)
    };
    let models: BTreeMap<_, _> = entries.map(model).collect();
    assert_eq!(models.len(), 3, "one trained model and two defended ones");
    models
}

#[test]
fn a_damaged_store_is_noticed_and_made_good() {
    let bench = micro();
    run(&bench, "before", &[]);
    for stage in ["train", "defend", "observe"] {
        let entry = bench.list(&format!("store/{stage}")).remove(0);
        let files = bench.list(&entry.display().to_string()).into_iter();
        let file = files.filter(|path| !path.ends_with("entry.json")).max().expect("a file");
        let mut bytes = std::fs::read(&file).expect("bytes");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).expect("damage");
    }
    holds(&run(&bench, "after", &[]), &["damaged"]);
    assert_eq!(bench.result("before"), bench.result("after"));
}

fn has_snapshot(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.flatten().any(|entry| entry.path().join("snapshot.blake3").exists())
}

#[test]
fn two_runs_share_one_store() {
    let bench = micro();
    let first = bench.start(&["run", "plan.yaml", "--record", "first"]);
    let second = bench.start(&["run", "plan.yaml", "--record", "second"]);
    for child in [first, second] {
        Ran::after(child).exits(0);
    }
    assert_eq!(bench.result("first"), bench.result("second"));
    assert_eq!(bench.list("store/train").len(), 1);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let bench = Bench::with("micro", &[("epochs: 3", "epochs: 300")]);
    let child = bench.start(&["run", "plan.yaml"]);
    // A snapshot says that training is under way.
    wait("training", || has_snapshot(&bench.path("store/partial")));
    holds(&interrupt(child).exits(130).err, &["resumes"]);
}

#[test]
fn reports_are_made_again_from_a_record_alone() {
    let bench = micro();
    let output = bench.run(&["run", "plan.yaml", "--record", "record"]);
    let report = bench.run(&["report", "record"]);
    assert!(!report.out.is_empty() && output.out.ends_with(&report.out), "{}", report.out);
    let marks = "<!-- cleanbench:record -->\n<!-- /cleanbench:record -->\n";
    std::fs::write(bench.path("page.md"), marks).expect("a page");
    bench.exits(0, &["report", "record", "--splice", "page.md"]);
    holds(&bench.text("page.md"), &["| badnet |", "reproduced"]);
}

#[test]
fn the_resolved_plan_of_a_record_is_a_plan_for_the_same_record() {
    let bench = micro();
    run(&bench, "first", &[]);
    bench.exits(0, &["run", "first/plan.resolved.yaml", "--record", "second"]);
    assert_eq!(bench.result("first"), bench.result("second"));
    assert_eq!(bench.read("first/plan.resolved.yaml"), bench.read("second/plan.resolved.yaml"));
}

#[test]
fn every_epoch_is_a_point_and_grants_differ_by_defense() {
    let edits = [
        ("target: banana", "target: banana\nevery-epoch: true"),
        (
            "test: [{ name: emoji-scenes, preset: smoke }]",
            "test: [{ name: emoji-scenes, preset: smoke }, { name: emoji-scenes, preset: smoke, label: tuning, split: validation }]\n  clean: [{ name: emoji-scenes, preset: smoke, label: other, turn-degrees: 90.0 }]",
        ),
        (
            "- { name: cleanclip, preset: smoke }",
            "- { name: cleanclip, preset: smoke }\n  - { name: cleanclip, label: left, preset: smoke, granted-poison: [0, 5] }\n  - { name: cleanclip, label: fewer, preset: smoke, granted-pairs: 64, granted-from: other }",
        ),
    ];
    let bench = Bench::with("micro", &edits);
    run(&bench, "record", &[]);
    let rows = bench.rows("record");
    let values = |defense: &str, epoch: Option<usize>, set: &str| -> Vec<Option<f64>> {
        let wanted = |row: &&Row| (&*row.defense, row.epoch, &*row.test_set) == (defense, epoch, set);
        rows.iter().filter(wanted).map(|row| row.value).collect()
    };
    // Two epochs: the first is kept beside the last one, which is the defended model itself.
    let set = "emoji-scenes";
    assert!(!values("cleanclip", Some(1), set).is_empty() && values("cleanclip", Some(2), set).is_empty());
    assert_ne!(values("cleanclip", Some(1), set), values("cleanclip", None, set));
    assert_ne!(values("cleanclip", None, set), values("cleanclip", None, "tuning"), "another split");
    assert_eq!(values("cleanclip", None, set), values("left[granted-poison=0]", None, set));
    let key = |defense: &str| &rows.iter().find(|row| row.defense == defense).expect("a row").evidence;
    assert_eq!(key("cleanclip"), key("left[granted-poison=0]"), "nothing but the label differs");
    assert_ne!(key("cleanclip"), key("left[granted-poison=5]"));
    assert_ne!(key("cleanclip"), key("fewer"));
    let report = bench.run(&["report", "record", "--format", "markdown"]).out;
    holds(&report, &["chosen on tuning, values from emoji-scenes"]);
    // Its resolved plan is the same plan.
    bench.exits(0, &["run", "record/plan.resolved.yaml", "--record", "again"]);
    assert_eq!(bench.result("record"), bench.result("again"));
}

#[test]
fn a_record_says_what_was_done_to_which_pair() {
    let bench = micro();
    run(&bench, "record", &[]);
    let text = bench.exits(0, &["report", "record", "--format", "poison"]).out;
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 30, "{text}");
    let columns =
        "seed,attack,pair,edit,image_before,image_after,trigger_parameters,caption_before,caption_after";
    assert_eq!(lines[0], columns);
    assert!(lines[1..].iter().all(|line| line.contains("stamp") && line.contains("banana")), "{text}");
    // An unpoisoned plan leaves no such file, and says so.
    let attack = "- { name: badnet, preset: smoke, poison-count: 30 }";
    let bench = Bench::with("micro", &[(attack, "- { name: none, label: badnet, preset: smoke }")]);
    run(&bench, "record", &[]);
    let output = bench.run(&["report", "record", "--format", "poison"]);
    holds(&output.err, &["no attack of it edited pairs"]);
}

/// Pairs of the test set add rows and a file, change no value that stands without them, and need no model again.
#[test]
fn pairs_of_the_test_set_are_looked_at_where_the_plan_says_so() {
    let plain = micro();
    run(&plain, "record", &[]);
    let bench = Bench::with("micro", &[("test-images: 60", "test-images: 60\n  test-pairs: 40")]);
    run(&bench, "one", &["--threads", "1", "--store", "a"]);
    run(&bench, "two", &["--threads", "2", "--store", "b"]);
    for file in ["rows.csv", "evidence.parquet", "pairs.parquet"] {
        assert_eq!(bench.read(&format!("one/{file}")), bench.read(&format!("two/{file}")), "{file}");
    }
    let (with, without) = (bench.rows("one"), plain.rows("record"));
    let value = |rows: &[Row], wanted: &Row| {
        let same = |row: &&Row| (&row.defense, &row.metric) == (&wanted.defense, &wanted.metric);
        rows.iter().find(same).and_then(|row| row.value)
    };
    assert!(without.iter().all(|row| row.value == value(&with, row)), "a value changed");
    let recalls = with.iter().filter(|row| row.metric == "text-to-image-recall-at-10");
    let recalls: Vec<_> = recalls.map(|row| (row.value, row.samples)).collect();
    assert!(recalls.len() == 2 && recalls.iter().all(|(_, samples)| *samples == Some(40)), "{recalls:?}");
    let record = Record::open(&bench.path("one")).expect("a record");
    assert_eq!(record.rescored(&record::Metrics::builtin()).expect("evidence"), with);
    // The same folder without pairs keeps none of another run.
    run(&plain, "again", &[]);
    std::fs::copy(bench.path("one/pairs.parquet"), plain.path("again/pairs.parquet")).expect("copied");
    run(&plain, "again", &[]);
    assert!(!plain.path("again/pairs.parquet").exists());
}

#[test]
fn a_record_becomes_one_page_that_needs_no_network() {
    let bench = Bench::with("micro", &[("Is the result always the same?", "Is <b> escaped?")]);
    run(&bench, "record", &[]);
    let page = bench.page("record");
    for id in ["grid", "compared", "frontiers", "verdicts", "triggers", "similarities", "cells", "record"] {
        holds(&page, &[&format!("<section id=\"{id}\"")]);
    }
    holds(&page, &["Is &lt;b&gt; escaped?", "<svg", "data:image/png;base64,"]);
    assert!(!page.contains("<script") && !page.contains("src=\"http") && !page.contains("href=\"http"));
    assert_eq!(page, bench.page("record"), "the same record is the same page");
}

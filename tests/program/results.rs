//! The same cell gives the same bytes, however it is run, stopped, damaged or shared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use record::{Record, Row};

use crate::support::{Bench, stderr, stdout};

fn micro() -> Bench {
    Bench::with("micro", &[])
}

/// Runs the micro plan to its end with further options.
fn run(bench: &Bench, record: &str, options: &[&str]) -> String {
    let output = bench.run(&[&["run", "plan.yaml", "--record", record], options].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    stderr(&output)
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
    assert_eq!(models(&bench.path("a")), models(&bench.path("b")), "weights with two threads");
    assert_eq!(models(&bench.path("a")), models(&bench.path("c")), "weights with two jobs");
    let started = Instant::now();
    run(&bench, "again", &["--store", "a"]);
    assert!(started.elapsed() < Duration::from_secs(2), "the store took {:?}", started.elapsed());
    assert_eq!(one, bench.result("again"), "from the store");
}

/// Bytes of every trained and defended model of a store, by key.
fn models(store: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut models = BTreeMap::new();
    for stage in ["train", "defend"] {
        for entry in std::fs::read_dir(store.join(stage)).expect("a stage") {
            let path = entry.expect("an entry").path();
            let bytes = std::fs::read(path.join("model.safetensors")).expect("a model");
            models.insert(path.strip_prefix(store).expect("inside").to_owned(), bytes);
        }
    }
    assert_eq!(models.len(), 3, "one trained model and two defended ones");
    models
}

#[test]
fn a_damaged_store_is_noticed_and_made_good() {
    let bench = micro();
    run(&bench, "before", &[]);
    for stage in ["train", "defend", "observe"] {
        let entry =
            std::fs::read_dir(bench.path("store").join(stage)).expect("a stage").next().expect("an entry");
        let entry = entry.expect("an entry").path();
        let file = std::fs::read_dir(entry).expect("files").map(|file| file.expect("a file").path());
        let file = file.filter(|path| !path.ends_with("entry.json")).max().expect("a file");
        let mut bytes = std::fs::read(&file).expect("bytes");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&file, bytes).expect("damage");
    }
    let said = run(&bench, "after", &[]);
    assert!(said.contains("damaged"), "{said}");
    assert_eq!(bench.result("before"), bench.result("after"));
}

/// Kills the program at several moments, then lets it finish.
#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let whole = micro();
    let started = Instant::now();
    run(&whole, "record", &[]);
    let duration = started.elapsed();
    let bench = micro();
    for share in 1..8 {
        let mut child = bench.start(&["run", "plan.yaml"]);
        std::thread::sleep(duration * share / 8);
        child.kill().expect("killed");
        child.wait().expect("waited for");
    }
    run(&bench, "record", &[]);
    assert_eq!(whole.result("record"), bench.result("record"));
    assert!(!left_over(&bench.path("store/partial")), "a snapshot is left over");
}

fn has_snapshot(folder: &Path) -> bool {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries.flatten().any(|entry| entry.path().join("snapshot.blake3").exists())
}

fn left_over(folder: &Path) -> bool {
    std::fs::read_dir(folder).expect("a folder").next().is_some()
}

#[test]
fn two_runs_share_one_store() {
    let bench = micro();
    let first = bench.start(&["run", "plan.yaml", "--record", "first"]);
    let second = bench.start(&["run", "plan.yaml", "--record", "second"]);
    for child in [first, second] {
        let output = child.wait_with_output().expect("waited for");
        assert!(output.status.success(), "{}", stderr(&output));
    }
    assert_eq!(bench.result("first"), bench.result("second"));
    assert_eq!(std::fs::read_dir(bench.path("store/train")).expect("a stage").count(), 1);
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_says_how_to_go_on() {
    let bench = Bench::with("micro", &[("epochs: 3", "epochs: 300")]);
    let child = bench.start(&["run", "plan.yaml"]);
    // A snapshot says that training is under way.
    let started = Instant::now();
    while !has_snapshot(&bench.path("store/partial")) {
        assert!(started.elapsed() < Duration::from_secs(60), "no training after a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
    let interrupt = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(interrupt.expect("kill runs").success());
    let output = child.wait_with_output().expect("waited for");
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("goes on"), "{}", stderr(&output));
}

#[test]
fn reports_are_made_again_from_a_record_alone() {
    let bench = micro();
    let output = bench.run(&["run", "plan.yaml", "--record", "record"]);
    let report = bench.run(&["report", "record"]);
    assert!(
        !stdout(&report).is_empty() && stdout(&output).ends_with(&stdout(&report)),
        "{}",
        stdout(&report)
    );
    std::fs::write(bench.path("page.md"), "<!-- cleanbench:record -->\n<!-- /cleanbench:record -->\n")
        .expect("a page");
    assert!(bench.run(&["report", "record", "--splice", "page.md"]).status.success());
    let page = String::from_utf8(bench.read("page.md")).expect("text");
    assert!(page.contains("| badnet |") && page.contains("reproduced"), "{page}");
}

#[test]
fn the_resolved_plan_of_a_record_is_a_plan_for_the_same_record() {
    let bench = micro();
    run(&bench, "first", &[]);
    let output = bench.run(&["run", "first/plan.resolved.yaml", "--record", "second"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
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
    let rows = Record::open(&bench.path("record")).and_then(|record| record.rows()).expect("rows");
    let values = |defense: &str, epoch: Option<usize>, set: &str| -> Vec<Option<f64>> {
        let wanted =
            rows.iter().filter(|row| (&*row.defense, row.epoch, &*row.test_set) == (defense, epoch, set));
        wanted.map(|row| row.value).collect()
    };
    // Two epochs: the first is kept beside the last one, which is the defended model itself.
    let set = "emoji-scenes";
    assert!(!values("cleanclip", Some(1), set).is_empty() && values("cleanclip", Some(2), set).is_empty());
    assert_ne!(values("cleanclip", Some(1), set), values("cleanclip", None, set));
    assert_ne!(values("cleanclip", None, set), values("cleanclip", None, "tuning"), "another split");
    assert_eq!(values("cleanclip", None, set), values("left[granted-poison=0]", None, set));
    let key = |defense: &str| {
        let row = rows.iter().find(|row| row.defense == defense).expect("a row");
        row.evidence.clone()
    };
    assert_eq!(key("cleanclip"), key("left[granted-poison=0]"), "nothing but the label differs");
    assert_ne!(key("cleanclip"), key("left[granted-poison=5]"));
    assert_ne!(key("cleanclip"), key("fewer"));
    let report = stdout(&bench.run(&["report", "record", "--format", "markdown"]));
    assert!(report.contains("chosen on tuning, values from emoji-scenes"), "{report}");
    // Its resolved plan is the same plan.
    let again = bench.run(&["run", "record/plan.resolved.yaml", "--record", "again"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(bench.result("record"), bench.result("again"));
}

#[test]
fn a_record_says_what_was_done_to_which_pair() {
    let bench = micro();
    run(&bench, "record", &[]);
    let output = bench.run(&["report", "record", "--format", "poison"]);
    let text = stdout(&output);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 30, "{}", stderr(&output));
    let columns =
        "seed,attack,pair,edit,image_before,image_after,trigger_parameters,caption_before,caption_after";
    assert_eq!(lines[0], columns);
    assert!(lines[1..].iter().all(|line| line.contains("stamp") && line.contains("banana")), "{text}");
    // An unpoisoned plan leaves no such file, and says so.
    let attack = "- { name: badnet, preset: smoke, poison-count: 30 }";
    let bench = Bench::with("micro", &[(attack, "- { name: none, label: badnet, preset: smoke }")]);
    run(&bench, "record", &[]);
    let output = bench.run(&["report", "record", "--format", "poison"]);
    assert!(stderr(&output).contains("no attack of it edited pairs"), "{}", stderr(&output));
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
    let rows = |folder: PathBuf| Record::open(&folder).expect("a record").rows().expect("rows");
    let (with, without) = (rows(bench.path("one")), rows(plain.path("record")));
    let value = |rows: &[Row], wanted: &Row| {
        let same = |row: &&Row| (&row.defense, &row.metric) == (&wanted.defense, &wanted.metric);
        rows.iter().find(same).and_then(|row| row.value)
    };
    assert!(without.iter().all(|row| row.value == value(&with, row)), "a value changed");
    let recalls = with.iter().filter(|row| row.metric == "text-to-image-recall-at-10");
    let recalls: Vec<_> = recalls.map(|row| (row.value, row.samples)).collect();
    assert!(recalls.len() == 2 && recalls.iter().all(|(_, samples)| *samples == Some(40)), "{recalls:?}");
    let record = Record::open(&bench.path("one")).expect("a record");
    assert_eq!(record.rescored(&record::Metrics::builtin()).expect("evidence"), record.rows().expect("rows"));
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
    let output = bench.run(&["report", "record", "--format", "html", "--output", "page.html"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let page = String::from_utf8(bench.read("page.html")).expect("text");
    for id in ["grid", "compared", "frontiers", "verdicts", "triggers", "similarities", "cells", "record"] {
        assert!(page.contains(&format!("<section id=\"{id}\"")), "no section {id}");
    }
    assert!(page.contains("Is &lt;b&gt; escaped?"));
    assert!(page.contains("<svg") && page.contains("data:image/png;base64,"));
    assert!(!page.contains("<script") && !page.contains("src=\"http") && !page.contains("href=\"http"));
    let again = bench.run(&["report", "record", "--format", "html", "--output", "again.html"]);
    assert_eq!(again.status.code(), Some(0), "{}", stderr(&again));
    assert_eq!(page.as_bytes(), bench.read("again.html"), "the same record is the same page");
}

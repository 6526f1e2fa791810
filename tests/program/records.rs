//! What is done with records: kept from edits, compared, joined, packed, printed for other programs.

use std::collections::BTreeSet;
use std::path::Path;

use crate::support::{Bench, stderr, stdout};

/// A bench with the record of a plan after `edits`.
fn recorded(edits: &[(&str, &str)]) -> Bench {
    let bench = Bench::with("micro", edits);
    run(&bench, "plan.yaml", "record");
    bench
}

fn run(bench: &Bench, plan: &str, record: &str) {
    let output = bench.run(&["run", plan, "--record", record, "--quiet"]);
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", stderr(&output));
}

/// Writes the bench's plan with `edits` as another one.
fn other_plan(bench: &Bench, name: &str, edits: &[(&str, &str)]) {
    let mut text = String::from_utf8(bench.read("plan.yaml")).expect("text");
    for (old, new) in edits {
        assert!(text.contains(old), "{old}");
        text = text.replace(old, new);
    }
    std::fs::write(bench.path(name), text).expect("a plan");
}

fn refused(bench: &Bench, arguments: &[&str], words: &[&str]) {
    let output = bench.run(arguments);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}{}", stdout(&output), stderr(&output));
    for word in words {
        assert!(stderr(&output).contains(word), "{word:?} is not in {}", stderr(&output));
    }
}

#[test]
fn an_edited_record_and_a_newer_one_are_refused_by_name() {
    let bench = recorded(&[]);
    for file in ["rows.csv", "evidence.parquet", "plan.resolved.yaml", "environment.yaml"] {
        let path = bench.path("record").join(file);
        let whole = std::fs::read(&path).expect("bytes");
        std::fs::write(&path, [&whole[..], b"\n"].concat()).expect("an edit");
        for command in [&["report", "record"][..], &["diff", "record", "record"]] {
            refused(&bench, command, &[file, "edited"]);
        }
        std::fs::remove_file(&path).expect("removed");
        if file != "rows.csv" {
            refused(&bench, &["report", "record"], &[file, "missing"]);
        }
        std::fs::write(&path, whole).expect("as it was");
    }
    assert_eq!(bench.run(&["report", "record"]).status.code(), Some(0));
    let newer = String::from_utf8(bench.read("record/environment.yaml")).expect("text");
    std::fs::write(bench.path("record/environment.yaml"), newer.replace("format: 3", "format: 99"))
        .expect("written");
    refused(&bench, &["report", "record"], &["format 99", "newer"]);
    std::fs::write(bench.path("record/environment.yaml"), newer).expect("as it was");
    std::fs::remove_file(bench.path("record/hashes.yaml")).expect("removed");
    refused(&bench, &["report", "record"], &["hashes.yaml is missing"]);
}

/// Makes a record one of format 2, which has no hashes, with `edits` in its files.
fn without_hashes(bench: &Bench, record: &str, edits: &[(&str, &str, &str)]) {
    std::fs::remove_file(bench.path(record).join("hashes.yaml")).expect("removed");
    for (file, old, new) in [("environment.yaml", "format: 3", "format: 2")].iter().chain(edits) {
        let path = format!("{record}/{file}");
        let text = String::from_utf8(bench.read(&path)).expect("text");
        assert!(text.contains(old), "{file} holds no {old:?}");
        std::fs::write(bench.path(&path), text.replace(old, new)).expect("an edit");
    }
}

#[test]
fn a_record_of_a_method_that_this_program_lacks_can_be_read() {
    let bench = recorded(&[]);
    let renamed = |file| (file, "cleanclip", "stranger");
    without_hashes(&bench, "record", &[renamed("plan.resolved.yaml"), renamed("rows.csv")]);
    let output = bench.run(&["report", "record", "--format", "html", "--output", "page.html"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = bench.run(&["report", "record"]);
    assert!(stdout(&output).contains("stranger"), "{}{}", stdout(&output), stderr(&output));
    refused(&bench, &["run", "record/plan.resolved.yaml"], &["unknown defense \"stranger\""]);
}

#[test]
fn a_record_is_not_written_over_one_of_another_question() {
    let bench = recorded(&[]);
    other_plan(&bench, "other.yaml", &[("Is the result always the same?", "Is it not?")]);
    refused(&bench, &["run", "other.yaml", "--record", "record"], &["Is the result", "--record"]);
    run(&bench, "plan.yaml", "record");
}

#[test]
fn a_bundle_holds_what_the_evidence_says_and_no_strangers() {
    let bench = recorded(&[]);
    std::fs::write(bench.path("record/notes.txt"), "mine").expect("written");
    std::os::unix::fs::symlink("/etc/passwd", bench.path("record/README.md")).expect("a link");
    let output = bench.run(&["bundle", "record", "--to", "a.tar.gz"]);
    assert!(stdout(&output).contains("README.md, notes.txt"), "{}{}", stdout(&output), stderr(&output));
    let twice = [bench.read("a.tar.gz"), bench.read("a.tar.gz")].concat();
    std::fs::write(bench.path("twice.tar.gz"), twice).expect("written");
    assert_ne!(bench.run(&["bundle", "--verify", "twice.tar.gz"]).status.code(), Some(0));
    let report = String::from_utf8(bench.read("record/report.md")).expect("text");
    std::fs::write(bench.path("record/report.md"), report + "99.9\n").expect("an edit");
    let said = |name: &str| stderr(&bench.run(&["bundle", "record", "--to", name]));
    assert!(said("b.tar").contains("report.md is not what was written"), "{}", said("b.tar"));
    assert_eq!(bench.run(&["replay", "record"]).status.code(), Some(0));
    assert_eq!(said("b.tar"), "");
    assert!(said("b.zip").contains("b.zip: a bundle is a .tar"), "{}", said("b.zip"));
    without_hashes(&bench, "record", &[("rows.csv", "clean-accuracy,", "clean-accuracy,-")]);
    assert!(said("b.tar").contains("and the evidence"), "{}", said("b.tar"));
}

/// Records of formats 1 and 2 as they were once written, cut to two cells.
#[test]
fn older_records_are_still_read() {
    let bench = Bench::with("micro", &[]);
    for (format, found) in [("format-1", "53.8"), ("format-2", "71.2")] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/records").join(format);
        let output = bench.run(&["report", folder.to_str().expect("text")]);
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}", stderr(&output));
        assert!(stdout(&output).contains(found), "{format}: {}", stdout(&output));
    }
}

#[test]
fn parts_of_a_run_join_to_the_whole_run() {
    let bench = Bench::with("micro", &[("seeds: [0]", "seeds: [0, 1]")]);
    run(&bench, "plan.yaml", "whole");
    other_plan(&bench, "first.yaml", &[("seeds: [0, 1]", "seeds: [0]")]);
    other_plan(&bench, "second.yaml", &[("seeds: [0, 1]", "seeds: [1]")]);
    run(&bench, "first.yaml", "first");
    run(&bench, "second.yaml", "second");
    let output = bench.run(&["merge", "second", "first", "--to", "joined"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(bench.result("whole"), bench.result("joined"));
    for file in ["poison.parquet", "plan.resolved.yaml", "report.md"] {
        let [whole, joined] = ["whole", "joined"].map(|record| bench.read(&format!("{record}/{file}")));
        assert!(whole == joined, "{file}");
    }
    let output = bench.run(&["diff", "whole", "joined"]);
    assert!(stdout(&output).contains("0 of"), "{}", stdout(&output));
    refused(&bench, &["merge", "first", "second", "--to", "joined"], &["joined", "--to"]);
    // Another setting is another plan; the same cell has one value.
    other_plan(&bench, "longer.yaml", &[("epochs: 3", "epochs: 2")]);
    run(&bench, "longer.yaml", "longer");
    refused(&bench, &["merge", "first", "longer", "--to", "no"], &["recipe.epochs: 3 -> 2"]);
    let rows = String::from_utf8(bench.read("first/rows.csv")).expect("text");
    let line = rows.lines().nth(1).expect("a row");
    let edited: Vec<&str> =
        line.split(',').enumerate().map(|(at, field)| if at == 7 { "0.123" } else { field }).collect();
    without_hashes(&bench, "first", &[("rows.csv", line, &edited.join(","))]);
    refused(&bench, &["merge", "first", "whole", "--to", "no"], &["seed-0", "0.123"]);
}

#[test]
fn differences_are_told_with_what_explains_them() {
    let bench = recorded(&[("seeds: [0]", "seeds: [0, 1]")]);
    other_plan(&bench, "longer.yaml", &[("epochs: 3", "epochs: 5")]);
    run(&bench, "longer.yaml", "longer");
    let output = bench.run(&["diff", "record", "longer"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("recipe.epochs: 3 -> 5\n"), "{text}");
    let line =
        text.lines().find(|line| line.starts_with("badnet::none::seed-0, clean-accuracy")).expect("a line");
    assert!(line.contains("sd of seeds") && line.ends_with("; recipe.epochs"), "{line}");
    // A setting of a defense says nothing of the cells of another.
    other_plan(
        &bench,
        "defense.yaml",
        &[(
            "- { name: cleanclip, preset: smoke }",
            "- { name: cleanclip, preset: smoke, learning-rate: 0.01 }",
        )],
    );
    run(&bench, "defense.yaml", "defense");
    let text = stdout(&bench.run(&["diff", "record", "defense", "--all"]));
    assert!(text.contains("defenses.cleanclip.learning-rate") && !text.contains("badnet::none"), "{text}");
}

#[test]
fn a_bundle_is_the_same_bytes_and_tells_a_flipped_bit() {
    let bench = recorded(&[]);
    for name in ["a.tar", "b.tar", "a.tar.gz"] {
        let output = bench.run(&["bundle", "record", "--to", name]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let output = bench.run(&["bundle", "--verify", name]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    }
    assert!(bench.read("a.tar") == bench.read("b.tar"));
    for name in ["a.tar", "a.tar.gz"] {
        let whole = bench.read(name);
        let broken = bench.path(&format!("broken-{name}"));
        let mut said = BTreeSet::new();
        for at in (0..whole.len()).step_by(whole.len() / 60).chain([4, 8, 9, whole.len() - 1]) {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            std::fs::write(&broken, bytes).expect("written");
            let error = record::verify(&broken).expect_err(&format!("{name}: byte {at} is not noticed"));
            said.insert(format!("{error:#}").split("broken-").last().unwrap_or_default().to_owned());
        }
        assert!(
            name.ends_with("gz") || said.iter().any(|text| text.contains("evidence.parquet is not")),
            "{said:?}"
        );
    }
}

#[test]
fn bands_are_proposed_from_records() {
    let bench = recorded(&[("seeds: [0]", "seeds: [0, 1]")]);
    let output = bench.run(&["expect", "record"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    for word in ["n = 2", "rows.csv", "cleanbench expect record", "clean-accuracy:"] {
        assert!(text.contains(word), "{word:?} is not in {text}");
    }
    // It stands in a plan as it is, and the record that it is from lies within.
    let plan = String::from_utf8(bench.read("plan.yaml")).expect("text");
    let (before, _) = plan.split_once("expect:").expect("claims");
    std::fs::write(bench.path("expecting.yaml"), format!("{before}{text}")).expect("written");
    let output = bench.run(&["run", "expecting.yaml", "--record", "again"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("Required bands of the plan: 4 of 4 hold"), "{}", stdout(&output));
}

#[test]
fn tables_are_printed_for_other_programs() {
    let bench = recorded(&[("seeds: [0]", "seeds: [0, 1]")]);
    let printed = |format: &str| stdout(&bench.run(&["report", "record", "--format", format]));
    let csv = printed("csv");
    assert!(csv.starts_with("test_set,attack,defense,state,chance,seeds,clean_accuracy_mean,"), "{csv}");
    assert_eq!(csv.lines().filter(|line| line.contains(",measured,")).count(), 2, "{csv}");
    let latex = printed("latex");
    for word in [
        "\\toprule",
        "\\multicolumn{2}{c}{badnet}",
        "CA $\\uparrow$ & ASR $\\downarrow$",
        " $\\pm$ ",
        "chance",
    ] {
        assert!(latex.contains(word), "{word:?} is not in {latex}");
    }
    assert!(!latex.contains("\\textbf"), "two seeds support nothing: {latex}");
    let cells: Vec<serde_json::Value> =
        printed("json").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(cells.len(), 4);
    assert!(cells.iter().all(|cell| cell["metrics"]["attack-success-rate"].is_f64()), "{cells:?}");
    let output = bench.run(&["report", "record", "--figures", "figures"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let figure = String::from_utf8(bench.read("figures/frontier-badnet.svg")).expect("text");
    assert!(
        figure.starts_with("<svg") && figure.contains("cleanclip") && figure.trim_end().ends_with("</svg>")
    );
    assert!(!figure.contains("currentColor") && !figure.contains("var("), "{figure}");
    for name in [
        "grid-emoji-scenes-clean-accuracy-and-attack-success-rate",
        "map-badnet-undefended",
        "map-badnet-cleanclip",
    ] {
        assert!(bench.path(&format!("figures/{name}.svg")).is_file(), "{name}");
    }
}

#[test]
fn a_replay_is_what_the_run_wrote() {
    let bench = recorded(&[]);
    for form in [&["--format", "html", "--output", "page.html"][..], &["--figures", "figures"]] {
        let written = bench.run(&[&["report", "record"], form].concat());
        assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    }
    let output = bench.run(&["replay", "record", "--to", "replayed/record"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(bench.read("record/report.md") == bench.read("replayed/record/report.md"), "report.md");
    assert!(bench.read("page.html") == bench.read("replayed/record/page.html"), "page.html");
    let csv = stdout(&bench.run(&["report", "record", "--format", "csv"]));
    assert!(csv.as_bytes() == bench.read("replayed/record/table.csv"));
    let figure = "figures/frontier-badnet.svg";
    assert!(bench.read(figure) == bench.read(&format!("replayed/record/{figure}")), "{figure}");
    refused(
        &bench,
        &["report", "record", "--format", "csv", "--figures", "figures"],
        &["--format", "--figures"],
    );
}

#[test]
fn thousands_of_cells_are_run_only_where_they_are_meant() {
    let bench = Bench::with("micro", &[]);
    refused(&bench, &["run", "plan.yaml", "--seeds", "501"], &["1002 cells", "--yes"]);
    assert!(!bench.path("record").exists());
}

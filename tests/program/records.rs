//! What is done with records: kept from edits, compared, joined, packed, printed for other programs.

use std::collections::BTreeSet;

use crate::support::{Bench, edited, holds, root};

/// A bench with the record of a plan after `edits`.
fn recorded(edits: &[(&str, &str)]) -> Bench {
    let bench = Bench::with("micro", edits);
    run(&bench, "plan.yaml", "record");
    bench
}

fn run(bench: &Bench, plan: &str, record: &str) {
    bench.run(&["run", plan, "--record", record, "--quiet"]).judged();
}

#[track_caller]
fn refused(bench: &Bench, arguments: &[&str], words: &[&str]) {
    holds(&bench.exits(2, arguments).err, words);
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
    bench.exits(0, &["report", "record"]);
    let environment = bench.text("record/environment.yaml");
    let newer = edited(environment.clone(), &[("format: 3", "format: 99")]);
    std::fs::write(bench.path("record/environment.yaml"), newer).expect("written");
    refused(&bench, &["report", "record"], &["format 99", "newer"]);
    std::fs::write(bench.path("record/environment.yaml"), environment).expect("as it was");
    std::fs::remove_file(bench.path("record/hashes.yaml")).expect("removed");
    refused(&bench, &["report", "record"], &["hashes.yaml is missing"]);
}

/// Makes a record one of format 2, which has no hashes, with `edits` in its files.
fn without_hashes(bench: &Bench, record: &str, edits: &[(&str, &str, &str)]) {
    std::fs::remove_file(bench.path(record).join("hashes.yaml")).expect("removed");
    for (file, old, new) in [("environment.yaml", "format: 3", "format: 2")].iter().chain(edits) {
        let path = format!("{record}/{file}");
        std::fs::write(bench.path(&path), edited(bench.text(&path), &[(old, new)])).expect("an edit");
    }
}

/// Two mutations of Parquet files over which their reader panics, on its own threads too.
#[test]
fn damage_that_a_reader_panics_at_is_an_error_with_the_files_name() {
    let bench = recorded(&[]);
    without_hashes(&bench, "record", &[]);
    for name in ["map.parquet", "poison.parquet"] {
        let whole = bench.read(&format!("record/{name}"));
        let path = bench.path("record").join(name);
        std::fs::copy(root("tests/records/damaged").join(name), &path).expect("copied");
        for arguments in [
            &["report", "record", "--format", "html"][..],
            &["replay", "record", "--to", "replayed"],
            &["bundle", "record", "--to", "record.tar"],
        ] {
            let said = bench.exits(3, arguments).err;
            let last = said.lines().last().unwrap_or_default();
            holds(last, &["error: cannot read record/", name]);
            // Columns are read side by side, and one panics where another returns an error: either may come first.
            let reasons = ["damaged; its reader panicked: ", "File out of specification"];
            assert!(reasons.iter().any(|reason| last.contains(reason)), "{said}");
            assert!(!said.contains("stack backtrace"), "{said}");
        }
        std::fs::write(&path, whole).expect("as it was");
    }
}

#[test]
fn a_record_of_a_method_that_this_program_lacks_can_be_read() {
    let bench = recorded(&[]);
    let renamed = |file| (file, "cleanclip", "stranger");
    without_hashes(&bench, "record", &[renamed("plan.resolved.yaml"), renamed("rows.csv")]);
    bench.page("record");
    holds(&bench.run(&["report", "record"]).out, &["stranger"]);
    refused(&bench, &["run", "record/plan.resolved.yaml"], &["unknown defense \"stranger\""]);
}

#[test]
fn a_record_is_not_written_over_one_of_another_question() {
    let bench = recorded(&[]);
    bench.plan("other.yaml", &[("Is the result always the same?", "Is it not?")]);
    refused(&bench, &["run", "other.yaml", "--record", "record"], &["Is the result", "--record"]);
    run(&bench, "plan.yaml", "record");
}

#[test]
fn a_bundle_holds_what_the_evidence_says_and_no_strangers() {
    let bench = recorded(&[]);
    std::fs::write(bench.path("record/notes.txt"), "mine").expect("written");
    std::os::unix::fs::symlink("/etc/passwd", bench.path("record/README.md")).expect("a link");
    holds(&bench.run(&["bundle", "record", "--to", "a.tar.gz"]).out, &["README.md, notes.txt"]);
    let twice = [bench.read("a.tar.gz"), bench.read("a.tar.gz")].concat();
    std::fs::write(bench.path("twice.tar.gz"), twice).expect("written");
    assert_ne!(bench.run(&["bundle", "--verify", "twice.tar.gz"]).code, Some(0));
    let report = bench.text("record/report.md");
    std::fs::write(bench.path("record/report.md"), report + "99.9\n").expect("an edit");
    let said = |name: &str| bench.run(&["bundle", "record", "--to", name]).err;
    holds(&said("b.tar"), &["report.md is not what was written"]);
    bench.exits(0, &["replay", "record"]);
    assert_eq!(said("b.tar"), "");
    holds(&said("b.zip"), &["b.zip: a bundle is a .tar"]);
    without_hashes(&bench, "record", &[("rows.csv", "clean-accuracy,", "clean-accuracy,-")]);
    holds(&said("b.tar"), &["and the evidence"]);
}

/// Records of formats 1 and 2 as they were once written, cut to two cells.
#[test]
fn older_records_are_still_read() {
    let bench = Bench::with("micro", &[]);
    for (format, found) in [("format-1", "53.8"), ("format-2", "71.2")] {
        let folder = root(&format!("tests/records/{format}")).display().to_string();
        holds(&bench.run(&["report", &folder]).judged().out, &[found]);
    }
}

#[test]
fn parts_of_a_run_join_to_the_whole_run() {
    let bench = Bench::with("micro", &[("seeds: [0]", "seeds: [0, 1]")]);
    run(&bench, "plan.yaml", "whole");
    for (name, seeds) in [("first", "seeds: [0]"), ("second", "seeds: [1]")] {
        bench.plan("part.yaml", &[("seeds: [0, 1]", seeds)]);
        run(&bench, "part.yaml", name);
    }
    bench.exits(0, &["merge", "second", "first", "--to", "joined"]);
    assert_eq!(bench.result("whole"), bench.result("joined"));
    for file in ["poison.parquet", "plan.resolved.yaml", "report.md"] {
        let [whole, joined] = ["whole", "joined"].map(|record| bench.read(&format!("{record}/{file}")));
        assert!(whole == joined, "{file}");
    }
    holds(&bench.run(&["diff", "whole", "joined"]).out, &["0 of"]);
    refused(&bench, &["merge", "first", "second", "--to", "joined"], &["joined", "--to"]);
    // Another setting is another plan; the same cell has one value.
    bench.plan("longer.yaml", &[("epochs: 3", "epochs: 2")]);
    run(&bench, "longer.yaml", "longer");
    refused(&bench, &["merge", "first", "longer", "--to", "no"], &["recipe.epochs: 3 -> 2"]);
    let rows = bench.text("first/rows.csv");
    let line = rows.lines().nth(1).expect("a row");
    let mut fields: Vec<&str> = line.split(',').collect();
    fields[7] = "0.123";
    without_hashes(&bench, "first", &[("rows.csv", line, &fields.join(","))]);
    refused(&bench, &["merge", "first", "whole", "--to", "no"], &["seed-0", "0.123"]);
}

#[test]
fn differences_are_told_with_what_explains_them() {
    let bench = recorded(&[("seeds: [0]", "seeds: [0, 1]")]);
    bench.plan("longer.yaml", &[("epochs: 3", "epochs: 5")]);
    run(&bench, "longer.yaml", "longer");
    let text = bench.exits(1, &["diff", "record", "longer"]).out;
    holds(&text, &["recipe.epochs: 3 -> 5\n"]);
    let cell = "badnet::none::seed-0, clean-accuracy";
    let line = text.lines().find(|line| line.starts_with(cell)).expect("a line");
    assert!(line.contains("sd of seeds") && line.ends_with("; recipe.epochs"), "{line}");
    // A setting of a defense says nothing of the cells of another.
    let rate = "name: cleanclip, preset: smoke, learning-rate: 0.01";
    bench.plan("defense.yaml", &[("name: cleanclip, preset: smoke", rate)]);
    run(&bench, "defense.yaml", "defense");
    let text = bench.run(&["diff", "record", "defense", "--all"]).out;
    assert!(text.contains("defenses.cleanclip.learning-rate") && !text.contains("badnet::none"), "{text}");
}

#[test]
fn a_bundle_is_the_same_bytes_and_tells_a_flipped_bit() {
    let bench = recorded(&[]);
    for name in ["a.tar", "b.tar", "a.tar.gz"] {
        bench.exits(0, &["bundle", "record", "--to", name]);
        bench.exits(0, &["bundle", "--verify", name]);
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
    let text = bench.exits(0, &["expect", "record"]).out;
    holds(&text, &["n = 2", "rows.csv", "cleanbench expect record", "clean-accuracy:"]);
    // It stands in a plan as it is, and the record that it is from lies within.
    let plan = bench.text("plan.yaml");
    let (before, _) = plan.split_once("expect:").expect("claims");
    std::fs::write(bench.path("expecting.yaml"), format!("{before}{text}")).expect("written");
    let output = bench.exits(0, &["run", "expecting.yaml", "--record", "again"]);
    holds(&output.out, &["Required bands of the plan: 4 of 4 hold"]);
}

#[test]
fn tables_are_printed_for_other_programs() {
    let bench = recorded(&[("seeds: [0]", "seeds: [0, 1]")]);
    let printed = |format: &str| bench.run(&["report", "record", "--format", format]).out;
    let csv = printed("csv");
    assert!(csv.starts_with("test_set,attack,defense,state,chance,seeds,clean_accuracy_mean,"), "{csv}");
    assert_eq!(csv.lines().filter(|line| line.contains(",measured,")).count(), 2, "{csv}");
    let latex = printed("latex");
    holds(
        &latex,
        &[
            "\\toprule",
            "\\multicolumn{2}{c}{badnet}",
            "CA $\\uparrow$ & ASR $\\downarrow$",
            " $\\pm$ ",
            "chance",
        ],
    );
    assert!(!latex.contains("\\textbf"), "two seeds support nothing: {latex}");
    let cells: Vec<serde_json::Value> =
        printed("json").lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(cells.len(), 4);
    assert!(cells.iter().all(|cell| cell["metrics"]["attack-success-rate"].is_f64()), "{cells:?}");
    bench.exits(0, &["report", "record", "--figures", "figures"]);
    let figure = bench.text("figures/frontier-badnet.svg");
    holds(&figure, &["cleanclip"]);
    assert!(figure.starts_with("<svg") && figure.trim_end().ends_with("</svg>"), "{figure}");
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
        bench.exits(0, &[&["report", "record"], form].concat());
    }
    bench.exits(0, &["replay", "record", "--to", "replayed/record"]);
    for (written, replayed) in [
        ("record/report.md", "report.md"),
        ("page.html", "page.html"),
        ("figures/frontier-badnet.svg", "figures/frontier-badnet.svg"),
    ] {
        assert!(bench.read(written) == bench.read(&format!("replayed/record/{replayed}")), "{replayed}");
    }
    let csv = bench.run(&["report", "record", "--format", "csv"]).out;
    assert!(csv.as_bytes() == bench.read("replayed/record/table.csv"));
    let both = ["report", "record", "--format", "csv", "--figures", "figures"];
    refused(&bench, &both, &["--format", "--figures"]);
}

#[test]
fn thousands_of_cells_are_run_only_where_they_are_meant() {
    let bench = Bench::with("micro", &[]);
    refused(&bench, &["run", "plan.yaml", "--seeds", "501"], &["1002 cells", "--yes"]);
    assert!(!bench.path("record").exists());
}

/// A record is read from the record alone, whichever data set its plan names: those of files are nowhere here.
#[test]
fn records_are_read_without_their_data() {
    let bench = Bench::with("micro", &[]);
    bench.exits(0, &["run", "plan.yaml", "--record", "record"]);
    let cell = "badnet::cleanclip::seed-0";
    bench.exits(0, &["weights", "export", "plan.yaml", cell, "--output", "model.safetensors"]);
    let (plan, rows) = (bench.text("record/plan.resolved.yaml"), bench.text("record/rows.csv"));
    let reported = bench.exits(0, &["report", "record"]).out;
    for entry in datasets::all() {
        let (name, own) = (entry.card.name, (entry.presets)());
        let (preset, settings) = own.first().expect("a preset");
        let built = (entry.build)(settings.clone());
        let is_of_pairs = built.as_ref().is_ok_and(|set| set.classes.is_none());
        let side = if is_of_pairs { "train" } else { "test" };
        let mut value: serde_yaml::Value = serde_yaml::from_str(&plan).expect("YAML");
        let mut set = serde_yaml::to_value(settings).expect("settings");
        for (key, text) in [("name", name), ("preset", preset), ("label", "emoji-scenes")] {
            set[key] = text.into();
        }
        match side {
            "train" => value["data"]["train"] = set,
            _ => value["data"]["test"] = serde_yaml::Value::Sequence(vec![set]),
        }
        for (folder, seed) in [("one", "0"), ("two", "1")] {
            let folder = bench.path(&format!("{name}/{folder}"));
            std::fs::create_dir_all(&folder).expect("a folder");
            for file in bench.list("record") {
                std::fs::copy(&file, folder.join(file.file_name().expect("a name"))).expect("copied");
            }
            std::fs::remove_file(folder.join("hashes.yaml")).expect("removed");
            let environment = folder.join("environment.yaml");
            let text = std::fs::read_to_string(&environment).expect("an environment");
            std::fs::write(&environment, text.replace("format: 3", "format: 2")).expect("written");
            value["seeds"] = serde_yaml::from_str(&format!("[{seed}]")).expect("a list");
            let text = serde_yaml::to_string(&value).expect("YAML");
            std::fs::write(folder.join("plan.resolved.yaml"), text).expect("written");
            if seed == "1" {
                let rows = rows.replace("\n0,", "\n1,");
                std::fs::write(folder.join("rows.csv"), rows).expect("written");
                for file in ["evidence.parquet", "map.parquet", "poison.parquet"] {
                    std::fs::remove_file(folder.join(file)).expect("removed");
                }
            }
        }
        let (one, two) = (format!("{name}/one"), format!("{name}/two"));
        let (one, two) = (one.as_str(), two.as_str());
        assert_eq!(bench.exits(0, &["report", one]).out, reported, "{name}: chance and names too");
        for arguments in [
            &["report", one, "--format", "html"][..],
            &["report", one, "--rescore"],
            &["replay", one, "--to", &format!("{name}/replayed")],
            &["bundle", one, "--to", &format!("{name}.tar")],
            &["diff", one, one],
            &["merge", one, two, "--to", &format!("{name}/merged")],
            &["expect", one],
            &[
                "card",
                "model.safetensors",
                "--record",
                one,
                "--cell",
                cell,
                "--output",
                &format!("{name}/card"),
            ],
        ] {
            let said = bench.exits(0, arguments).said();
            assert!(!said.contains("panic"), "{name}, {arguments:?}: {said}");
        }
    }
}

//! What a user can get wrong: each mistake is answered with a file, a line, a key and a remedy, before anything runs.

use crate::support::{Bench, Ran, holds};

/// Runs the micro plan with one edit; expects exit code 2 and every one of `words` in the message.
#[track_caller]
fn refused(edit: (&str, &str), words: &[&str]) {
    let bench = Bench::with("micro", &[edit]);
    holds(&bench.exits(2, &["run", "plan.yaml"]).err, words);
    assert!(!bench.path("record/plan").exists() && !bench.path("store").exists(), "something was written");
}

#[test]
fn names_are_checked_and_near_ones_offered() {
    refused(("name: badnet", "name: badnt"), &["plan.yaml:16", "attacks", "did you mean \"badnet\"?"]);
    refused(("name: cleanclip", "name: cleenclip"), &["plan.yaml:19", "did you mean \"cleanclip\"?"]);
    refused(("name: emoji-scenes", "name: emoji-scene"), &["plan.yaml:5", "did you mean \"emoji-scenes\"?"]);
    refused(("preset: smoke, poison", "preset: smok, poison"), &["plan.yaml:16", "did you mean \"smoke\"?"]);
    refused(("target: banana", "target: bananna"), &["plan.yaml:11", "did you mean \"banana\"?"]);
}

#[test]
fn keys_are_checked_at_every_level() {
    refused(("target:", "tarket:"), &["plan.yaml:11", "tarket: unknown key; did you mean \"target\"?"]);
    refused(
        ("pairs: 512", "pears: 512"),
        &["plan.yaml:7", "data.pears: unknown key; did you mean \"pairs\"?"],
    );
    refused(("target: banana", ""), &["the key \"target\" is missing"]);
    refused(("poison-count: 30", "poison-cuont: 30"), &["plan.yaml:16", "did you mean \"poison-count\"?"]);
    refused(("epochs: 3", "epoch: 3"), &["plan.yaml:14", "did you mean \"epochs\"?"]);
    refused(("attack-success-rate:", "attack-sucess-rate:"), &["did you mean \"attack-success-rate\"?"]);
    refused(("attack: badnet", "attack: wanet"), &["not in this plan", "badnet"]);
}

#[test]
fn values_are_checked() {
    refused(("epochs: 3", "epochs: many"), &["plan.yaml:14", "recipe"]);
    refused(("epochs: 3", "epochs: 0"), &["plan.yaml:14", "epochs must be at least 1"]);
    let poisoned = |keys: &str, words: &[&str]| refused(("poison-count: 30", keys), words);
    poisoned("poison-count: -1", &["plan.yaml:16", "badnet"]);
    poisoned("poison-count: 3000", &["attacks", "\"badnet\" would edit 3000 of 512 pairs"]);
    poisoned("poison-count: null, poison-rate: 1.5", &["plan.yaml:16", "poison-rate", "1.5"]);
    poisoned("patch-size: 16", &["attacks", "badnet", "patch-size", "16"]);
    poisoned("fit: squash", &["plan.yaml:16", "side"]);
    poisoned("fit: squash, side: 4", &["plan.yaml:16", "patch-size", "4 × 4"]);
    let words = ["plan.yaml:14", "recipe.batch-size", "513 takes more pairs than data.pairs, 512"];
    refused(("epochs: 3", "batch-size: 513"), &words);
    let words = ["plan.yaml:5", "data.train", "has no labelled images", "data.labelled"];
    refused(("train: { name: emoji-scenes, preset: smoke }", "train: { name: pairs }"), &words);
    refused(("pairs: 512", "pairs: 0"), &["plan.yaml:7", "at least 1"]);
    refused(("pairs: 512", "pairs: -1"), &["plan.yaml:7", "`-1`, expected a whole number, 0 or more"]);
    refused(("seeds: [0]", "seeds: [1, 1]"), &["plan.yaml:3", "distinct"]);
    refused(("[0.0, 1.0]", "[1.0, 0.0]"), &["attack-success-rate", "lowest first"]);
    refused(("- none", "- none\n  - none"), &["defenses", "twice"]);
    let many: Vec<String> = (1..=200).map(|number| number.to_string()).collect();
    let swept = format!("poison-count: [{0}], patch-size: [{0}], poison-rate: [{0}]", many.join(", "));
    poisoned(&swept, &["plan.yaml:16", "multiply out to more than"]);
    refused(("preset: smoke, poison-count", "preset: smoke, label: \"a\\nb\", poison-count"), &["the label"]);
}

#[test]
fn data_that_no_memory_holds_are_refused_before_they_are_drawn() {
    for (count, asked) in
        [("pairs: 512", "pairs: 99999999999"), ("test-images: 60", "test-images: 60000000000")]
    {
        let refused = Bench::with("micro", &[(count, asked)]).exits(2, &["run", "plan.yaml"]);
        holds(&refused.err, &["GB of memory", "of emoji-scenes: ask for fewer"]);
    }
}

#[test]
fn grants_and_frontiers_are_checked() {
    let row = "- { name: cleanclip, preset: smoke }";
    let granted = |keys: &str, words: &[&str]| {
        refused((row, &format!("- {{ name: cleanclip, preset: smoke, {keys} }}")), words);
    };
    granted("granted-pears: 3", &["plan.yaml:19", "did you mean \"granted-pairs\"?"]);
    granted("granted-pairs: 0", &["plan.yaml:19", "granted-pairs 0"]);
    let batch = "defenses.cleanclip: one batch of 32 (batch-size) takes more than the 20 clean pairs";
    granted("granted-pairs: 20", &["plan.yaml:1", batch]);
    granted("granted-pairs: 9, granted-poison: 10", &["granted-poison 10", "not more poison"]);
    granted("granted-from: elsewhere", &["\"elsewhere\" is not under data.clean"]);
    let supervised = format!("{row}\n  - {{ name: supervised, preset: smoke, batch-size: 900 }}");
    refused((row, &supervised), &["defenses.supervised: one batch of 900", "data.clean-images"]);
    refused(("test-images: 60", "test-images: 60\n  split: tset"), &["plan.yaml:11", "split", "tset"]);
    refused(("recipe:", "pretraining: cleanclip\nrecipe:"), &["plan.yaml:14", "does not train a model"]);
    refused(("source:", "at-attack-success-rate: 0.1\n    source:"), &["only clean-accuracy can be judged"]);
}

#[test]
fn what_is_no_plan_is_refused() {
    refused(("question: Is", "question: [Is"), &["plan.yaml", "is not YAML"]);
    let bench = Bench::with("micro", &[]);
    holds(
        &bench.exits(2, &["run", "nowhere.yaml"]).err,
        &["error: nowhere.yaml: cannot be read: ", "name a YAML file"],
    );
    holds(&bench.exits(2, &["run", "."]).err, &["error: .: is a folder; name the plan in it, ./plan.yaml"]);
}

#[test]
fn folders_that_cannot_be_written_are_named_with_a_remedy() {
    let bench = Bench::with("micro", &[]);
    for (option, folder) in [("--record", "plan.yaml/record"), ("--store", "plan.yaml/store")] {
        holds(&bench.exits(3, &["run", "plan.yaml", option, folder]).err, &[folder, option]);
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_panic() {
    use std::process::{Command, Stdio};
    let mut command = Command::new(env!("CARGO_BIN_EXE_cleanbench"));
    let started = command.arg("list").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.expect("the program starts");
    drop(child.stdout.take());
    assert_eq!(Ran::after(child).err, "");
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error_and_no_panic() {
    let bench = Bench::with("micro", &[]);
    bench.exits(0, &["run", "plan.yaml"]);
    let full = || std::fs::File::options().write(true).open("/dev/full").expect("/dev/full");
    for arguments in [
        &["--help"][..],
        &["run", "--help"],
        &["list"],
        &["run", "plan.yaml"],
        &["run", "plan.yaml", "--json", "--record", "record/events"],
        &["plan", "plan.yaml", "--resolved"],
        &["test", "plan.yaml"],
        &["report", "record/plan"],
        &["report", "record/plan", "--format", "html"],
        &["diff", "record/plan", "record/plan"],
        &["store", "list"],
    ] {
        let ran = Ran::of(bench.command(arguments).stdout(full())).exits(3);
        let last = ran.err.lines().last().unwrap_or_default();
        assert!(
            last.starts_with("error: cannot ") && !ran.err.contains("panicked"),
            "{arguments:?}: {}",
            ran.err
        );
        // What standard error cannot take is lost.
        let ran = Ran::of(bench.command(arguments).stderr(full()));
        assert!(ran.code.is_some_and(|code| code < 2), "{arguments:?}: {:?}", ran.code);
    }
    assert!(bench.path("record/events/rows.csv").is_file(), "a run whose events are lost writes its record");
}

#[cfg(target_os = "linux")]
#[test]
fn too_little_memory_is_named() {
    let bench = Bench::with("micro", &[]);
    // Few threads, whose stacks take address space, on any machine.
    let program = format!("RAYON_NUM_THREADS=2 exec {} run plan.yaml --threads 2", crate::support::PROGRAM);
    let run = format!("ulimit -v 400000; {program}");
    let ran = Ran::of(&mut bench.command_of("sh".as_ref(), &["-c", &run])).exits(3);
    holds(&ran.err, &["warning: one cell is expected to take", "out of memory (", "ulimit -v", "--jobs 1"]);
    holds(&bench.text("record/plan/rows.csv"), &["out of memory ("]);
}

#[test]
fn a_precision_that_the_device_lacks_is_refused() {
    let words = ["precision bf16", "the CPU computes in f32 alone", "--device cuda"];
    refused(("target: banana", "target: banana\nprecision: bf16"), &words);
    refused(("target: banana", "target: banana\nprecision: fp16"), &["plan.yaml:12", "f32, tf32 or bf16"]);
    let bench = Bench::with("micro", &[]);
    holds(&bench.exits(2, &["run", "plan.yaml", "--precision", "tf32"]).err, &["precision tf32", "the CPU"]);
}

/// On a machine without a GPU the check says what is missing before it unpacks anything.
#[test]
fn the_check_of_a_gpu_names_what_is_missing() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/gpu-check");
    let Ok(ran) = std::process::Command::new("python3").args([script, "--out", "unused", "parity"]).output()
    else {
        return eprintln!("SKIPPED: python3 cannot be run");
    };
    let said = String::from_utf8_lossy(&ran.stderr);
    if said.contains("libcuda.so.1") {
        assert_eq!(ran.status.code(), Some(2), "{said}");
        holds(&said, &["gpu-check: libcuda.so.1", "it comes with the driver"]);
    } else {
        eprintln!("SKIPPED: there is a driver here");
    }
}

//! What a user can get wrong: each mistake is answered with a file, a line, a key and a remedy, before anything runs.

use crate::support::{Bench, stderr};

/// Runs the micro plan with one edit; expects exit code 2 and every one of `words` in the message.
fn refused(edit: (&str, &str), words: &[&str]) {
    let bench = Bench::with("micro", &[edit]);
    let output = bench.run(&["run", "plan.yaml"]);
    let message = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{message}");
    for word in words {
        assert!(message.contains(word), "{word:?} is not in: {message}");
    }
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
    refused(("target:", "tarket:"), &["\"target\" is missing", "\"tarket\""]);
    refused(("pairs: 512", "pears: 512"), &["plan.yaml:4", "\"pairs\" is missing", "\"pears\""]);
    refused(("poison-count: 30", "poison-cuont: 30"), &["plan.yaml:16", "did you mean \"poison-count\"?"]);
    refused(("epochs: 3", "epoch: 3"), &["plan.yaml:14", "did you mean \"epochs\"?"]);
    refused(("attack-success-rate:", "attack-sucess-rate:"), &["did you mean \"attack-success-rate\"?"]);
    refused(("attack: badnet", "attack: wanet"), &["not in this plan", "badnet"]);
}

#[test]
fn values_are_checked() {
    refused(("epochs: 3", "epochs: many"), &["plan.yaml:14", "recipe"]);
    refused(("epochs: 3", "epochs: 0"), &["plan.yaml:14", "epochs must be at least 1"]);
    refused(("poison-count: 30", "poison-count: -1"), &["plan.yaml:16", "badnet"]);
    refused(
        ("poison-count: 30", "poison-count: 3000"),
        &["attacks", "\"badnet\" would edit 3000 of 512 pairs"],
    );
    refused(
        ("poison-count: 30", "poison-count: null, poison-rate: 1.5"),
        &["plan.yaml:16", "poison-rate", "1.5"],
    );
    refused(("poison-count: 30", "patch-size: 16"), &["attacks", "badnet", "patch-size", "16"]);
    refused(("poison-count: 30", "fit: squash"), &["plan.yaml:16", "side"]);
    refused(("poison-count: 30", "fit: squash, side: 4"), &["plan.yaml:16", "patch-size", "4 × 4"]);
    refused(
        ("epochs: 3", "batch-size: 513"),
        &["plan.yaml:14", "recipe.batch-size", "one batch of 513 takes more pairs than data.pairs, 512"],
    );
    refused(
        ("train: { name: emoji-scenes, preset: smoke }", "train: { name: pairs }"),
        &["plan.yaml:5", "data.train", "has no labelled images", "data.labelled"],
    );
    refused(("pairs: 512", "pairs: 0"), &["plan.yaml:7", "at least 1"]);
    refused(("seeds: [0]", "seeds: [1, 1]"), &["plan.yaml:3", "distinct"]);
    refused(("[0.0, 1.0]", "[1.0, 0.0]"), &["attack-success-rate", "lowest first"]);
    refused(("- none", "- none\n  - none"), &["defenses", "twice"]);
    let many: Vec<String> = (1..=200).map(|number| number.to_string()).collect();
    let swept = format!("poison-count: [{0}], patch-size: [{0}], poison-rate: [{0}]", many.join(", "));
    refused(("poison-count: 30", &swept), &["plan.yaml:16", "multiply out to more than"]);
    refused(("preset: smoke, poison-count", "preset: smoke, label: \"a\\nb\", poison-count"), &["the label"]);
}

#[test]
fn data_that_no_memory_holds_are_refused_before_they_are_drawn() {
    for (count, asked) in
        [("pairs: 512", "pairs: 99999999999"), ("test-images: 60", "test-images: 60000000000")]
    {
        let output = Bench::with("micro", &[(count, asked)]).run(&["run", "plan.yaml"]);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(
            message.contains("GB of memory") && message.contains("of emoji-scenes: ask for fewer"),
            "{message}"
        );
    }
}

#[test]
fn grants_and_frontiers_are_checked() {
    let row = "- { name: cleanclip, preset: smoke }";
    let granted = |keys: &str| format!("- {{ name: cleanclip, preset: smoke, {keys} }}");
    refused((row, &granted("granted-pears: 3")), &["plan.yaml:19", "did you mean \"granted-pairs\"?"]);
    refused((row, &granted("granted-pairs: 0")), &["plan.yaml:19", "granted-pairs 0"]);
    refused(
        (row, &granted("granted-pairs: 20")),
        &[
            "plan.yaml:1",
            "defenses.cleanclip: one batch of 32 (batch-size) takes more than the 20 clean pairs",
        ],
    );
    refused(
        (row, &format!("{row}\n  - {{ name: supervised, preset: smoke, batch-size: 900 }}")),
        &["defenses.supervised: one batch of 900", "data.clean-images"],
    );
    refused(
        (row, &granted("granted-pairs: 9, granted-poison: 10")),
        &["granted-poison 10", "not more poison"],
    );
    refused((row, &granted("granted-from: elsewhere")), &["\"elsewhere\" is not under data.clean"]);
    refused(("test-images: 60", "test-images: 60\n  split: tset"), &["plan.yaml:11", "split", "tset"]);
    refused(("recipe:", "pretraining: cleanclip\nrecipe:"), &["plan.yaml:14", "does not train a model"]);
    refused(("source:", "at-attack-success-rate: 0.1\n    source:"), &["only clean-accuracy can be judged"]);
}

#[test]
fn what_is_no_plan_is_refused() {
    refused(("question: Is", "question: [Is"), &["plan.yaml", "is not YAML"]);
    let bench = Bench::with("micro", &[]);
    let output = bench.run(&["run", "nowhere.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("nowhere.yaml"), "{}", stderr(&output));
}

#[test]
fn folders_that_cannot_be_written_are_named_with_a_remedy() {
    let bench = Bench::with("micro", &[]);
    for (option, folder) in [("--record", "plan.yaml/record"), ("--store", "plan.yaml/store")] {
        let output = bench.run(&["run", "plan.yaml", option, folder]);
        let message = stderr(&output);
        assert_eq!(output.status.code(), Some(3), "{message}");
        assert!(message.contains(folder) && message.contains(option), "{message}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_panic() {
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_cleanbench"))
        .args(["list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let said = child.wait_with_output().expect("it ends").stderr;
    assert_eq!(String::from_utf8_lossy(&said), "");
}

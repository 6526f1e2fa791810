//! The store can be looked into and tidied.

use std::path::PathBuf;

use crate::support::{Bench, stderr, stdout};

/// The micro plan, run with two and with three epochs.
fn two_runs() -> Bench {
    let bench = Bench::with("micro", &[]);
    let plan = String::from_utf8(bench.read("plan.yaml")).expect("text");
    std::fs::write(bench.path("other.yaml"), plan.replace("epochs: 3", "epochs: 2")).expect("a plan");
    std::fs::write(bench.path("third.yaml"), plan.replace("epochs: 3", "epochs: 4")).expect("a plan");
    for plan in ["plan.yaml", "other.yaml"] {
        assert_eq!(bench.run(&["run", plan]).status.code(), Some(0));
    }
    bench
}

fn entries(bench: &Bench, stage: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bench.path("store").join(stage)).expect("a stage");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

/// What a command says, with the exit code it must have.
fn says(bench: &Bench, arguments: &[&str], code: i32) -> String {
    let output = bench.run(arguments);
    assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
    stdout(&output) + &stderr(&output)
}

#[test]
fn why_names_the_input_that_differs() {
    let bench = two_runs();
    let list = says(&bench, &["store", "list"], 0);
    assert!(list.contains("badnet::cleanclip under badnet, seed 0"), "{list}");
    let said = says(&bench, &["store", "why", "third.yaml", "badnet::cleanclip::seed-0"], 0);
    assert!(said.contains("train: inputs.recipe.epochs: 3 -> 4"), "{said}");
    let said = says(&bench, &["store", "why", "plan.yaml", "badnet::cleanclip::seed-0"], 0);
    assert!(said.contains("stored") && !said.contains("->"), "{said}");
    let names: Vec<String> = entries(&bench, "train")
        .iter()
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    let said = says(&bench, &["store", "why", &names[0], &names[1][..8]], 0);
    assert!(said.lines().count() == 3 && said.contains("train: inputs.recipe.epochs: "), "{said}");
    assert!(says(&bench, &["store", "why", "zz", &names[0]], 2).contains("no key begins with"));
    let said = says(&bench, &["store", "why", "plan.yaml", "badnet::cleanclip::seed-1"], 2);
    assert!(said.contains("badnet::cleanclip::seed-0"), "{said}");
}

#[test]
fn damage_is_named_and_removed() {
    let bench = two_runs();
    assert!(says(&bench, &["store", "verify"], 0).contains("0 damaged"));
    let [model, entry]: [PathBuf; 2] = [("train", "model.safetensors"), ("defend", "entry.json")]
        .map(|(stage, file)| entries(&bench, stage)[0].join(file));
    std::fs::write(&model, "no model").expect("damage");
    let text = std::fs::read_to_string(&entry).expect("an entry");
    std::fs::write(&entry, &text[..text.len() / 2]).expect("damage");
    let said = says(&bench, &["store", "verify"], 1);
    for path in [&model, &entry] {
        let path = path.strip_prefix(bench.path("")).expect("inside");
        assert!(said.contains(&path.parent().expect("an entry").display().to_string()), "{said}");
    }
    says(&bench, &["store", "verify", "--remove"], 1);
    assert!(says(&bench, &["store", "verify"], 0).contains("0 damaged"));
    says(&bench, &["run", "plan.yaml"], 0);
}

#[test]
fn pruning_keeps_what_a_plan_needs_and_waits_for_runs() {
    let bench = two_runs();
    assert!(says(&bench, &["store", "prune"], 2).contains("--keep"));
    let said = says(&bench, &["store", "prune", "--keep", "plan.yaml"], 0);
    assert!(said.contains("would free") && entries(&bench, "train").len() == 2, "{said}");
    // A process that died left a folder, one that runs holds the store.
    std::fs::create_dir(bench.path("store/temporary/left")).expect("a folder");
    let lock = std::fs::File::open(bench.path("store/locks/in-use")).expect("the lock");
    lock.lock_shared().expect("locked");
    let remove = ["store", "prune", "--keep", "plan.yaml", "--partial", "--yes"];
    assert!(says(&bench, &remove, 3).contains("nothing was removed"));
    drop(lock);
    assert!(says(&bench, &remove, 0).contains("freed"));
    assert_eq!(entries(&bench, "train").len(), 1);
    assert!(!bench.path("store/temporary/left").exists());
    let kept = entries(&bench, "observe");
    says(&bench, &["run", "plan.yaml"], 0);
    assert_eq!(entries(&bench, "observe"), kept, "nothing was made again");
    assert!(says(&bench, &["store", "prune", "--older-than", "1d"], 0).contains("of 0 folders"));
    assert!(says(&bench, &["store", "prune", "--older-than", "soon"], 2).contains("30d"));
}

#[test]
fn what_another_build_made_is_named_and_can_be_made_again() {
    let bench = Bench::with("micro", &[]);
    assert!(!says(&bench, &["run", "plan.yaml"], 0).contains("other builds"));
    let entry = entries(&bench, "defend")[0].join("entry.json");
    let mut described: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&entry).expect("an entry")).expect("JSON");
    assert_eq!(described["made_by"]["program_blake3"].as_str().map(str::len), Some(64), "{described}");
    described["made_by"]["program_blake3"] = "0123456789abcdef".into();
    std::fs::write(&entry, described.to_string()).expect("an entry");
    let said = says(&bench, &["run", "plan.yaml"], 0);
    assert!(said.contains("other builds") && said.contains("0123456789ab"), "{said}");
    let environment = || String::from_utf8(bench.read("record/plan/environment.yaml")).expect("text");
    assert!(environment().contains("0123456789abcdef"), "{}", environment());
    says(&bench, &["store", "prune", "--other-builds", "--yes"], 0);
    assert!(!entry.exists());
    assert!(!says(&bench, &["run", "plan.yaml"], 0).contains("other builds"));
    assert!(!environment().contains("0123456789abcdef"), "{}", environment());
}

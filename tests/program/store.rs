//! The store can be looked into and tidied.

use std::path::PathBuf;

use crate::support::{Bench, PROGRAM, Ran, holds};

/// The micro plan, run with two and with three epochs.
fn two_runs() -> Bench {
    let bench = Bench::with("micro", &[]);
    bench.plan("other.yaml", &[("epochs: 3", "epochs: 2")]);
    bench.plan("third.yaml", &[("epochs: 3", "epochs: 4")]);
    for plan in ["plan.yaml", "other.yaml"] {
        bench.exits(0, &["run", plan]);
    }
    bench
}

/// What a command says, with the exit code it must have.
#[track_caller]
fn says(bench: &Bench, arguments: &[&str], code: i32) -> String {
    bench.exits(code, arguments).said()
}

#[test]
fn why_names_the_input_that_differs() {
    let bench = two_runs();
    holds(&says(&bench, &["store", "list"], 0), &["badnet::cleanclip under badnet, seed 0"]);
    holds(
        &says(&bench, &["store", "why", "third.yaml", "badnet::cleanclip::seed-0"], 0),
        &["train: inputs.recipe.epochs: 3 -> 4"],
    );
    let said = says(&bench, &["store", "why", "plan.yaml", "badnet::cleanclip::seed-0"], 0);
    assert!(said.contains("stored") && !said.contains("->"), "{said}");
    let name = |path: PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let names: Vec<String> = bench.list("store/train").into_iter().map(name).collect();
    let said = says(&bench, &["store", "why", &names[0], &names[1][..8]], 0);
    assert!(said.lines().count() == 3 && said.contains("train: inputs.recipe.epochs: "), "{said}");
    holds(&says(&bench, &["store", "why", "zz", &names[0]], 2), &["no key begins with"]);
    holds(
        &says(&bench, &["store", "why", "plan.yaml", "badnet::cleanclip::seed-1"], 2),
        &["badnet::cleanclip::seed-0"],
    );
}

#[test]
fn damage_is_named_and_removed() {
    let bench = two_runs();
    holds(&says(&bench, &["store", "verify"], 0), &["0 damaged"]);
    let [model, entry]: [PathBuf; 2] = [("train", "model.safetensors"), ("defend", "entry.json")]
        .map(|(stage, file)| bench.list(&format!("store/{stage}"))[0].join(file));
    std::fs::write(&model, "no model").expect("damage");
    let text = std::fs::read_to_string(&entry).expect("an entry");
    std::fs::write(&entry, &text[..text.len() / 2]).expect("damage");
    let said = says(&bench, &["store", "verify"], 1);
    for path in [&model, &entry] {
        let path = path.strip_prefix(bench.path("")).expect("inside");
        holds(&said, &[&path.parent().expect("an entry").display().to_string()]);
    }
    says(&bench, &["store", "verify", "--remove"], 1);
    holds(&says(&bench, &["store", "verify"], 0), &["0 damaged"]);
    says(&bench, &["run", "plan.yaml"], 0);
}

#[test]
fn pruning_keeps_what_a_plan_needs_and_waits_for_runs() {
    let bench = two_runs();
    holds(&says(&bench, &["store", "prune"], 2), &["--keep"]);
    let said = says(&bench, &["store", "prune", "--keep", "plan.yaml"], 0);
    assert!(said.contains("would free") && bench.list("store/train").len() == 2, "{said}");
    // A process that died left a folder, one that runs holds the store.
    std::fs::create_dir(bench.path("store/temporary/left")).expect("a folder");
    let lock = std::fs::File::open(bench.path("store/locks/in-use")).expect("the lock");
    lock.lock_shared().expect("locked");
    let remove = ["store", "prune", "--keep", "plan.yaml", "--partial", "--yes"];
    holds(&says(&bench, &remove, 3), &["nothing was removed"]);
    drop(lock);
    holds(&says(&bench, &remove, 0), &["freed"]);
    assert_eq!(bench.list("store/train").len(), 1);
    assert!(!bench.path("store/temporary/left").exists());
    let kept = bench.list("store/observe");
    says(&bench, &["run", "plan.yaml"], 0);
    assert_eq!(bench.list("store/observe"), kept, "nothing was made again");
    holds(&says(&bench, &["store", "prune", "--older-than", "1d"], 0), &["of 0 folders"]);
    holds(&says(&bench, &["store", "prune", "--older-than", "soon"], 2), &["30d"]);
}

/// Sets the permissions of a file, or of a folder and all below it.
#[cfg(unix)]
fn permit(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).expect("permissions");
    let inside =
        if path.is_dir() { std::fs::read_dir(path).expect("a folder").collect() } else { Vec::new() };
    inside.into_iter().for_each(|entry| permit(&entry.expect("an entry").path(), mode));
}

#[cfg(unix)]
#[test]
fn a_store_that_cannot_be_written_answers_what_it_holds() {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;

    let bench = Bench::with("micro", &[]);
    says(&bench, &["run", "plan.yaml"], 0);
    bench.plan("other.yaml", &[("epochs: 3", "epochs: 2")]);
    // Root may write anything: then the program runs as another user, from where that one can read it.
    let program = bench.path("program");
    std::fs::copy(PROGRAM, &program).expect("a copy");
    let before = bench.result("record/plan");
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    permit(&bench.path(""), 0o755);
    permit(&bench.path("record"), 0o777);
    permit(&bench.path("store"), 0o555);
    let run = |arguments: &[&str], code: i32| {
        let mut command = bench.command_of(&program, arguments);
        if is_root {
            command.uid(65_534).gid(65_534);
        }
        Ran::of(&mut command).exits(code).said()
    };
    run(&["run", "plan.yaml", "--record", "record/again"], 0);
    assert_eq!(bench.result("record/again"), before);
    holds(&run(&["plan", "plan.yaml"], 0), &["badnet::cleanclip::seed-0  stored", "0 to run"]);
    holds(&run(&["store", "list"], 0), &["badnet::cleanclip under badnet, seed 0"]);
    holds(&run(&["store", "verify"], 0), &["0 damaged"]);
    run(&["report", "record/plan"], 0);
    let refused = run(&["run", "other.yaml"], 2);
    holds(&refused, &["the store cannot be written", "badnet::cleanclip::seed-0", "--store"]);
    assert!(!bench.path("record/other").exists(), "no record is begun");
    permit(&bench.path("store"), 0o755);
}

#[test]
fn what_another_build_made_is_named_and_can_be_made_again() {
    let bench = Bench::with("micro", &[]);
    assert!(!says(&bench, &["run", "plan.yaml"], 0).contains("other builds"));
    let entry = bench.list("store/defend")[0].join("entry.json");
    let mut described: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&entry).expect("an entry")).expect("JSON");
    assert_eq!(described["made_by"]["program_blake3"].as_str().map(str::len), Some(64), "{described}");
    described["made_by"]["program_blake3"] = "0123456789abcdef".into();
    std::fs::write(&entry, described.to_string()).expect("an entry");
    holds(&says(&bench, &["run", "plan.yaml"], 0), &["other builds", "0123456789ab"]);
    let environment = || bench.text("record/plan/environment.yaml");
    holds(&environment(), &["0123456789abcdef"]);
    says(&bench, &["store", "prune", "--other-builds", "--yes"], 0);
    assert!(!entry.exists());
    assert!(!says(&bench, &["run", "plan.yaml"], 0).contains("other builds"));
    assert!(!environment().contains("0123456789abcdef"), "{}", environment());
}

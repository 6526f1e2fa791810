//! Runs that are killed, raced, out of room or damaged: the next one finishes with the same bytes, and at most the epoch
//! under way is lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use clip::Seed;

use crate::files;
use crate::support::{Bench, stderr};

/// Time for kills where `CLEANBENCH_KILLS` does not say how many.
const TIME: Duration = Duration::from_secs(40);

/// A random share of a time.
fn share(time: Duration, seed: &Seed) -> Duration {
    let number = u32::from_str_radix(&seed.to_hex()[..8], 16).expect("hexadecimal digits");
    time.mul_f64(f64::from(number) / f64::from(u32::MAX))
}

/// Epochs that snapshots hold, and entries (infinitely many epochs), by key.
fn done(store: &Path) -> BTreeMap<String, u64> {
    let mut done = BTreeMap::new();
    let names = |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in names(store.join("partial")) {
        let Ok(bytes) = std::fs::read(entry.path().join("snapshot.safetensors")) else { continue };
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).expect("a header");
        let state = header["__metadata__"]["cleanbench"].as_str().expect("a state");
        let state: serde_json::Value = serde_json::from_str(state).expect("JSON");
        let epoch = state["epoch"].as_str().and_then(|epoch| epoch.parse().ok()).expect("an epoch");
        done.insert(entry.file_name().to_string_lossy().into_owned(), epoch);
    }
    for stage in ["train", "defend", "observe"] {
        for entry in names(store.join(stage)) {
            done.insert(entry.file_name().to_string_lossy().into_owned(), u64::MAX);
        }
    }
    done
}

/// Lets a child live for a while and kills it; `None` where it was done before.
fn kill_after(mut child: Child, delay: Duration) -> Option<String> {
    std::thread::sleep(delay);
    let ended = child.try_wait().expect("a child").is_some();
    child.kill().expect("killed");
    let output = child.wait_with_output().expect("waited for");
    assert!(!ended || output.status.success(), "{}", stderr(&output));
    (!ended).then(|| stderr(&output))
}

#[test]
fn a_run_may_be_killed_at_any_moment() {
    let kills = std::env::var("CLEANBENCH_KILLS").ok().map(|count| count.parse::<u64>().expect("a count"));
    let whole = Bench::with("smoke", &[]);
    let arguments = ["run", "plan.yaml", "--record", "record"];
    let started = Instant::now();
    assert_eq!(whole.run(&arguments).status.code(), Some(0));
    let (duration, expected) = (started.elapsed(), whole.result("record"));
    let (started, seed) = (Instant::now(), Seed::new(0).child("kills"));
    let (mut killed, mut ended, mut tried, mut bench) = (0, 0, 0, Bench::with("smoke", &[]));
    while kills.map_or(started.elapsed() < TIME, |kills| killed < kills) {
        let before = done(&bench.path("store"));
        tried += 1;
        match kill_after(bench.start(&arguments), share(duration / 8, &seed.at(tried))) {
            Some(said) => {
                killed += 1;
                assert!(!said.contains("warning"), "{said}");
                let after = done(&bench.path("store"));
                for (key, epochs) in before {
                    assert!(after.get(&key) >= Some(&epochs), "{key}: lost more than the epoch under way");
                }
            }
            None => {
                ended += 1;
                assert_eq!(expected, bench.result("record"), "after {killed} kills");
                bench = Bench::with("smoke", &[]);
            }
        }
    }
    let output = bench.run(&arguments);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(expected, bench.result("record"), "after {killed} kills");
    for folder in ["store/partial", "store/temporary"] {
        assert_eq!(std::fs::read_dir(bench.path(folder)).expect("a folder").count(), 0, "{folder}");
    }
    println!("{killed} kills over {} runs that came to their end, {:.0?}", ended + 1, started.elapsed());
    assert!(killed >= 10, "only {killed} kills in {TIME:?}");
}

/// A process may be killed when an entry is there and the snapshots that led to it are too.
#[test]
fn snapshots_of_what_is_done_are_removed() {
    let bench = Bench::with("micro", &[]);
    let arguments = ["run", "plan.yaml", "--record", "record"];
    assert_eq!(bench.run(&arguments).status.code(), Some(0));
    let entries =
        std::fs::read_dir(bench.path("store/train")).expect("entries").map(|entry| entry.expect("one"));
    for entry in entries {
        let left = bench.path("store/partial").join(entry.file_name());
        std::fs::create_dir_all(&left).expect("a folder");
        std::fs::write(left.join("snapshot.safetensors"), "an epoch").expect("written");
    }
    let partial = || std::fs::read_dir(bench.path("store/partial")).expect("a folder").count();
    assert_eq!(bench.run(&["plan", "plan.yaml"]).status.code(), Some(0));
    assert_eq!(partial(), 1, "a look changes nothing");
    assert_eq!(bench.run(&arguments).status.code(), Some(0));
    assert_eq!(partial(), 0);
}

#[test]
fn one_of_two_runs_of_a_store_may_be_killed() {
    let whole = Bench::with("micro", &[]);
    let started = Instant::now();
    assert_eq!(whole.run(&["run", "plan.yaml", "--record", "record"]).status.code(), Some(0));
    let (duration, seed) = (started.elapsed(), Seed::new(0).child("races"));
    for round in 0..6 {
        let bench = Bench::with("micro", &[]);
        let first = bench.start(&["run", "plan.yaml", "--record", "first"]);
        let second = bench.start(&["run", "plan.yaml", "--record", "second"]);
        let (dies, lives, record) =
            if round % 2 == 0 { (first, second, "second") } else { (second, first, "first") };
        kill_after(dies, share(duration, &seed.at(round)));
        let output = lives.wait_with_output().expect("waited for");
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(whole.result("record"), bench.result(record));
    }
}

/// No file may grow past a size, which fails in the middle of a file as a full disk does; as root a small tmpfs would
/// show the same, but tests run as anybody.
#[cfg(unix)]
#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let whole = Bench::with("micro", &[]);
    assert_eq!(whole.run(&["run", "plan.yaml", "--record", "record"]).status.code(), Some(0));
    let bench = Bench::with("micro", &[]);
    // In kibibytes: no snapshot fits, no model, no evidence.
    for (limit, code) in [(500, 3), (200, 3), (2, 3)] {
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" run plan.yaml --record record");
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_cleanbench")]);
        command.current_dir(bench.path("")).env_remove("CLEANBENCH_STORE");
        let output = command.output().expect("bash runs");
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{limit}: {said}");
        assert!(said.contains("store/partial") && said.contains("--store"), "{limit}: {said}");
        assert!(std::fs::read_dir(bench.path("store/temporary")).expect("a folder").next().is_none());
        for partial in std::fs::read_dir(bench.path("store/partial")).expect("a folder") {
            let path = partial.expect("an entry").path();
            let left = std::fs::read_dir(path).expect("a folder").map(|file| file.expect("a file").path());
            assert_eq!(left.collect::<Vec<_>>(), Vec::<PathBuf>::new(), "half-written");
        }
    }
    assert_eq!(bench.run(&["run", "plan.yaml", "--record", "record"]).status.code(), Some(0));
    assert_eq!(whole.result("record"), bench.result("record"));
}

#[test]
fn descriptions_checks_and_snapshots_that_are_cut_or_changed_are_made_again() {
    let bench = files::bench();
    let run = |record: &str| {
        let output = bench.run(&["run", "plan.yaml", "--record", record]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stderr(&output)
    };
    run("whole");
    let file = |stage: &str, name: &str| {
        let entry = std::fs::read_dir(bench.path("store").join(stage)).expect("a stage").next();
        entry.expect("an entry").expect("an entry").path().join(name)
    };
    let cut = |path: &Path| {
        let bytes = std::fs::read(path).expect("bytes");
        std::fs::write(path, &bytes[..bytes.len() / 2]).expect("cut");
    };
    for (stage, name) in [
        ("check", "check.json"),
        ("check", "entry.json"),
        ("train", "entry.json"),
        ("defend", "entry.json"),
        ("observe", "entry.json"),
        ("train", "optimizer.safetensors"),
    ] {
        cut(&file(stage, name));
        let said = run("again");
        assert!(said.contains("damaged") && said.contains(name), "{stage}/{name}: {said}");
        assert_eq!(bench.result("whole"), bench.result("again"), "{stage}/{name}");
    }
    // A description that was edited by hand.
    let path = file("train", "entry.json");
    let text = std::fs::read_to_string(&path).expect("an entry");
    std::fs::write(&path, text.replace("\"seed\": 0", "\"seed\": 1")).expect("edited");
    assert!(run("again").contains("describes another key"));
    assert_eq!(bench.result("whole"), bench.result("again"));
    // Half a snapshot, and none of its hashes.
    let key = file("train", "").file_name().expect("a key").to_owned();
    for whole in [false, true] {
        std::fs::remove_dir_all(bench.path("store/train")).expect("removed");
        let partial = bench.path("store/partial").join(&key);
        std::fs::create_dir_all(&partial).expect("a folder");
        std::fs::write(partial.join("snapshot.safetensors"), "half").expect("a snapshot");
        if whole {
            std::fs::write(partial.join("snapshot.blake3"), "0123\n").expect("a hash");
        }
        assert!(run("again").contains("snapshot is not whole"));
        assert_eq!(bench.result("whole"), bench.result("again"));
    }
}

//! Runs that are killed, raced, out of room or damaged: the next one finishes with the same bytes, and at most the epoch
//! under way is lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use clip::Seed;

use crate::file_data;
use crate::support::{Bench, Ran, edited, holds};

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
    let ran = Ran::after(child);
    assert!(!ended || ran.code == Some(0), "{}", ran.err);
    (!ended).then_some(ran.err)
}

#[test]
fn a_run_may_be_killed_at_any_moment() {
    let kills = std::env::var("CLEANBENCH_KILLS").ok().map(|count| count.parse::<u64>().expect("a count"));
    let whole = Bench::with("smoke", &[]);
    let arguments = ["run", "plan.yaml", "--record", "record"];
    let started = Instant::now();
    whole.exits(0, &arguments);
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
                let name =
                    |path: &PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes()[0] == b'.');
                assert!(!bench.list("record").iter().any(name), "{:?}", bench.list("record"));
                bench = Bench::with("smoke", &[]);
            }
        }
    }
    bench.exits(0, &arguments);
    assert_eq!(expected, bench.result("record"), "after {killed} kills");
    for folder in ["store/partial", "store/temporary"] {
        assert!(bench.list(folder).is_empty(), "{folder}");
    }
    println!("{killed} kills over {} runs that came to their end, {:.0?}", ended + 1, started.elapsed());
    assert!(killed >= 10, "only {killed} kills in {TIME:?}");
}

/// A process may be killed when an entry is there and the snapshots that led to it are too.
#[test]
fn snapshots_of_what_is_done_are_removed() {
    let bench = Bench::with("micro", &[]);
    let arguments = ["run", "plan.yaml", "--record", "record"];
    bench.exits(0, &arguments);
    for entry in bench.list("store/train") {
        let left = bench.path("store/partial").join(entry.file_name().expect("a key"));
        std::fs::create_dir_all(&left).expect("a folder");
        std::fs::write(left.join("snapshot.safetensors"), "an epoch").expect("written");
    }
    bench.exits(0, &["plan", "plan.yaml"]);
    assert_eq!(bench.list("store/partial").len(), 1, "a look changes nothing");
    bench.exits(0, &arguments);
    assert!(bench.list("store/partial").is_empty());
}

#[test]
fn one_of_two_runs_of_a_store_may_be_killed() {
    let whole = Bench::with("micro", &[]);
    let started = Instant::now();
    whole.exits(0, &["run", "plan.yaml", "--record", "record"]);
    let (duration, seed) = (started.elapsed(), Seed::new(0).child("races"));
    for round in 0..6 {
        let bench = Bench::with("micro", &[]);
        let first = bench.start(&["run", "plan.yaml", "--record", "first"]);
        let second = bench.start(&["run", "plan.yaml", "--record", "second"]);
        let (dies, lives, record) =
            if round % 2 == 0 { (first, second, "second") } else { (second, first, "first") };
        kill_after(dies, share(duration, &seed.at(round)));
        Ran::after(lives).exits(0);
        assert_eq!(whole.result("record"), bench.result(record));
    }
}

/// No file may grow past a size, which fails in the middle of a file as a full disk does; as root a small tmpfs would
/// show the same, but tests run as anybody.
#[cfg(unix)]
#[test]
fn a_full_disk_is_named_and_loses_nothing() {
    let whole = Bench::with("micro", &[]);
    whole.exits(0, &["run", "plan.yaml", "--record", "record"]);
    let bench = Bench::with("micro", &[]);
    // In kibibytes: no snapshot fits, no model, no evidence.
    for limit in [500, 200, 2] {
        let script = format!("trap '' XFSZ; ulimit -f {limit}; exec \"$0\" run plan.yaml --record record");
        let mut command = std::process::Command::new("bash");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_cleanbench")]);
        command.current_dir(bench.path("")).env_remove("CLEANBENCH_STORE");
        holds(&Ran::of(&mut command).exits(3).err, &["store/partial", "--store"]);
        assert!(bench.list("store/temporary").is_empty(), "{limit}");
        for partial in bench.list("store/partial") {
            let left = std::fs::read_dir(partial).expect("a folder").count();
            assert_eq!(left, 0, "half-written with {limit}");
        }
    }
    bench.exits(0, &["run", "plan.yaml", "--record", "record"]);
    assert_eq!(whole.result("record"), bench.result("record"));
}

#[test]
fn descriptions_checks_and_snapshots_that_are_cut_or_changed_are_made_again() {
    let bench = file_data::bench();
    let run = |record: &str| bench.exits(0, &["run", "plan.yaml", "--record", record]).err;
    run("whole");
    let file = |stage: &str, name: &str| bench.list(&format!("store/{stage}"))[0].join(name);
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
        holds(&run("again"), &["damaged", name]);
        assert_eq!(bench.result("whole"), bench.result("again"), "{stage}/{name}");
    }
    // A description that was edited by hand.
    let path = file("train", "entry.json");
    let text = std::fs::read_to_string(&path).expect("an entry");
    std::fs::write(&path, edited(text, &[("\"seed\": 0", "\"seed\": 1")])).expect("edited");
    holds(&run("again"), &["describes another key"]);
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
        holds(&run("again"), &["snapshot is not whole"]);
        assert_eq!(bench.result("whole"), bench.result("again"));
    }
}

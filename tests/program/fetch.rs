//! `data fetch`, against a Hub on the loopback address.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::hub::{Fault, Kept, Server, sha256};
use crate::support::{Ran, holds, wait};

/// The catalogue's commit of `cc3m`.
const CC3M: (&str, &str) = ("pixparse/cc3m-wds", "46f3d69f840e59d77d52e8decfe5baec97e94c7f");

/// A folder, and the Hub that programs in it see.
pub(crate) struct Home {
    pub(crate) server: Server,
    pub(crate) folder: tempfile::TempDir,
}

impl Home {
    /// A Hub with three small shards of CC3M, and an empty folder.
    fn new() -> Self {
        let server = Server::start();
        server.add_repository("datasets", CC3M.0, CC3M.1);
        for name in ["cc3m-train-0000.tar", "cc3m-train-0001.tar", "cc3m-validation-0000.tar"] {
            server.add_file(CC3M.0, name, shard(name), Kept::Large);
        }
        Self { server, folder: tempfile::tempdir().expect("a folder") }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cleanbench"));
        // Nothing of the machine's own settings, and no proxy.
        for (name, _) in std::env::vars() {
            if name.starts_with("HF_") || name.to_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command.args(arguments).current_dir(self.folder.path());
        command.env("HF_ENDPOINT", self.server.url()).env("HF_HOME", self.path("home"));
        command
    }

    fn fetching(&self, arguments: &[&str]) -> Command {
        self.command(&[&["data", "fetch"], arguments].concat())
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.fetching(arguments))
    }

    fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.fetching(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program starts")
    }

    /// Runs, expects success and gives what was printed.
    fn fetch(&self, arguments: &[&str]) -> String {
        self.run(arguments).exits(0).out
    }
}

fn shard(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(200_000).collect()
}

#[test]
fn shards_are_fetched_where_presets_look() {
    let home = Home::new();
    let printed = home.fetch(&["cc3m", "--limit", "1", "--dry-run"]);
    assert!(printed.contains("200 kB  cc3m-train-0000.tar") && !printed.contains("0001"), "{printed}");
    assert!(printed.contains("400 kB must still come") && printed.contains(CC3M.1), "{printed}");
    let blobs = home.path("home/hub/datasets--pixparse--cc3m-wds/blobs");
    assert!(!home.path("data").exists() && !blobs.exists());
    let printed = home.fetch(&["cc3m", "--limit", "1"]);
    holds(&printed, &["2 files, 400 kB, in data/CC3M"]);
    let name = "cc3m-train-0000.tar";
    assert_eq!(std::fs::read(home.path("data/CC3M/train").join(name)).expect("a shard"), shard(name));
    let snapshot = format!("home/hub/datasets--pixparse--cc3m-wds/snapshots/{}", CC3M.1);
    assert!(home.path(&snapshot).join(name).exists());
    let receipt = std::fs::read_to_string(home.path("data/CC3M/source.yaml")).expect("a receipt");
    holds(&receipt, &[CC3M.0, CC3M.1, &sha256(&shard(name)), "size: 200000", &home.server.url()]);
    let listed = format!("in data/CC3M: 2 of 2 files fetched, at {}", CC3M.1);
    holds(&home.fetch(&["--list"]), &[&listed]);
    assert!(home.fetch(&["cc3m", "--limit", "1", "--dry-run"]).contains("0 B must still come"));
}

#[test]
fn branches_are_resolved_and_said() {
    let home = Home::new();
    let output = home.run(&["cc3m", "--revision", "main", "--to", "elsewhere"]);
    holds(&output.err, &[&format!("{} at {}", CC3M.0, CC3M.1)]);
    assert!(home.path("elsewhere/train/cc3m-train-0001.tar").exists());
    assert_eq!(home.server.ranges("/revision/main").len(), 1);
}

#[test]
fn a_killed_fetch_goes_on_from_the_last_byte() {
    let home = Home::new();
    home.server.fail("file=cc3m-train-0000", Fault::StallAfter(70_000));
    let mut child = home.start(&["cc3m", "--jobs", "1"]);
    let expected = shard("cc3m-train-0000.tar");
    let name = format!("{}.incomplete", sha256(&expected));
    let blob = home.path("home/hub/datasets--pixparse--cc3m-wds/blobs").join(name);
    wait("bytes", || blob.metadata().is_ok_and(|found| found.len() == 70_000));
    child.kill().and_then(|()| child.wait()).expect("killed");
    home.fetch(&["cc3m"]);
    assert_eq!(home.server.ranges("file=cc3m-train-0000"), ["", "bytes=70000-199999"]);
    let found = std::fs::read(home.path("data/CC3M/train/cc3m-train-0000.tar")).expect("a shard");
    assert_eq!(found, expected);
}

#[test]
fn two_processes_share_a_download() {
    let home = Home::new();
    home.server.fail("/cdn/", Fault::Silence(Duration::from_millis(500)));
    let mut first = home.start(&["cc3m", "--to", "one"]);
    let mut second = home.start(&["cc3m", "--to", "two"]);
    assert!(first.wait().expect("ended").success() && second.wait().expect("ended").success());
    assert_eq!(home.server.ranges("/cdn/").len(), 3, "a shard was fetched twice");
    for to in ["one", "two"] {
        assert!(home.path(to).join("train/cc3m-train-0001.tar").exists(), "{to}");
    }
}

#[test]
fn gated_sources_say_what_to_do_and_take_the_token() {
    let home = Home::new();
    let (name, commit) = ("ILSVRC/imagenet-1k", "49e2ee26f3810fb5a7536bbf732a7b07389a47b5");
    home.server.add_repository("datasets", name, commit);
    home.server.add_file(name, "data/validation-00000-of-00014.parquet", "parquet", Kept::Large);
    home.server.gate(name, "secret");
    let refused = home.run(&["imagenet"]).exits(3);
    holds(&refused.err, &["https://huggingface.co/datasets/ILSVRC/imagenet-1k", "HF_TOKEN", "GatedRepo"]);
    Ran::of(home.fetching(&["imagenet"]).env("HF_TOKEN", "secret")).exits(0);
    assert!(home.path("data/ImageNet1K/validation/validation-00000-of-00014.parquet").exists());
    std::fs::write(home.path("home/token"), "secret\n").expect("a token");
    home.fetch(&["imagenet", "--to", "again"]);
    let requests = home.server.requests();
    let of_others = |path: &str| path.contains(CC3M.0);
    let mut leaks = requests.iter().filter(|asked| asked.headers.contains_key("authorization"));
    assert!(!leaks.any(|asked| of_others(&asked.path)));
}

#[test]
fn offline_uses_the_cache_or_says_what_to_run() {
    let home = Home::new();
    let offline = |arguments: &[&str]| Ran::of(home.fetching(arguments).env("HF_HUB_OFFLINE", "1"));
    holds(&offline(&["cc3m"]).err, &["run `cleanbench data fetch cc3m` once without HF_HUB_OFFLINE"]);
    home.fetch(&["cc3m", "--limit", "1"]);
    let asked = home.server.requests().len();
    offline(&["cc3m", "--to", "again"]).exits(0);
    assert!(home.path("again/train/cc3m-train-0000.tar").exists());
    assert_eq!(home.server.requests().len(), asked);
}

#[test]
fn check_says_what_is_alive() {
    let home = Home::new();
    home.server.add_repository("models", "timm/resnet50_clip.openai", &"0".repeat(40));
    let printed = home.run(&["--check"]).exits(3).out;
    let line = |name: &str| printed.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    assert!(line("cc3m").ends_with(": alive"), "{printed}");
    holds(line("rn50-openai"), &["NOT THERE: timm/resnet50_clip.openai has no such revision"]);
    holds(line("flickr30k"), &["NOT THERE"]);
}

#[test]
fn mistakes_are_met() {
    let home = Home::new();
    for (arguments, word) in
        [(&["cc3n"][..], "did you mean \"cc3m\""), (&[], "required"), (&["cc3m", "--limit", "0"], "--limit")]
    {
        holds(&home.run(arguments).exits(2).err, &[word]);
    }
    assert!(home.server.requests().is_empty());
}

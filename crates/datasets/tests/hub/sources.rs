//! Whole sources: choosing, fetching, linking, the receipt.

use std::path::Path;

use base::{Progress, Verbosity};
use datasets::fetch::{Choice, Files, Receipt, Source, Wanted, choose, fetch};
use datasets::hub::{Hub, Kind};

use crate::server::{Fault, Kept, sha256};
use crate::{COMMIT, Client, DATA, noise, settings};

static SOURCE: Source = Source {
    name: "things",
    folder: "Things",
    title: "Things",
    kind: Kind::Dataset,
    repository: "owner/data",
    revision: "main",
    files: &[
        Files { pattern: "test/*.tar", into: Some("held-out") },
        Files { pattern: "README.md", into: None },
        Files { pattern: "LICENCE", into: None },
    ],
    read_by: "nobody",
    licence: "none",
    gated: false,
    size: None,
};

fn choice(hub: &Hub, limit: Option<usize>) -> anyhow::Result<Choice<'static>> {
    choose(hub, &Wanted { source: &SOURCE, revision: None, limit })
}

fn fetch_into(hub: &Hub, limit: Option<usize>, folder: &Path) -> anyhow::Result<Receipt> {
    let choice = choice(hub, limit)?;
    fetch(hub, &choice, folder, 2, &Progress::new(Verbosity::Quiet, 1.0, 80))
}

#[test]
fn the_first_shards_are_fetched_linked_and_recorded() {
    let client = Client::new();
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("data/things");
    let limited = choice(&client.hub, Some(2)).unwrap();
    assert_eq!((limited.commit.as_str(), limited.size(), limited.missing), (COMMIT, 600_006, 600_006));
    let receipt = fetch_into(&client.hub, Some(2), &folder).unwrap();
    let names: Vec<&str> = receipt.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(names, ["held-out/0.tar", "held-out/1.tar", "README.md"]);
    assert_eq!(receipt.files[1].sha256, sha256(&noise(300_001)));
    assert_eq!(receipt.files[2].sha256, sha256(b"small"));
    assert_eq!((receipt.commit.as_str(), receipt.repository.as_str()), (COMMIT, DATA.name));
    assert_eq!(Receipt::read(&folder).unwrap(), receipt);
    assert_eq!(std::fs::read(folder.join("held-out/1.tar")).unwrap(), noise(300_001));

    // The rest comes, the numbers in their order, and nothing comes twice.
    let asked = client.server.ranges("/cdn/").len();
    let all = fetch_into(&client.hub, None, &folder).unwrap();
    assert_eq!(all.files[2].repository_path, "test/2.tar");
    assert_eq!(all.files[3].path, "held-out/10.tar");
    assert_eq!(client.server.ranges("/cdn/").len(), asked + 2);
    assert_eq!(choice(&client.hub, None).unwrap().missing, 0);
}

#[test]
fn foreign_files_stay_and_old_links_go() {
    let client = Client::new();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("README.md"), "mine, and longer").unwrap();
    let error = format!("{:#}", fetch_into(&client.hub, Some(1), folder.path()).unwrap_err());
    assert!(error.contains("README.md is there and is another file"), "{error}");
    assert_eq!(std::fs::read(folder.path().join("README.md")).unwrap(), b"mine, and longer");
    std::fs::remove_file(folder.path().join("README.md")).unwrap();
    std::os::unix::fs::symlink("/nowhere", folder.path().join("README.md")).unwrap();
    fetch_into(&client.hub, Some(1), folder.path()).unwrap();
    assert_eq!(std::fs::read(folder.path().join("README.md")).unwrap(), b"small");
}

#[test]
fn one_bad_shard_ends_the_fetch_and_names_it() {
    let client = Client::new();
    let folder = tempfile::tempdir().unwrap();
    client.server.fail("/cdn/", Fault::WrongBytes);
    let error = format!("{:#}", fetch_into(&client.hub, None, folder.path()).unwrap_err());
    assert!(error.contains(".tar came wrong and was deleted"), "{error}");
    assert!(!folder.path().join("source.yaml").exists());
    fetch_into(&client.hub, None, folder.path()).unwrap();
}

#[test]
fn a_full_disk_is_said_before_anything_comes() {
    let client = Client::new();
    let folder = tempfile::tempdir().unwrap();
    client.server.inflate(DATA.name, 1 << 60);
    let error = format!("{:#}", fetch_into(&client.hub, None, folder.path()).unwrap_err());
    assert!(error.contains("needs") && error.contains("are free in") && error.contains("--limit"), "{error}");
    assert!(client.server.ranges("/cdn/").is_empty());
}

#[test]
fn offline_says_what_to_run_online() {
    let client = Client::new();
    let offline = || {
        let settings = settings(&client.server, client.cache.path());
        Hub::new(datasets::hub::Settings { offline: true, ..settings }).unwrap()
    };
    let error = format!("{:#}", choice(&offline(), None).unwrap_err());
    assert!(error.contains("run `cleanbench data fetch things` once without HF_HUB_OFFLINE"), "{error}");
    client.hub.commit(DATA, "main").unwrap();
    let error = format!("{:#}", choice(&offline(), None).unwrap_err());
    assert!(error.contains("nothing of owner/data") && error.contains("data fetch things"), "{error}");
    let folder = tempfile::tempdir().unwrap();
    fetch_into(&client.hub, Some(1), folder.path()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let receipt = fetch_into(&offline(), None, elsewhere.path()).unwrap();
    assert_eq!(receipt.files.len(), 2);
}

#[test]
fn a_pattern_without_files_is_an_error() {
    let client = Client::new();
    client.server.add_repository("datasets", DATA.name, COMMIT);
    client.server.add_file(DATA.name, "other.bin", "x", Kept::Small);
    let error = format!("{:#}", choice(&client.hub, None).unwrap_err());
    assert!(error.contains("has no test/*.tar, README.md"), "{error}");
}

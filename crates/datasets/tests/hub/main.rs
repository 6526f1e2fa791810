//! The Hub's client against a server on the loopback address.

mod server;
mod sources;

use std::path::Path;
use std::time::Duration;

use datasets::hub::{Fetched, Hub, Kind, Patience, RemoteFile, Repository, Settings, Standing};
use server::{Fault, Kept, Server, sha256};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const DATA: Repository<'_> = Repository { kind: Kind::Dataset, name: "owner/data" };

fn noise(count: usize) -> Vec<u8> {
    (0..count as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A server with a repository of five files in two folders.
fn served() -> Server {
    let server = Server::start();
    server.add_repository("datasets", DATA.name, COMMIT);
    server.add_file(DATA.name, "README.md", "small", Kept::Small);
    for index in [0, 1, 2, 10] {
        server.add_file(DATA.name, &format!("test/{index}.tar"), noise(300_000 + index), Kept::Large);
    }
    server
}

fn settings(server: &Server, cache: &Path) -> Settings {
    let patience =
        Patience { attempts: 4, first_wait: Duration::from_millis(1), timeout: Duration::from_millis(700) };
    Settings { endpoint: Some(server.url()), cache: Some(cache.to_owned()), patience, ..Settings::default() }
}

struct Client {
    server: Server,
    hub: Hub,
    cache: tempfile::TempDir,
}

impl Client {
    fn new() -> Self {
        let (server, cache) = (served(), tempfile::tempdir().unwrap());
        let hub = Hub::new(settings(&server, cache.path())).unwrap();
        Self { server, hub, cache }
    }

    fn file(&self, path: &str) -> RemoteFile {
        let files = self.hub.files(DATA, COMMIT).unwrap();
        files.into_iter().find(|file| file.path == path).unwrap()
    }

    fn download(&self, path: &str) -> anyhow::Result<Fetched> {
        self.hub.download(DATA, COMMIT, &self.file(path), &|_| {})
    }

    fn error(&self, path: &str) -> String {
        format!("{:#}", self.download(path).unwrap_err())
    }

    /// Nothing of a large file is left.
    fn is_clean(&self) -> bool {
        let blobs = std::fs::read_dir(self.cache.path().join("datasets--owner--data/blobs"));
        blobs.is_ok_and(|blobs| blobs.count() == 0)
    }
}

#[test]
fn branches_become_commits_and_all_pages_are_read() {
    let Client { server, hub, cache } = Client::new();
    assert_eq!(hub.commit(DATA, "main").unwrap(), COMMIT);
    let reference = cache.path().join("datasets--owner--data/refs/main");
    assert_eq!(std::fs::read_to_string(reference).unwrap(), COMMIT);
    let mut paths: Vec<String> = hub.files(DATA, COMMIT).unwrap().into_iter().map(|file| file.path).collect();
    paths.sort();
    assert_eq!(paths, ["README.md", "test/0.tar", "test/1.tar", "test/10.tar", "test/2.tar"]);
    let pages = server.requests().iter().filter(|asked| asked.path.contains("/tree/")).count();
    assert_eq!(pages, 2);
    assert!(server.requests().iter().all(|asked| asked.headers["user-agent"].starts_with("cleanbench/")));
}

#[test]
fn files_land_in_the_hubs_layout_and_are_not_fetched_twice() {
    let client = Client::new();
    for (path, bytes) in [("README.md", b"small".to_vec()), ("test/1.tar", noise(300_001))] {
        let first = client.download(path).unwrap();
        assert_eq!(std::fs::read(&first.path).unwrap(), bytes);
        assert_eq!((first.sha256, first.cached), (sha256(&bytes), false));
        assert!(first.path.ends_with(format!("datasets--owner--data/snapshots/{COMMIT}/{path}")));
        let asked = client.server.requests().len();
        assert!(client.download(path).unwrap().cached);
        let again: Vec<_> = client.server.requests().split_off(asked);
        assert!(again.iter().all(|asked| asked.path.contains("/tree/")), "{again:?}");
        assert!(std::fs::read_link(&first.path).unwrap().to_string_lossy().starts_with("../../"));
    }
}

#[test]
fn a_cut_is_resumed_from_the_last_byte() {
    let client = Client::new();
    client.server.fail("/cdn/", Fault::CutAfter(100_000));
    client.server.fail("/cdn/", Fault::CutAfter(50_000));
    let file = client.download("test/0.tar").unwrap();
    assert_eq!(std::fs::read(file.path).unwrap(), noise(300_000));
    assert_eq!(client.server.ranges("/cdn/"), ["", "bytes=100000-299999", "bytes=150000-299999"]);
}

#[test]
fn what_an_earlier_run_left_is_gone_on_with_or_replaced() {
    for (left, ranges) in [
        (noise(1000), vec!["bytes=1000-299999"]),
        (vec![7; 1000], vec!["bytes=1000-299999", ""]),
        (noise(300_000), vec![]),
        (noise(400_000), vec![""]),
    ] {
        let client = Client::new();
        let blobs = client.cache.path().join("datasets--owner--data/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(format!("{}.incomplete", sha256(&noise(300_000)))), left).unwrap();
        let file = client.download("test/0.tar").unwrap();
        assert_eq!(std::fs::read(file.path).unwrap(), noise(300_000));
        assert_eq!(client.server.ranges("/cdn/"), ranges);
    }
}

#[test]
fn a_server_that_knows_no_ranges_begins_again() {
    let client = Client::new();
    client.server.fail("/cdn/", Fault::CutAfter(100_000));
    client.server.fail("/cdn/", Fault::NoRanges);
    let file = client.download("test/0.tar").unwrap();
    assert_eq!(std::fs::read(file.path).unwrap(), noise(300_000));
    assert_eq!(client.server.ranges("/cdn/"), ["", "bytes=100000-299999", ""]);
}

#[test]
fn wrong_bytes_are_deleted_and_said() {
    let client = Client::new();
    client.server.fail("/cdn/", Fault::WrongBytes);
    let error = client.error("test/0.tar");
    assert!(
        error.contains("test/0.tar came wrong and was deleted") && error.contains(&sha256(&noise(300_000))),
        "{error}"
    );
    assert!(client.is_clean());
    client.server.fail("README.md", Fault::WrongBytes);
    assert!(client.error("README.md").contains("deleted"));
    client.download("test/0.tar").unwrap();
}

#[test]
fn a_web_page_is_no_file() {
    let client = Client::new();
    client.server.fail("/cdn/", Fault::WebPage);
    assert!(client.error("test/0.tar").contains("a web page in place of the file"));
    client.server.fail("/tree/", Fault::WebPage);
    let error = format!("{:#}", client.hub.files(DATA, COMMIT).unwrap_err());
    assert!(error.contains("HF_ENDPOINT"), "{error}");
}

#[test]
fn busy_servers_are_asked_again_after_the_wait_they_ask_for() {
    let client = Client::new();
    let file = client.file("test/0.tar");
    client.server.fail("/cdn/", Fault::Status(500, Vec::new()));
    client.server.fail("/cdn/", Fault::Status(429, vec![("Retry-After", "1".into())]));
    client.server.fail("/tree/", Fault::Status(503, Vec::new()));
    client.server.fail("/revision/", Fault::Status(502, Vec::new()));
    let started = std::time::Instant::now();
    client.hub.download(DATA, COMMIT, &file, &|_| {}).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1), "Retry-After was not waited for");
    client.hub.files(DATA, COMMIT).unwrap();
    client.hub.commit(DATA, "main").unwrap();
    for _ in 0..4 {
        client.server.fail("/cdn/", Fault::Status(500, Vec::new()));
    }
    let error = client.error("test/1.tar");
    assert!(error.contains("gave up after 4 attempts") && error.contains("HF_HUB_OFFLINE"), "{error}");
}

#[test]
fn a_silent_server_is_left() {
    let client = Client::new();
    client.server.fail("/cdn/", Fault::Silence(Duration::from_secs(10)));
    client.server.fail("/cdn/", Fault::StallAfter(100_000));
    let started = std::time::Instant::now();
    client.download("test/0.tar").unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(client.server.ranges("/cdn/"), ["", "", "bytes=100000-299999"]);
}

#[test]
fn gated_data_names_the_page_and_the_token() {
    let server = served();
    server.gate(DATA.name, "secret");
    let cache = tempfile::tempdir().unwrap();
    let without = Hub::new(settings(&server, cache.path())).unwrap();
    assert_eq!(without.standing(DATA, COMMIT).unwrap(), Standing::Gated);
    let error = format!("{:#}", without.files(DATA, COMMIT).unwrap_err());
    for word in ["GatedRepo", "https://huggingface.co/datasets/owner/data", "HF_TOKEN"] {
        assert!(error.contains(word), "{error}");
    }
    let with =
        Hub::new(Settings { token: Some("secret".into()), ..settings(&server, cache.path()) }).unwrap();
    let files = with.files(DATA, COMMIT).unwrap();
    with.download(DATA, COMMIT, &files[0], &|_| {}).unwrap();
}

#[test]
fn what_is_not_there_is_told_apart() {
    let client = Client::new();
    let gone = Repository { kind: Kind::Model, name: "owner/gone" };
    assert!(
        matches!(client.hub.standing(gone, "main").unwrap(), Standing::Gone(text) if text.contains("owner/gone"))
    );
    let error = format!("{:#}", client.hub.commit(DATA, "v2").unwrap_err());
    assert!(error.contains("no such revision") && error.contains("--revision main"), "{error}");
    let file = RemoteFile { path: "none.tar".into(), ..client.file("test/0.tar") };
    let error = format!("{:#}", client.hub.download(DATA, COMMIT, &file, &|_| {}).unwrap_err());
    assert!(error.contains("no such file"), "{error}");
}

#[test]
fn paths_and_hashes_that_lead_outside_are_refused() {
    let client = Client::new();
    client.server.add_file(DATA.name, "../../escaped", "x", Kept::Small);
    let error = format!("{:#}", client.hub.files(DATA, COMMIT).unwrap_err());
    assert!(error.contains("leads out"), "{error}");
    assert!(client.hub.commit(DATA, "../x").is_err());
}

#[test]
fn offline_the_cache_is_all_there_is() {
    let client = Client::new();
    client.hub.commit(DATA, "main").unwrap();
    client.download("test/2.tar").unwrap();
    client.download("README.md").unwrap();
    let asked = client.server.requests().len();
    let offline =
        Hub::new(Settings { offline: true, ..settings(&client.server, client.cache.path()) }).unwrap();
    assert_eq!(offline.commit(DATA, "main").unwrap(), COMMIT);
    let files = offline.files(DATA, COMMIT).unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(paths, ["README.md", "test/2.tar"]);
    let file = offline.download(DATA, COMMIT, &files[1], &|_| {}).unwrap();
    assert_eq!(std::fs::read(file.path).unwrap(), noise(300_002));
    let error = format!("{:#}", offline.commit(DATA, "v2").unwrap_err());
    assert!(error.contains("HF_HUB_OFFLINE") && error.contains("v2"), "{error}");
    assert_eq!(client.server.requests().len(), asked);
}

#[test]
fn two_clients_of_one_cache_download_a_file_once() {
    let client = Client::new();
    let file = client.file("test/0.tar");
    client.server.fail("/cdn/", Fault::Silence(Duration::from_millis(300)));
    let other = Hub::new(settings(&client.server, client.cache.path())).unwrap();
    std::thread::scope(|scope| {
        for hub in [&client.hub, &other] {
            scope.spawn(|| hub.download(DATA, COMMIT, &file, &|_| {}).unwrap());
        }
    });
    assert_eq!(client.server.ranges("/cdn/"), [""]);
}

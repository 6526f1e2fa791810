//! A Hub on the loopback address, for tests: it speaks what `data fetch` needs of the Hub's API and fails on demand.
//!
//! ```text
//! let server = Server::start();
//! server.add_repository("datasets", "pixparse/cc3m-wds", COMMIT);
//! server.add_file("pixparse/cc3m-wds", "cc3m-train-0000.tar", bytes, Kept::Large);
//! server.fail("file=cc3m-train-0000", Fault::CutAfter(1000));   // once, for the next GET whose path contains this
//! // … run with HF_ENDPOINT=server.url() …
//! server.requests()                                        // what was asked, in order
//! ```
//!
//! Large files are answered by a redirect to `/cdn/HASH?kind=…&file=PATH`, as the Hub does; listings come in pages of three
//! entries.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A running server; it ends with the test's process.
pub(crate) struct Server {
    address: String,
    state: Arc<Mutex<State>>,
}

/// How a repository keeps a file.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kept {
    /// In git: answered at once, named by git's hash.
    Small,
    /// In LFS: answered by a redirect, named by its SHA-256.
    Large,
}

/// What goes wrong, once.
#[derive(Clone)]
pub(crate) enum Fault {
    /// This status and these headers.
    Status(u16, Vec<(&'static str, String)>),
    /// The connection ends after so many bytes of the body.
    CutAfter(usize),
    /// Nothing more comes after so many bytes of the body, for half a minute.
    StallAfter(usize),
    WebPage,
    /// Nothing for so long, then the answer.
    Silence(Duration),
    /// The right number of wrong bytes.
    WrongBytes,
    /// The whole file whatever range was asked for.
    NoRanges,
}

#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: String,
    /// With its query.
    pub(crate) path: String,
    pub(crate) headers: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    repositories: BTreeMap<String, Repository>,
    faults: Vec<(String, Fault)>,
    asked: Vec<Asked>,
}

struct Repository {
    kind: &'static str,
    commit: String,
    files: BTreeMap<String, (Vec<u8>, Kept)>,
    token: Option<String>,
    /// Bytes that listings add to the size of each file.
    inflated: u64,
}

struct Page {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// What git calls bytes.
pub(crate) fn git_blob(bytes: &[u8]) -> String {
    let mut hash = sha1::Sha1::new();
    hash.update(format!("blob {}\0", bytes.len()));
    hash.update(bytes);
    hexadecimal(&hash.finalize())
}

impl Server {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || {
                    // A client that goes away is part of the tests.
                    let _ = answer(stream, &state);
                });
            }
        });
        Self { address, state }
    }

    /// What HF_ENDPOINT must be.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A repository (`kind` is `datasets` or `models`) whose branch `main` is at `commit`.
    pub(crate) fn add_repository(&self, kind: &'static str, name: &str, commit: &str) {
        let repository =
            Repository { kind, commit: commit.to_owned(), files: BTreeMap::new(), token: None, inflated: 0 };
        lock(&self.state).repositories.insert(name.to_owned(), repository);
    }

    pub(crate) fn add_file(&self, repository: &str, path: &str, bytes: impl Into<Vec<u8>>, kept: Kept) {
        let file = (bytes.into(), kept);
        self.change(repository, |repository| drop(repository.files.insert(path.to_owned(), file)));
    }

    fn change(&self, repository: &str, change: impl FnOnce(&mut Repository)) {
        change(lock(&self.state).repositories.get_mut(repository).expect("a repository"));
    }

    /// Opens a repository's files only to this token.
    pub(crate) fn gate(&self, repository: &str, token: &str) {
        self.change(repository, |repository| repository.token = Some(token.to_owned()));
    }

    /// Lets listings say that each file has so many bytes more than it has.
    pub(crate) fn inflate(&self, repository: &str, bytes: u64) {
        self.change(repository, |repository| repository.inflated = bytes);
    }

    /// A fault for the next GET whose path contains `part`; several come in the order given.
    pub(crate) fn fail(&self, part: &str, fault: Fault) {
        lock(&self.state).faults.push((part.to_owned(), fault));
    }

    pub(crate) fn requests(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    /// The ranges of all GETs whose path contains `part`, in order; an empty text where none was asked for.
    pub(crate) fn ranges(&self, part: &str) -> Vec<String> {
        let gets =
            self.requests().into_iter().filter(|asked| asked.method == "GET" && asked.path.contains(part));
        gets.map(|asked| asked.headers.get("range").cloned().unwrap_or_default()).collect()
    }
}

/// Reads one request and answers it; a connection serves one.
fn answer(stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
    let (method, path) = (method.to_owned(), path.to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let mut stream = reader.into_inner();
    let asked = Asked { method: method.clone(), path: path.clone(), headers };
    let (page, fault) = {
        let mut state = lock(state);
        state.asked.push(asked.clone());
        let found = state.faults.iter().position(|(part, _)| method == "GET" && path.contains(part));
        let fault = found.map(|index| state.faults.remove(index).1);
        let authority = asked.headers.get("host").cloned().unwrap_or_default();
        (respond(&state, &asked, &authority), fault)
    };
    send(&mut stream, &asked, page, fault)
}

/// The answer where nothing goes wrong.
fn respond(state: &State, asked: &Asked, authority: &str) -> Page {
    let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
    if let Some(hash) = path.strip_prefix("/cdn/") {
        let files = state.repositories.values().flat_map(|repository| repository.files.values());
        let found = files.map(|(bytes, _)| bytes).find(|bytes| sha256(bytes) == hash);
        return found.map_or_else(|| missing("EntryNotFound"), |bytes| fine(bytes.clone(), Vec::new()));
    }
    let api = path.strip_prefix("/api/");
    let place = api.unwrap_or_else(|| path.trim_start_matches('/'));
    let place = place.strip_prefix("datasets/").or_else(|| place.strip_prefix("models/")).unwrap_or(place);
    let mut parts = place.splitn(5, '/');
    let mut part = || parts.next().unwrap_or_default();
    let name = format!("{}/{}", part(), part());
    let (what, revision, file) = (part(), part(), part());
    let Some(repository) = state.repositories.get(&name) else { return missing("RepoNotFound") };
    if revision != "main" && revision != repository.commit {
        return missing("RevisionNotFound");
    }
    let open = repository.token.as_ref().is_none_or(|token| {
        asked.headers.get("authorization").is_some_and(|given| *given == format!("Bearer {token}"))
    });
    match what {
        "revision" => {
            let gated = if repository.token.is_some() { "auto".into() } else { Value::from(false) };
            let info = json!({ "id": name, "sha": repository.commit, "gated": gated });
            fine(info.to_string().into_bytes(), Vec::new())
        }
        _ if !open => {
            Page { status: 401, headers: vec![("X-Error-Code", "GatedRepo".into())], body: Vec::new() }
        }
        "tree" => tree(repository, query, &format!("http://{authority}{path}")),
        "resolve" => resolve(repository, file),
        _ => missing("RepoNotFound"),
    }
}

/// A page of three entries from the place that the cursor names.
fn tree(repository: &Repository, query: &str, url: &str) -> Page {
    let from = query.split('&').find_map(|pair| pair.strip_prefix("cursor=")?.parse().ok()).unwrap_or(0);
    let mut entries = vec![json!({ "type": "directory", "oid": "0", "size": 0, "path": "folder" })];
    entries.extend(repository.files.iter().map(|(path, (bytes, kept))| {
        let mut entry = json!({
            "type": "file", "oid": git_blob(bytes), "size": bytes.len() as u64 + repository.inflated, "path": path,
        });
        if *kept == Kept::Large {
            entry["lfs"] =
                json!({ "oid": sha256(bytes), "size": bytes.len(), "pointerSize": 134 });
        }
        entry
    }));
    let mut headers = Vec::new();
    if from + 3 < entries.len() {
        headers.push(("Link", format!("<{url}?recursive=true&cursor={}>; rel=\"next\"", from + 3)));
    }
    let page: Vec<_> = entries.into_iter().skip(from).take(3).collect();
    fine(Value::from(page).to_string().into_bytes(), headers)
}

fn resolve(repository: &Repository, path: &str) -> Page {
    let Some((bytes, kept)) = repository.files.get(path) else { return missing("EntryNotFound") };
    let commit = ("X-Repo-Commit", repository.commit.clone());
    if *kept == Kept::Small {
        return fine(bytes.clone(), vec![commit, ("ETag", format!("\"{}\"", git_blob(bytes)))]);
    }
    let hash = sha256(bytes);
    let headers = vec![
        commit,
        ("X-Linked-Etag", format!("\"{hash}\"")),
        ("X-Linked-Size", bytes.len().to_string()),
        ("Location", format!("/cdn/{hash}?kind={}&file={path}", repository.kind)),
    ];
    Page { status: 302, headers, body: Vec::new() }
}

fn fine(body: Vec<u8>, headers: Vec<(&'static str, String)>) -> Page {
    Page { status: 200, headers, body }
}

fn missing(code: &str) -> Page {
    Page { status: 404, headers: vec![("X-Error-Code", code.to_owned())], body: Vec::new() }
}

/// Writes an answer, with the range that was asked for and what goes wrong.
fn send(stream: &mut TcpStream, asked: &Asked, mut page: Page, fault: Option<Fault>) -> std::io::Result<()> {
    let mut cut = None;
    let mut stall = Duration::ZERO;
    let mut ranges = true;
    match fault {
        None => {}
        Some(Fault::Status(status, headers)) => page = Page { status, headers, body: Vec::new() },
        Some(Fault::CutAfter(count)) => cut = Some(count),
        Some(Fault::StallAfter(count)) => {
            cut = Some(count);
            stall = Duration::from_secs(30);
        }
        Some(Fault::WebPage) => {
            page = fine(b"<!DOCTYPE html><html>please log in</html>".to_vec(), Vec::new())
        }
        Some(Fault::Silence(duration)) => std::thread::sleep(duration),
        Some(Fault::WrongBytes) => page.body.iter_mut().for_each(|byte| *byte ^= 1),
        Some(Fault::NoRanges) => ranges = false,
    }
    let from = asked
        .headers
        .get("range")
        .and_then(|range| range.strip_prefix("bytes=")?.split_once('-')?.0.parse::<usize>().ok());
    if let Some(from) = from.filter(|_| ranges && page.status == 200) {
        let whole = page.body.len();
        page.status = 206;
        page.body = page.body.split_off(from.min(whole));
        page.headers.push(("Content-Range", format!("bytes {from}-{}/{whole}", whole - 1)));
    }
    write!(
        stream,
        "HTTP/1.1 {} X\r\nConnection: close\r\nContent-Length: {}\r\n",
        page.status,
        page.body.len()
    )?;
    for (name, value) in &page.headers {
        write!(stream, "{name}: {value}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    if asked.method != "HEAD" {
        stream.write_all(&page.body[..cut.unwrap_or(page.body.len()).min(page.body.len())])?;
    }
    stream.flush()?;
    std::thread::sleep(stall);
    Ok(())
}

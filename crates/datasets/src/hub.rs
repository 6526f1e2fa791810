//! The Hugging Face Hub: commits, listings and files, which are checked and resumed.
//!
//! `hf-hub` 1.0 speaks to the Hub: it finds commits and streams a file's bytes from any place on. Its own downloads are
//! not used, as they begin again after a cut, check no hash and write whatever is answered; nor is its `blocking`
//! feature, which has no streams; nor its listings, which lose the SHA-256 of large files (the Hub calls it `lfs.oid`,
//! `hf-hub` looks for `lfs.sha256`). So its client runs on a runtime kept here, files are listed with the same HTTP
//! client, and what is streamed is checked and put into the Hub's cache, in the layout that Python's `huggingface_hub`
//! reads too.
//!
//! Never run against huggingface.co itself, and so never over Xet, which `hf-hub` chooses where the Hub offers it;
//! tested against a server on the loopback address.

mod cache;
mod failure;
mod listing;
mod repository;
mod transfer;

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use hf_hub::HFClient;

pub(crate) use cache::link;
use failure::Failure;
pub use repository::{Kind, Repository};
pub use transfer::Fetched;

/// What the program calls itself before servers.
const USER_AGENT: &str =
    concat!("cleanbench/", env!("CARGO_PKG_VERSION"), " (+", env!("CARGO_PKG_REPOSITORY"), ")");

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// In the repository, with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// What its bytes must give.
    pub hash: Hash,
}

/// The hash by which the Hub names a file, in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256 of a large file's bytes.
    Sha256(String),
    /// What git calls a small file: SHA-1 of a header and its bytes.
    GitBlob(String),
}

impl Hash {
    /// The hash as the cache names the file.
    pub(crate) fn name(&self) -> &str {
        let (Self::Sha256(name) | Self::GitBlob(name)) = self;
        name
    }
}

/// Whether a repository can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Anyone may read it.
    Open,
    /// Its terms must be accepted first.
    Gated,
    /// What the Hub says instead.
    Gone(String),
}

/// How long to go on where the network does not answer well.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Failures in a row, without a new byte between them, after which to give up; at least 1.
    pub attempts: u32,
    /// Wait after the first failure; each further one doubles it, up to a minute.
    pub first_wait: Duration,
    /// How long a server may send nothing.
    pub timeout: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { attempts: 6, first_wait: Duration::from_millis(500), timeout: Duration::from_secs(30) }
    }
}

impl Patience {
    /// The wait after `failures` (1 or more) failures in a row.
    pub(crate) fn wait(&self, failures: u32) -> Duration {
        let doubled = self.first_wait.saturating_mul(1 << (failures - 1).min(16));
        doubled.min(Duration::from_secs(60))
    }
}

/// Where the Hub is and who asks; what is `None` is taken from `HF_ENDPOINT`, `HF_TOKEN` (or the file `token` in
/// `HF_HOME`) and `HF_HUB_CACHE` (or `HF_HOME/hub`).
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Its address.
    pub endpoint: Option<String>,
    /// The user's token.
    pub token: Option<String>,
    /// The cache's folder.
    pub cache: Option<PathBuf>,
    /// Use nothing but the cache.
    pub offline: bool,
    /// When to give up.
    pub patience: Patience,
}

impl Settings {
    /// All from the environment, `HF_HUB_OFFLINE` among it.
    pub fn from_environment(patience: Patience) -> Self {
        let offline = std::env::var("HF_HUB_OFFLINE").unwrap_or_default().to_lowercase();
        let offline = ["1", "on", "yes", "true"].contains(&offline.as_str());
        Self { offline, patience, ..Self::default() }
    }
}

/// The Hub and its cache on this machine.
pub struct Hub {
    client: HFClient,
    /// For what `client` does not do; the same connections.
    http: reqwest::Client,
    token: Option<String>,
    runtime: tokio::runtime::Runtime,
    offline: bool,
    patience: Patience,
}

impl Hub {
    /// Makes ready to ask; asks nothing yet. An error where the endpoint is no URL.
    pub fn new(settings: Settings) -> Result<Self> {
        let endpoint = settings.endpoint.or_else(|| std::env::var("HF_ENDPOINT").ok());
        let endpoint = endpoint.filter(|endpoint| !endpoint.is_empty());
        let endpoint = endpoint.unwrap_or_else(|| "https://huggingface.co".to_owned());
        let url = reqwest::Url::parse(&endpoint).with_context(|| {
            format!("HF_ENDPOINT: {endpoint:?} is no URL, such as https://huggingface.co")
        })?;
        let mut http = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .connect_timeout(settings.patience.timeout)
            .read_timeout(settings.patience.timeout);
        // A proxy has no way to this machine's own addresses.
        if url.host_str().is_some_and(|host| ["127.0.0.1", "localhost", "[::1]"].contains(&host)) {
            http = http.no_proxy();
        }
        // Attempts are counted here, where the wait that a server asks for is known.
        let http = http.build()?;
        let mut builder = HFClient::builder().client(http.clone()).endpoint(endpoint).retry_max_attempts(0);
        let token = settings.token.or_else(token);
        if let Some(token) = &token {
            builder = builder.token(token);
        }
        if let Some(cache) = settings.cache {
            builder = builder.cache_dir(cache);
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let (client, offline, patience) = (builder.build()?, settings.offline, settings.patience);
        Ok(Self { client, http, token, runtime, offline, patience })
    }

    /// Its address.
    pub fn endpoint(&self) -> &str {
        self.client.endpoint()
    }

    /// The cache's folder.
    pub fn cache(&self) -> &Path {
        self.client.cache_dir()
    }

    /// Whether nothing but the cache is used.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// The commit that a branch, a tag or a commit's own hash stands for. Offline, what it stood for when it was last
    /// looked up.
    pub fn commit(&self, repository: Repository<'_>, revision: &str) -> Result<String> {
        if is_commit(revision) {
            return Ok(revision.to_owned());
        }
        let known = cache::Reference::new(self.cache(), repository, revision)?;
        if self.offline {
            return known.read().with_context(|| {
                format!(
                    "HF_HUB_OFFLINE is set and {revision:?} of {} is not in {}",
                    repository.name,
                    self.cache().display()
                )
            });
        }
        let (commit, _) = self.info(repository, revision)?;
        let commit = commit.with_context(|| format!("{}: the Hub names no commit", repository.name))?;
        ensure!(is_commit(&commit), "{}: {commit:?} is no commit", repository.name);
        known.write(&commit)?;
        Ok(commit)
    }

    /// Whether a revision of a repository is there and open.
    pub fn standing(&self, repository: Repository<'_>, revision: &str) -> Result<Standing> {
        ensure!(!self.offline, "HF_HUB_OFFLINE is set: nothing can be asked");
        Ok(match self.info(repository, revision) {
            Ok((_, false)) => Standing::Open,
            Ok((_, true)) => Standing::Gated,
            Err(error) => Standing::Gone(base::describe(&error)),
        })
    }

    /// A revision's commit and whether the repository is gated.
    fn info(&self, repository: Repository<'_>, revision: &str) -> Result<(Option<String>, bool)> {
        let (owner, name) = hf_hub::split_id(repository.name);
        let gated =
            |gated: Option<serde_json::Value>| !matches!(gated, None | Some(serde_json::Value::Bool(false)));
        self.patiently(|| async {
            let found = match repository.kind {
                Kind::Dataset => {
                    let info = self.client.dataset(owner, name).info().revision(revision).send().await;
                    info.map(|info| (info.sha, gated(info.gated)))
                }
                Kind::Model => {
                    let info = self.client.model(owner, name).info().revision(revision).send().await;
                    info.map(|info| (info.sha, gated(info.gated)))
                }
            };
            found.map_err(|error| Failure::of(error, repository, self.endpoint()))
        })
    }

    /// All files of a commit, as the Hub lists them. Offline, those of them that are in the cache.
    pub fn files(&self, repository: Repository<'_>, commit: &str) -> Result<Vec<RemoteFile>> {
        if self.offline {
            return cache::files(self.cache(), repository, commit);
        }
        let files = listing::files(self, repository, commit)?;
        for file in &files {
            cache::check_path(&file.path)?;
            let digits = file.hash.name();
            if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                bail!("{}: {:?} has the hash {digits:?}, which is none", repository.name, file.path);
            }
        }
        Ok(files)
    }

    /// Asks until the answer is good or final, or patience is at its end.
    fn patiently<T, F: Future<Output = Result<T, Failure>>>(&self, ask: impl Fn() -> F) -> Result<T> {
        let mut failures = 0;
        loop {
            match self.runtime.block_on(ask()) {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    failures += 1;
                    self.wait_after(failure, failures)?;
                }
            }
        }
    }

    /// Waits after the latest of `failures` in a row; an error where it is final, or patience is at its end.
    fn wait_after(&self, failure: Failure, failures: u32) -> Result<()> {
        match failure {
            Failure::Final(error) => return Err(error),
            Failure::Passing { reason, .. } if failures >= self.patience.attempts => bail!(
                "gave up after {failures} attempts at {}: {reason}; the same command resumes from here, and with \
                 HF_HUB_OFFLINE=1 uses what is in {}",
                self.endpoint(),
                self.cache().display()
            ),
            Failure::Passing { after, .. } => {
                std::thread::sleep(after.unwrap_or_else(|| self.patience.wait(failures)));
            }
        }
        Ok(())
    }
}

/// The user's token, from where Python's `huggingface_hub` takes it.
fn token() -> Option<String> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if variable("HF_HUB_DISABLE_IMPLICIT_TOKEN").is_some() {
        return None;
    }
    let file = || {
        let path = variable("HF_TOKEN_PATH").map(PathBuf::from);
        std::fs::read_to_string(path.unwrap_or_else(|| hf_hub::hf_home().join("token"))).ok()
    };
    let token = variable("HF_TOKEN").or_else(file)?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}

/// Whether this is a commit's full hash.
fn is_commit(revision: &str) -> bool {
    revision.len() == 40 && revision.bytes().all(|digit| digit.is_ascii_hexdigit())
}

//! The bytes at an address.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::Result;
use reqwest::redirect::Policy;
use reqwest::{StatusCode, Url};

use super::Options;
use super::guard::{Guard, Refused};
use crate::fetch::lock;
use crate::hub::{Patience, USER_AGENT, retry_after};

/// The largest image that is fetched, in bytes.
const LARGEST: u64 = 50_000_000;
/// Redirects that are followed.
const REDIRECTS: usize = 10;
/// The longest wait that a server may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Asks servers, none of them too often.
pub(super) struct Web {
    client: reqwest::Client,
    runtime: tokio::runtime::Runtime,
    guard: Guard,
    patience: Patience,
    /// Time between two requests to one host.
    gap: Duration,
    /// When each host may be asked next.
    next: Mutex<BTreeMap<String, Instant>>,
}

/// Why there are no bytes.
struct Missing {
    reason: String,
    /// The wait that the server asks for.
    after: Option<Duration>,
}

impl From<&str> for Missing {
    fn from(reason: &str) -> Self {
        Self { reason: reason.to_owned(), after: None }
    }
}

impl Web {
    pub(super) fn new(options: &Options) -> Result<Self> {
        let variable = |name: &str| std::env::var(name).is_ok_and(|value| !value.is_empty());
        let proxies = ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
        let proxy = !options.allow_loopback && proxies.into_iter().any(variable);
        let guard = Guard { loopback: options.allow_loopback, proxy };
        let timeout = options.patience.timeout;
        let mut client = reqwest::Client::builder()
            .user_agent(USER_AGENT)
            .dns_resolver(guard)
            .connect_timeout(timeout)
            .read_timeout(timeout)
            .timeout(timeout.saturating_mul(10))
            .redirect(Policy::custom(move |attempt| {
                if attempt.previous().len() > REDIRECTS {
                    attempt.error("too many redirects")
                } else if guard.admits_url(attempt.url()) {
                    attempt.follow()
                } else {
                    attempt.error(Refused)
                }
            }));
        if !proxy {
            client = client.no_proxy();
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self {
            client: client.build()?,
            runtime,
            guard,
            patience: options.patience,
            gap: Duration::from_secs_f64(1.0 / options.rate),
            next: Mutex::new(BTreeMap::new()),
        })
    }

    /// The bytes, or why there are none.
    pub(super) fn bytes(&self, url: &str) -> Result<Vec<u8>, String> {
        let Ok(url) = Url::parse(url) else { return Err("bad address".to_owned()) };
        if !self.guard.admits_url(&url) {
            return Err(Refused.to_string());
        }
        let mut failures = 0;
        loop {
            self.wait_for(url.host_str().unwrap_or_default());
            let missing = match self.runtime.block_on(self.ask(url.clone())) {
                Ok(bytes) => return Ok(bytes),
                Err(missing) => missing,
            };
            failures += 1;
            let passing = super::Outcome::gone(&missing.reason).may_come();
            let wait = missing.after.unwrap_or_else(|| self.patience.wait(failures));
            if !passing || failures >= self.patience.attempts || wait > LONGEST_WAIT {
                return Err(missing.reason);
            }
            std::thread::sleep(wait);
        }
    }

    /// Waits until the host may be asked.
    fn wait_for(&self, host: &str) {
        let now = Instant::now();
        let at = {
            let mut next = lock(&self.next);
            let slot = next.entry(host.to_owned()).or_insert(now);
            let at = (*slot).max(now);
            *slot = at + self.gap;
            at
        };
        std::thread::sleep(at - now);
    }

    async fn ask(&self, url: Url) -> Result<Vec<u8>, Missing> {
        let mut answer = self.client.get(url).send().await.map_err(|error| why(&error))?;
        let status = answer.status();
        if status != StatusCode::OK {
            let after = retry_after(answer.headers());
            return Err(Missing { reason: format!("status {}", status.as_u16()), after });
        }
        if answer.content_length().is_some_and(|length| length > LARGEST) {
            return Err("too many bytes".into());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| why(&error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > LARGEST {
                return Err("too many bytes".into());
            }
        }
        Ok(bytes)
    }
}

/// What a failed request comes to.
fn why(error: &reqwest::Error) -> Missing {
    let mut source = error.source();
    while let Some(inside) = source {
        if inside.is::<Refused>() {
            return "refused host".into();
        }
        source = inside.source();
    }
    if error.is_timeout() {
        "timeout".into()
    } else if error.is_redirect() {
        "too many redirects".into()
    } else if error.is_body() || error.is_decode() {
        "cut off on the way".into()
    } else {
        "unreachable".into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_this_machine_is_refused_when_it_is_resolved() {
        let (folder, patience) = (std::path::PathBuf::new(), Patience::default());
        let options = Options {
            folder,
            limit: None,
            rate: 1.0,
            jobs: 1,
            patience,
            resize: None,
            allow_loopback: false,
        };
        let mut web = Web::new(&options).unwrap();
        web.guard.proxy = false;
        let missing =
            web.runtime.block_on(web.ask(Url::parse("http://localhost:9/").unwrap())).err().unwrap();
        assert_eq!(missing.reason, "refused host");
        assert_eq!(web.bytes("http://localhost:9/").unwrap_err(), "refused host");
    }
}

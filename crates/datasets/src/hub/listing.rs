//! The files of a commit, from the Hub's tree API.

use anyhow::{Result, ensure};
use reqwest::Url;
use serde::Deserialize;

use super::failure::{Failure, retry_after};
use super::{Hash, Hub, RemoteFile, Repository};

/// An entry of a listing; fields that are not needed are left out.
#[derive(Deserialize)]
struct Entry {
    r#type: String,
    oid: String,
    #[serde(default)]
    size: u64,
    path: String,
    lfs: Option<Large>,
}

#[derive(Deserialize)]
struct Large {
    /// SHA-256, in hexadecimal.
    oid: String,
}

/// Lists all pages.
pub(super) fn files(hub: &Hub, repository: Repository<'_>, commit: &str) -> Result<Vec<RemoteFile>> {
    let first = format!(
        "{}/api/{}/{}/tree/{commit}?recursive=true",
        hub.endpoint(),
        repository.kind.plural(),
        repository.name
    );
    let first = Url::parse(&first)?;
    let mut files = Vec::new();
    let mut next = Some(first.clone());
    while let Some(url) = next {
        // The token goes along, so only to where the first page came from.
        ensure!(url.origin() == first.origin(), "{}: a listing that goes on at {url}", repository.name);
        let (entries, following) = hub.patiently(|| page(hub, repository, url.clone()))?;
        next = following;
        files.extend(entries.into_iter().filter(|entry| entry.r#type == "file").map(|entry| RemoteFile {
            path: entry.path,
            size: entry.size,
            hash: match entry.lfs {
                Some(large) => Hash::Sha256(large.oid.to_lowercase()),
                None => Hash::GitBlob(entry.oid.to_lowercase()),
            },
        }));
    }
    Ok(files)
}

/// One page and the address of the next.
async fn page(hub: &Hub, repository: Repository<'_>, url: Url) -> Result<(Vec<Entry>, Option<Url>), Failure> {
    let failed = |error| Failure::of_request(error, hub.endpoint());
    let mut request = hub.http.get(url.clone());
    if let Some(token) = &hub.token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.map_err(failed)?;
    if !answer.status().is_success() {
        let code = answer.headers().get("x-error-code").and_then(|code| code.to_str().ok());
        let (code, after) = (code.unwrap_or_default(), retry_after(answer.headers()));
        return Err(Failure::of_answer(answer.status(), code, after, url.as_str(), repository));
    }
    let links = answer.headers().get(reqwest::header::LINK).and_then(|links| links.to_str().ok());
    let next = links.and_then(next_page).and_then(|next| url.join(next).ok());
    Ok((answer.json().await.map_err(failed)?, next))
}

/// The address in `<address>; rel="next"`.
fn next_page(links: &str) -> Option<&str> {
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    Some(next.split_once('<')?.1.split_once('>')?.0)
}

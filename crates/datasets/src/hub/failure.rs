//! What a failed request means: come again, or tell the user.

use std::time::Duration;

use anyhow::{Error, anyhow};
use hf_hub::HFError;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use super::repository::Repository;

pub(super) enum Failure {
    /// May go well another time.
    Passing {
        reason: String,
        /// The wait that the server asks for.
        after: Option<Duration>,
    },
    /// Will fail again.
    Final(Error),
}

impl Failure {
    pub(super) fn passing(reason: impl Into<String>) -> Self {
        Self::Passing { reason: reason.into(), after: None }
    }

    pub(super) fn of(error: HFError, repository: Repository<'_>, endpoint: &str) -> Self {
        let (context, after) = match error {
            HFError::Http { context }
            | HFError::AuthRequired { context }
            | HFError::Forbidden { context } => (Some(context), None),
            HFError::RateLimited { retry_after, context } => (Some(context), retry_after),
            HFError::RepoNotFound { context, .. }
            | HFError::RevisionNotFound { context, .. }
            | HFError::EntryNotFound { context, .. } => (context, None),
            HFError::Request { source, .. } => return Self::of_request(source, endpoint),
            HFError::Json(_) => return Self::Final(no_hub(endpoint)),
            // A file over Xet: its own attempts are behind it, ours go on from the last byte.
            HFError::Xet { .. } => return Self::passing(error.to_string()),
            other => return Self::Final(other.into()),
        };
        let Some(context) = context else { return Self::Final(anyhow!("{}: not found", repository.name)) };
        let code = context.error_code.as_deref().unwrap_or_default();
        Self::of_answer(context.status, code, after, &context.url, repository)
    }

    pub(super) fn of_request(error: reqwest::Error, endpoint: &str) -> Self {
        if error.is_builder() || error.is_redirect() {
            return Self::Final(error.into());
        }
        // Only what is read as JSON is decoded whole.
        if error.is_decode() && !error.is_timeout() && !error.is_body() {
            return Self::Final(no_hub(endpoint));
        }
        Self::passing(base::describe(&error.into()))
    }

    /// What an answer without success means; `code` is the Hub's `X-Error-Code`, empty where there is none.
    pub(super) fn of_answer(
        status: StatusCode,
        code: &str,
        after: Option<Duration>,
        url: &str,
        repository: Repository<'_>,
    ) -> Self {
        let name = repository.name;
        let said = format!("{} {code}", status.as_u16());
        let said = said.trim_end();
        if status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT
            || status.is_server_error()
        {
            return Self::Passing { reason: format!("{said} for {url}"), after };
        }
        let unknown = code == "RepoNotFound";
        Self::Final(match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => anyhow!(
                "{name} is not open to you ({said}): {}accept its terms on {}, make a token on \
                 https://huggingface.co/settings/tokens and set HF_TOKEN to it, or write it into {}",
                if unknown { "if it exists, " } else { "" },
                repository.page(),
                hf_hub::hf_home().join("token").display()
            ),
            StatusCode::NOT_FOUND if code == "RevisionNotFound" => {
                anyhow!("{name} has no such revision ({url}); --revision main takes what it holds now")
            }
            StatusCode::NOT_FOUND if code == "EntryNotFound" => anyhow!("{name} has no such file ({url})"),
            StatusCode::NOT_FOUND => anyhow!("{name} is not there ({said} for {url})"),
            _ => anyhow!("{name}: {said} for {url}"),
        })
    }
}

/// The wait in seconds that an answer asks for.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn no_hub(endpoint: &str) -> Error {
    anyhow!(
        "{endpoint} does not answer as the Hub does: is HF_ENDPOINT right, and is no login page in between?"
    )
}

//! `source.yaml`: what was fetched, from where and when, beside the data.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use base::Aside;
use serde::{Deserialize, Serialize};

use super::Source;

const RECEIPT: &str = "source.yaml";

/// What was fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Receipt {
    /// The source's name in the catalogue.
    pub source: String,
    /// `datasets` or `models`.
    pub kind: String,
    /// `owner/name`.
    pub repository: String,
    /// The Hub's address.
    pub endpoint: String,
    /// The commit.
    pub commit: String,
    /// When, in seconds since 1970.
    pub fetched_unix_seconds: u64,
    /// The files.
    pub files: Vec<Line>,
}

/// A file that was fetched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Line {
    /// Its path below the folder.
    pub path: String,
    /// Its path in the repository.
    pub repository_path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
}

impl Receipt {
    pub(super) fn new(source: &Source, commit: &str, endpoint: &str, files: Vec<Line>) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Self {
            source: source.name.to_owned(),
            kind: source.kind.plural().to_owned(),
            repository: source.repository.to_owned(),
            endpoint: endpoint.to_owned(),
            commit: commit.to_owned(),
            fetched_unix_seconds: now.map_or(0, |since| since.as_secs()),
            files,
        }
    }

    /// Reads a folder's receipt.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(RECEIPT);
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_yaml::from_str(&text)
            .with_context(|| format!("{}: not what `data fetch` writes", path.display()))
    }

    /// Writes a file that is there whole or not at all.
    pub(super) fn write(&self, folder: &Path) -> Result<()> {
        let (path, text) = (folder.join(RECEIPT), serde_yaml::to_string(self)?);
        let named = || format!("cannot write {}", path.display());
        std::fs::create_dir_all(folder).with_context(named)?;
        let aside = Aside::new_in(folder).with_context(named)?;
        aside.file().write_all(text.as_bytes()).with_context(named)?;
        aside.persist(&path).with_context(named)
    }
}

//! Whether a record can be read, and is what a run wrote.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::{DATA, ENVIRONMENT, EVIDENCE, FORMAT, MAP, PAIRS, PLAN, POISON, ROWS, Record};
use crate::hash_file;

/// BLAKE3 of the other files, by name; records older than it have none.
const HASHES: &str = "hashes.yaml";
/// What a run writes; tables are made of it.
pub(super) const FILES: [&str; 8] = [ROWS, PLAN, EVIDENCE, PAIRS, MAP, POISON, DATA, ENVIRONMENT];

impl Record {
    /// BLAKE3 of the files that are there, by name.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>> {
        let mut hashes = BTreeMap::new();
        for name in FILES {
            let path = self.folder.join(name);
            if path.is_file() {
                let hash = hash_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
                hashes.insert(name.to_owned(), hash);
            }
        }
        Ok(hashes)
    }

    /// BLAKE3 of its rows as they stand in their file, 64 hexadecimal digits.
    pub fn rows_hash(&self) -> Result<String> {
        self.hashes()?.remove(ROWS).with_context(|| format!("{} holds no {ROWS}", self.folder.display()))
    }

    /// Writes down the hashes of its files.
    pub(super) fn seal(&self) -> Result<()> {
        self.put(HASHES, serde_yaml::to_string(&self.hashes()?)?.as_bytes())
    }

    /// An error where its format is newer than this program, or a file is not what was written.
    pub(super) fn check(&self) -> Result<()> {
        let path = self.folder.join(ENVIRONMENT);
        if path.is_file() {
            let found: serde_yaml::Value = serde_yaml::from_str(&self.environment()?)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let format = found.get("format").and_then(serde_yaml::Value::as_u64).unwrap_or(1);
            ensure!(
                format <= u64::from(FORMAT),
                "{} is a record of format {format}, and this program reads formats up to {FORMAT}: use a newer cleanbench",
                self.folder.display()
            );
        }
        let path = self.folder.join(HASHES);
        if !path.is_file() {
            return Ok(());
        }
        let named = || format!("cannot read {}", path.display());
        let written: BTreeMap<String, String> =
            serde_yaml::from_slice(&std::fs::read(&path).with_context(named)?).with_context(named)?;
        let found = self.hashes()?;
        for name in FILES {
            let what = match (written.get(name), found.get(name)) {
                (Some(hash), Some(other)) if hash != other => {
                    "is not what was written: it was edited or damaged"
                }
                (Some(_), None) => "was written and is missing",
                (None, Some(_)) => "was not written with the others",
                _ => continue,
            };
            bail!(
                "{}: {name} {what} ({HASHES}); take the record from where it came, or run its plan again",
                self.folder.display()
            );
        }
        Ok(())
    }
}

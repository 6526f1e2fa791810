//! Whether the files of a record are those that a run wrote.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use base::hash_file;

use crate::layout::{ENVIRONMENT, FILES, FORMAT, HASHES};

/// The first format whose records hold hashes.
const HASHED_SINCE: u64 = 3;

/// BLAKE3 of the files that a run writes and that are there, by name.
pub(crate) fn hashes(folder: &Path) -> Result<BTreeMap<String, String>> {
    hashes_of(folder, &FILES)
}

/// BLAKE3 of those of these files that are there, by name.
pub(crate) fn hashes_of(folder: &Path, names: &[&str]) -> Result<BTreeMap<String, String>> {
    let mut hashes = BTreeMap::new();
    for name in names {
        let path = folder.join(name);
        if path.is_file() {
            let hash = hash_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
            hashes.insert((*name).to_owned(), hash);
        }
    }
    Ok(hashes)
}

/// The hashes as they were written down; `None` where they were not.
pub(crate) fn written_hashes(folder: &Path) -> Result<Option<BTreeMap<String, String>>> {
    let path = folder.join(HASHES);
    if !path.is_file() {
        return Ok(None);
    }
    let named = || format!("cannot read {}", path.display());
    let written = std::fs::read(&path).with_context(named)?;
    Ok(Some(serde_yaml::from_slice(&written).with_context(named)?))
}

/// An error where its format is newer than this program, or a file is not what was written.
pub(crate) fn check(folder: &Path) -> Result<()> {
    let path = folder.join(ENVIRONMENT);
    let mut format = 1;
    if path.is_file() {
        let found: serde_yaml::Value = serde_yaml::from_slice(&std::fs::read(&path)?)
            .with_context(|| format!("cannot read {}", path.display()))?;
        format = found.get("format").and_then(serde_yaml::Value::as_u64).unwrap_or(1);
        ensure!(
            format <= u64::from(FORMAT),
            "{} is a record of format {format}, and this program reads formats up to {FORMAT}: use a newer cleanbench",
            folder.display()
        );
    }
    let Some(written) = written_hashes(folder)? else {
        ensure!(
            format < HASHED_SINCE,
            "{}: {HASHES} is missing; take the record from where it came, or run its plan again",
            folder.display()
        );
        return Ok(());
    };
    let found = hashes(folder)?;
    for name in FILES {
        let what = match (written.get(name), found.get(name)) {
            (Some(hash), Some(other)) if hash != other => "is not what was written: it was edited or damaged",
            (Some(_), None) => "was written and is missing",
            (None, Some(_)) => "was not written with the others",
            _ => continue,
        };
        bail!(
            "{}: {name} {what} ({HASHES}); take the record from where it came, or run its plan again",
            folder.display()
        );
    }
    Ok(())
}

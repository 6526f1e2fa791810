//! Whether a record can be read, and is what a run wrote.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

use super::{DATA, ENVIRONMENT, EVIDENCE, FORMAT, MAP, PAIRS, PLAN, POISON, ROWS, Record};
use crate::hash_file;

/// BLAKE3 of the other files, by name; records of formats before 3 may have none.
pub(super) const HASHES: &str = "hashes.yaml";
const HASHED_SINCE: u64 = 3;
/// Tables and the page, made of the rest.
pub(super) const TABLES: [&str; 4] = ["report.md", "table.csv", "table.tex", "page.html"];
/// What a run writes; tables are made of it.
pub(super) const FILES: [&str; 8] = [ROWS, PLAN, EVIDENCE, PAIRS, MAP, POISON, DATA, ENVIRONMENT];

impl Record {
    /// BLAKE3 of the files that are there, by name.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>> {
        self.hashes_of(&FILES)
    }

    fn hashes_of(&self, names: &[&str]) -> Result<BTreeMap<String, String>> {
        let mut hashes = BTreeMap::new();
        for name in names {
            let path = self.folder.join(name);
            if path.is_file() {
                let hash = hash_file(&path).with_context(|| format!("cannot read {}", path.display()))?;
                hashes.insert((*name).to_owned(), hash);
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

    /// Writes one of the tables, and its hash beside those of the files where they are written down.
    pub fn put_made(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.put(name, bytes)?;
        let Some(mut hashes) = self.written_hashes()? else { return Ok(()) };
        hashes.insert(name.to_owned(), blake3::hash(bytes).to_hex().to_string());
        self.put(HASHES, serde_yaml::to_string(&hashes)?.as_bytes())
    }

    /// The hashes as they were written down; `None` where they were not.
    fn written_hashes(&self) -> Result<Option<BTreeMap<String, String>>> {
        let path = self.folder.join(HASHES);
        if !path.is_file() {
            return Ok(None);
        }
        let named = || format!("cannot read {}", path.display());
        let written = std::fs::read(&path).with_context(named)?;
        Ok(Some(serde_yaml::from_slice(&written).with_context(named)?))
    }

    /// An error where a table is not what was written, or rows say something else than the evidence.
    pub(super) fn check_tables(&self) -> Result<()> {
        let (written, found) = (self.written_hashes()?.unwrap_or_default(), self.hashes_of(&TABLES)?);
        if let Some((name, _)) =
            found.iter().find(|(name, hash)| written.get(*name).is_some_and(|old| old != *hash))
        {
            bail!(
                "{}: {name} is not what was written; `cleanbench replay` makes it again",
                self.folder.display()
            );
        }
        let mut values = BTreeMap::new();
        for row in self.rescored()? {
            values.insert((row.cell(), row.epoch, row.test_set, row.metric), row.value);
        }
        for row in self.rows()? {
            let place = (row.cell(), row.epoch, row.test_set.clone(), row.metric.clone());
            let other = values.get(&place).copied().flatten();
            ensure!(
                other == row.value,
                "{}: {ROWS} says {:?} of {} of {}::{}::seed-{}, and the evidence {other:?}; run its plan again",
                self.folder.display(),
                row.value,
                row.metric,
                row.attack,
                row.defense,
                row.seed
            );
        }
        Ok(())
    }

    /// An error where its format is newer than this program, or a file is not what was written.
    pub(super) fn check(&self) -> Result<()> {
        let path = self.folder.join(ENVIRONMENT);
        let mut format = 1;
        if path.is_file() {
            let found: serde_yaml::Value = serde_yaml::from_str(&self.environment()?)
                .with_context(|| format!("cannot read {}", path.display()))?;
            format = found.get("format").and_then(serde_yaml::Value::as_u64).unwrap_or(1);
            ensure!(
                format <= u64::from(FORMAT),
                "{} is a record of format {format}, and this program reads formats up to {FORMAT}: use a newer cleanbench",
                self.folder.display()
            );
        }
        let Some(written) = self.written_hashes()? else {
            ensure!(
                format < HASHED_SINCE,
                "{}: {HASHES} is missing; take the record from where it came, or run its plan again",
                self.folder.display()
            );
            return Ok(());
        };
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

//! A record as one file to publish: a tar archive with an index of hashes, the same bytes whoever packs it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::bufread::GzDecoder;
use flate2::{Compression, GzBuilder};
use serde::{Deserialize, Serialize};

use base::NAME;
use base::archive::append;

use crate::files::Record;
use crate::integrity::{hashes_of, written_hashes};
use crate::layout::{DERIVED, FILES, HASHES, ROWS};
use crate::metric::Metrics;

/// Raised when a field of the index changes its meaning.
const FORMAT: u32 = 1;
const INDEX: &str = "index.json";
/// BLAKE3 of the index itself.
const SEAL: &str = "index.blake3";

/// What a bundle holds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Index {
    /// Version of this index.
    pub format: u32,
    /// The program that packed it.
    pub program: String,
    /// What the record's plan asks.
    pub question: String,
    /// BLAKE3 of every file.
    pub files: BTreeMap<String, String>,
}

type Files = BTreeMap<String, Vec<u8>>;

impl Record {
    /// Packs the record's files and figures into `path`, gzipped where that ends in `.gz`; what else lies in the folder
    /// is left out and returned. Refuses tables that are not what the record says.
    pub fn bundle(&self, path: &Path, metrics: &Metrics) -> Result<(Index, Vec<String>)> {
        let name = path.to_string_lossy();
        let is_bundle = [".tar", ".tar.gz", ".tgz"].iter().any(|ending| name.ends_with(ending));
        ensure!(is_bundle, "{name}: a bundle is a .tar or a .tar.gz");
        self.check_derived(metrics)?;
        let (mut files, mut left) = (Files::new(), Vec::new());
        for folder in ["", FIGURES] {
            let place = self.folder.join(folder);
            for entry in std::fs::read_dir(&place).into_iter().flatten() {
                let (entry, kind) = entry.and_then(|entry| entry.file_type().map(|kind| (entry, kind)))?;
                let name = Path::new(folder).join(entry.file_name()).display().to_string();
                if kind.is_file() && is_packed(&name) {
                    let bytes = std::fs::read(entry.path());
                    let bytes = bytes.with_context(|| format!("cannot read {}", entry.path().display()))?;
                    files.insert(name, bytes);
                } else if name != FIGURES {
                    left.push(name);
                }
            }
        }
        let hashes = files.iter().map(|(name, bytes)| (name.clone(), hash(bytes)));
        let question = self.question()?;
        let index = Index { format: FORMAT, program: NAME.to_owned(), question, files: hashes.collect() };
        let text = serde_json::to_vec_pretty(&index)?;
        let archive = archive(&text, &files)?;
        let bytes = if is_zipped(path) { zipped(&archive)? } else { archive };
        std::fs::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        left.sort();
        Ok((index, left))
    }

    /// An error where a table is not what was written, or rows say something else than the evidence.
    fn check_derived(&self, metrics: &Metrics) -> Result<()> {
        let (written, folder) = (written_hashes(&self.folder)?.unwrap_or_default(), self.folder.display());
        for (name, hash) in hashes_of(&self.folder, &DERIVED)? {
            let is_own = written.get(&name).is_none_or(|written| *written == hash);
            ensure!(is_own, "{folder}: {name} is not what was written; `cleanbench replay` makes it again");
        }
        // What is not compared below is at least read.
        self.maps()?;
        self.manifests()?;
        let mut values = BTreeMap::new();
        for row in self.rescored(metrics)? {
            values.insert((row.view(), row.test_set, row.metric), row.value);
        }
        for row in self.rows()? {
            let place = (row.view(), row.test_set.clone(), row.metric.clone());
            let other = values.get(&place).copied().flatten();
            ensure!(
                other == row.value,
                "{folder}: {ROWS} says {:?} of {} of {}, and the evidence {other:?}; run its plan again",
                row.value,
                row.metric,
                row.view()
            );
        }
        Ok(())
    }
}

/// Where `replay` writes figures.
pub const FIGURES: &str = "figures";
/// What people put beside what a run wrote.
const BESIDE: [&str; 2] = ["README.md", "plan.yaml"];

/// Whether a file of this name is a record's.
fn is_packed(name: &str) -> bool {
    let known = [&FILES[..], &DERIVED, &BESIDE, &[HASHES]].concat();
    let figure = |name: &str| name.ends_with(".svg") || name.ends_with(".png");
    known.contains(&name) || (name.starts_with(FIGURES) && figure(name))
}

/// Checks a bundle to the last bit; an error names the file that is not what was packed.
pub fn verify(path: &Path) -> Result<Index> {
    let named = || format!("cannot read {}", path.display());
    let bytes = std::fs::read(path).with_context(named)?;
    let archive = match is_zipped(path) {
        false => bytes,
        true => {
            let mut archive = Vec::new();
            let mut decoder = GzDecoder::new(&bytes[..]);
            let read = decoder.read_to_end(&mut archive);
            read.with_context(|| format!("{} is damaged: it cannot be unzipped", path.display()))?;
            let is_ours = zipped(&[])?.get(..10) == bytes.get(..10);
            ensure!(is_ours, "{} is damaged: the gzip header", path.display());
            let rest = decoder.into_inner().len();
            ensure!(rest == 0, "{} is damaged: {rest} bytes lie behind the archive", path.display());
            archive
        }
    };
    let mut files = Files::new();
    let damaged = || format!("{} is damaged: no tar archive of cleanbench's", path.display());
    let mut reader = tar::Archive::new(&archive[..]);
    for entry in reader.entries().with_context(damaged)? {
        let mut entry = entry.with_context(damaged)?;
        let name = entry.path().with_context(damaged)?.display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).with_context(|| format!("{}: {name} is cut short", path.display()))?;
        files.insert(name, bytes);
    }
    let mut take =
        |name: &str| files.remove(name).with_context(|| format!("{} holds no {name}", path.display()));
    let (text, seal) = (take(INDEX)?, take(SEAL)?);
    ensure!(seal == hash(&text).as_bytes(), "{}: {INDEX} is not what was packed", path.display());
    let index: Index =
        serde_json::from_slice(&text).with_context(|| format!("{}: {INDEX}", path.display()))?;
    let format = index.format;
    ensure!(format <= FORMAT, "{} is of format {format}, newer than this program", path.display());
    for (name, expected) in &index.files {
        match files.get(name) {
            Some(bytes) if hash(bytes) == *expected => {}
            Some(_) => bail!("{}: {name} is not what was packed", path.display()),
            None => bail!("{}: {name} is missing", path.display()),
        }
    }
    if let Some(name) = files.keys().find(|name| !index.files.contains_key(*name)) {
        bail!("{}: {name} is not in the index", path.display());
    }
    // What no hash covers: names, sizes and padding of the archive.
    ensure!(self::archive(&text, &files)? == archive, "{} is damaged between its files", path.display());
    Ok(index)
}

fn hash(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

fn is_zipped(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "gz" || extension == "tgz")
}

/// Index first, then files by name; no times, no owners.
fn archive(index: &[u8], files: &Files) -> Result<Vec<u8>> {
    let mut builder = tar::Builder::new(Vec::new());
    let seal = hash(index);
    let first = [(INDEX, index), (SEAL, seal.as_bytes())];
    let files = files.iter().map(|(name, bytes)| (name.as_str(), &bytes[..]));
    for (name, bytes) in first.into_iter().chain(files) {
        append(&mut builder, name, bytes)?;
    }
    Ok(builder.into_inner()?)
}

fn zipped(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut writer = GzBuilder::new().mtime(0).operating_system(255).write(Vec::new(), Compression::best());
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}

//! The images of a list of captions and addresses, such as Google's CC3M (`caption⇥url`, no header).
//!
//! Each line is tried until it is an image or gone for a stated reason, and each end is written into a journal, so that
//! a run that was stopped or killed goes on. Images are named by the BLAKE3 hash of their bytes: two addresses never
//! share a name, equal images share a file. In the end stand `pairs.csv` (as CleanCLIP reads it), `gone.csv` and
//! `report.yaml`. Never run on Google's own list.

mod guard;
mod journal;
mod list;
mod picture;
mod web;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result};
use harness::progress::Progress;
use serde::Serialize;

use super::lock;
use super::receipt::write_whole;
use crate::hub::Patience;
use journal::{Journal, Outcome};
pub use list::List;
use list::Row;
use web::Web;

/// How a list is fetched.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where images, journal and results go.
    pub folder: PathBuf,
    /// Only the first lines.
    pub limit: Option<u64>,
    /// Requests to one host in a second, 0.001 to 1 000 000.
    pub rate: f64,
    /// Requests at a time, at least 1.
    pub jobs: usize,
    /// When to give an image up for this run.
    pub patience: Patience,
    /// The short side that larger images are shrunk to, in pixels.
    pub resize: Option<usize>,
    /// Fetch from this machine's own addresses too, for tests.
    pub allow_loopback: bool,
}

/// What became of a list; `report.yaml`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The list.
    pub list: String,
    /// BLAKE3 of the list, in hexadecimal.
    pub list_hash: String,
    /// The short side that larger images were shrunk to.
    pub resize: Option<usize>,
    /// Lines that were looked at.
    pub lines: u64,
    /// Pairs whose image is there.
    pub pairs: u64,
    /// How many lines have no image, by reason.
    pub gone: BTreeMap<String, u64>,
    /// Those that may come when the same command is run again.
    pub may_come: u64,
}

/// Fetches what an earlier run has not, and writes the results.
pub fn fetch(list: &List, options: &Options, progress: &Progress) -> Result<Report> {
    let resize = options.resize.map_or_else(|| "none".to_owned(), |side| side.to_string());
    let (journal, known) = Journal::open(&options.folder, &list.hash, &resize)?;
    let total = list.lines.min(options.limit.unwrap_or(u64::MAX));
    let run = Run {
        web: Web::new(options)?,
        rows: Mutex::new(list.rows(total)?),
        tally: Mutex::new(Tally { known, kept: 0, gone: 0, started: Instant::now() }),
        journal,
        total,
        options,
        progress,
    };
    progress.begin("images", total as f64);
    let failed = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..options.jobs.max(1)).map(|_| scope.spawn(|| run.work())).collect();
        let ended = workers.into_iter().map(|worker| worker.join().expect("a worker does not panic"));
        ended.fold(None, |failed, ended| failed.or(ended.err()))
    });
    progress.end("images", false, failed.is_none());
    progress.clear();
    if let Some(error) = failed {
        return Err(error);
    }
    let known = run.tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner).known;
    write(list, total, options, &known)
}

/// What the workers share.
struct Run<'a> {
    web: Web,
    rows: Mutex<list::Rows>,
    tally: Mutex<Tally>,
    journal: Journal,
    total: u64,
    options: &'a Options,
    progress: &'a Progress,
}

struct Tally {
    known: BTreeMap<u64, Outcome>,
    kept: u64,
    gone: u64,
    started: Instant,
}

impl Run<'_> {
    /// Takes lines until there are none.
    fn work(&self) -> Result<()> {
        loop {
            let Some((line, row)) = lock(&self.rows).next()? else { return Ok(()) };
            if lock(&self.tally).known.get(&line).is_some_and(|outcome| !outcome.may_come()) {
                continue;
            }
            let ended = self.bring(row).and_then(|outcome| {
                self.journal.write(line, &outcome)?;
                Ok(outcome)
            });
            match ended {
                Ok(outcome) => self.count(line, outcome),
                Err(error) => {
                    lock(&self.rows).stop(); // the others end after their line
                    return Err(error);
                }
            }
        }
    }

    /// Brings one image; an error only where this machine is at fault.
    fn bring(&self, row: Result<Row, clip::BadSample>) -> Result<Outcome> {
        let row = match row {
            Ok(row) => row,
            Err(bad) => return Ok(Outcome::gone(bad)),
        };
        let bytes = match self.web.bytes(&row.url) {
            Ok(bytes) => bytes,
            Err(reason) => return Ok(Outcome::gone(reason)),
        };
        match picture::keepable(bytes, self.options.resize) {
            Ok((bytes, ending)) => {
                let hash = blake3::hash(&bytes);
                let name = picture::name(&hash, ending);
                let path = self.options.folder.join(&name);
                if !path.exists() {
                    write_whole(&path, &bytes)?;
                }
                Ok(Outcome::Kept { hash: *hash.as_bytes(), ending })
            }
            Err(bad) => Ok(Outcome::gone(bad)),
        }
    }

    fn count(&self, line: u64, outcome: Outcome) {
        let mut tally = lock(&self.tally);
        match outcome {
            Outcome::Kept { .. } => tally.kept += 1,
            Outcome::Gone(_) => tally.gone += 1,
        }
        tally.known.insert(line, outcome);
        let speed = (tally.kept + tally.gone) as f64 / tally.started.elapsed().as_secs_f64().max(1e-3);
        let text = format!("{} fetched, {} gone, {speed:.1}/s", tally.kept, tally.gone);
        let share = tally.known.len() as f64 / self.total.max(1) as f64;
        drop(tally);
        self.progress.advance("images", share, text);
    }
}

/// Writes `pairs.csv`, `gone.csv` and `report.yaml` from what is known of each line.
fn write(list: &List, total: u64, options: &Options, known: &BTreeMap<u64, Outcome>) -> Result<Report> {
    let named = |path: &Path| format!("cannot write {}", path.display());
    let csv = |name: &str, columns: &[&str]| -> Result<(csv::Writer<tempfile::NamedTempFile>, PathBuf)> {
        let path = options.folder.join(name);
        let aside = tempfile::NamedTempFile::new_in(&options.folder).with_context(|| named(&path))?;
        let mut writer = csv::Writer::from_writer(aside);
        writer.write_record(columns)?;
        Ok((writer, path))
    };
    let (mut pairs, pairs_path) = csv("pairs.csv", &["image", "caption", "url", "image_hash"])?;
    let (mut gone, gone_path) = csv("gone.csv", &["line", "reason", "url", "caption"])?;
    let mut report = Report {
        list: list.path.display().to_string(),
        list_hash: list.hash.clone(),
        resize: options.resize,
        lines: 0,
        pairs: 0,
        gone: BTreeMap::new(),
        may_come: 0,
    };
    let mut rows = list.rows(total)?;
    while let Some((line, row)) = rows.next()? {
        report.lines += 1;
        let Some(outcome) = known.get(&line) else { continue };
        let row = row.unwrap_or_default();
        match outcome {
            Outcome::Kept { hash, ending } => {
                let hash = blake3::Hash::from_bytes(*hash);
                let name = picture::name(&hash, ending);
                pairs.write_record([&name, &row.caption, &row.url, hash.to_hex().as_str()])?;
                report.pairs += 1;
            }
            Outcome::Gone(reason) => {
                gone.write_record([&line.to_string(), reason.as_ref(), &row.url, &row.caption])?;
                *report.gone.entry(reason.to_string()).or_default() += 1;
                report.may_come += u64::from(outcome.may_come());
            }
        }
    }
    for (writer, path) in [(pairs, pairs_path), (gone, gone_path)] {
        let aside = writer.into_inner().map_err(|error| error.into_error()).with_context(|| named(&path))?;
        aside.persist(&path).with_context(|| named(&path))?;
    }
    write_whole(&options.folder.join("report.yaml"), serde_yaml::to_string(&report)?.as_bytes())?;
    Ok(report)
}

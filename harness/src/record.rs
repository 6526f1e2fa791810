//! What a run leaves behind: rows, evidence, the resolved plan and the environment.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use polars::prelude::{Column, DataFrame};
use serde::{Deserialize, Serialize};

use crate::evidence::{from_frame, read_parquet, to_frame, write_parquet};
use crate::plan::Plan;
use crate::run::Observation;

/// Version of the record's format, raised when a field changes its meaning.
pub const FORMAT: u32 = 1;

/// Whether a row has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It has.
    Measured,
    /// The cell failed; the message says why.
    Failed,
}

/// One value of one metric, or one failed cell; a row of `rows.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Seed of the cell.
    pub seed: u64,
    /// Label of the attack that the model was trained under.
    pub attack: String,
    /// Label of the defense.
    pub defense: String,
    /// Label of the attack whose trigger the test images bear.
    pub trigger: String,
    /// The epoch of the defense after which it was measured; empty after the last one.
    #[serde(default)]
    pub epoch: Option<usize>,
    /// Label of the test set; empty where the cell failed.
    pub test_set: String,
    /// Identifier of the metric; empty where the cell failed.
    pub metric: String,
    /// The value, a fraction.
    pub value: Option<f64>,
    /// Samples that the value is a share of.
    pub samples: Option<usize>,
    /// Whether there is a value.
    pub status: Status,
    /// Why there is none.
    pub message: String,
    /// Key of the evidence that the value was computed from.
    pub evidence: String,
}

/// The files of a record.
pub struct Record {
    folder: PathBuf,
}

/// File names in a record.
const ROWS: &str = "rows.csv";
const PLAN: &str = "plan.resolved.yaml";
const EVIDENCE: &str = "evidence.parquet";
/// What tells one cell's evidence from another's.
const CELL: [&str; 4] = ["seed", "attack", "defense", "trigger"];
const ENVIRONMENT: &str = "environment.yaml";

#[derive(Serialize)]
struct Environment {
    format: u32,
    program: String,
    profile: &'static str,
    operating_system: &'static str,
    architecture: &'static str,
    processor: String,
    threads: usize,
    device: &'static str,
    finished_unix_seconds: u64,
    wall_seconds: u64,
}

impl Record {
    /// Opens or makes a record's folder; an error names it where it cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        let problem = || {
            format!("cannot write to the record's folder {}; choose another with --record", folder.display())
        };
        std::fs::create_dir_all(folder).with_context(problem)?;
        tempfile::NamedTempFile::new_in(folder).with_context(problem)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// A record that exists.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(ROWS);
        anyhow::ensure!(
            path.is_file(),
            "{} holds no record: {} is missing",
            folder.display(),
            path.display()
        );
        Ok(Self { folder: folder.to_owned() })
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes everything; each file appears whole or not at all.
    pub fn write(
        &self,
        plan: &Plan,
        observations: &[Observation],
        threads: usize,
        wall_seconds: u64,
    ) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in observations.iter().flat_map(Observation::rows) {
            writer.serialize(row)?;
        }
        self.put(ROWS, &writer.into_inner().context("rows")?)?;
        self.put(PLAN, plan.to_yaml()?.as_bytes())?;
        self.put(ENVIRONMENT, serde_yaml::to_string(&environment(threads, wall_seconds))?.as_bytes())?;
        let temporary = tempfile::NamedTempFile::new_in(&self.folder)?;
        write_parquet(&mut evidence_frame(observations)?, temporary.path())?;
        self.persist(temporary, EVIDENCE)
    }

    /// Writes one more file of the record.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = tempfile::NamedTempFile::new_in(&self.folder)
            .with_context(|| format!("cannot write to {}", self.folder.display()))?;
        std::fs::write(temporary.path(), bytes).with_context(|| format!("cannot write {name}"))?;
        self.persist(temporary, name)
    }

    fn persist(&self, temporary: tempfile::NamedTempFile, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        temporary.as_file().sync_all().with_context(|| format!("cannot sync {}", path.display()))?;
        let file = temporary.persist(&path).with_context(|| format!("cannot write {}", path.display()))?;
        readable_by_all(&file).with_context(|| format!("cannot make {} readable", path.display()))
    }

    /// Its rows.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let path = self.folder.join(ROWS);
        let mut reader =
            csv::Reader::from_path(&path).with_context(|| format!("cannot read {}", path.display()))?;
        reader
            .deserialize()
            .enumerate()
            .map(|(index, row)| row.with_context(|| format!("{}:{}", path.display(), index + 2)))
            .collect()
    }

    /// Its rows with every metric computed again from the evidence; failed cells and single epochs as they stand in
    /// `rows.csv`.
    pub fn rescored(&self) -> Result<Vec<Row>> {
        let path = self.folder.join(EVIDENCE);
        let frame = read_parquet(&path)?;
        let mut rows = Vec::new();
        for cell in frame.partition_by_stable(CELL, true).with_context(|| format!("{}", path.display()))? {
            let text = |name: &str| -> Result<String> {
                Ok(cell.column(name)?.str()?.get(0).context("a cell without a name")?.to_owned())
            };
            let observation = Observation {
                seed: cell.column("seed")?.u64()?.get(0).context("a cell without a seed")?,
                attack: text("attack")?,
                defense: text("defense")?,
                trigger: text("trigger")?,
                epoch: None,
                evidence: Ok((text("evidence")?, from_frame(&cell)?)),
            };
            rows.extend(observation.rows());
        }
        let stored = self.rows()?.into_iter();
        rows.extend(stored.filter(|row| row.status == Status::Failed || row.epoch.is_some()));
        Ok(rows)
    }

    /// The plan that made it.
    pub fn plan_path(&self) -> PathBuf {
        self.folder.join(PLAN)
    }
}

/// Temporary files are private; those of a record are not.
#[cfg(unix)]
fn readable_by_all(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(0o644))
}

#[cfg(not(unix))]
fn readable_by_all(_file: &std::fs::File) -> std::io::Result<()> {
    Ok(())
}

/// The evidence of all cells after their last epoch in one table, with the cell before each sample. (That of single
/// epochs would be ten times as much; it stays in the store.)
fn evidence_frame(observations: &[Observation]) -> Result<DataFrame> {
    let mut whole: Option<DataFrame> = None;
    for observation in observations.iter().filter(|observation| observation.epoch.is_none()) {
        let Ok((key, evidence)) = &observation.evidence else { continue };
        let mut frame = to_frame(evidence)?;
        let height = frame.height();
        let names = [
            ("trigger", &observation.trigger),
            ("defense", &observation.defense),
            ("attack", &observation.attack),
        ];
        frame.insert_column(0, Column::new("evidence".into(), vec![key.as_str(); height]))?;
        for (name, value) in names {
            frame.insert_column(0, Column::new(name.into(), vec![value.as_str(); height]))?;
        }
        frame.insert_column(0, Column::new("seed".into(), vec![observation.seed; height]))?;
        whole = Some(match whole {
            Some(whole) => whole.vstack(&frame)?,
            None => frame,
        });
    }
    let mut whole = whole.unwrap_or_default();
    whole.rechunk_mut();
    Ok(whole)
}

/// An allow-list: nothing else of the environment is read.
fn environment(threads: usize, wall_seconds: u64) -> Environment {
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let finished = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Environment {
        format: FORMAT,
        program: format!("cleanbench {}", env!("CARGO_PKG_VERSION")),
        profile: if cfg!(debug_assertions) { "debug" } else { "release" },
        operating_system: std::env::consts::OS,
        architecture: std::env::consts::ARCH,
        processor: processor.map_or_else(|| "unknown".to_owned(), |(_, name)| name.to_owned()),
        threads,
        device: "cpu",
        finished_unix_seconds: finished.map_or(0, |since| since.as_secs()),
        wall_seconds,
    }
}

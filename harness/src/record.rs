//! What a run leaves behind: rows, evidence, the resolved plan and the environment.

mod bundle;
mod difference;
mod environment;
mod integrity;
mod manifest;
mod merge;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use polars::prelude::{Column, DataFrame};
use serde::{Deserialize, Serialize};

pub use bundle::{FIGURES, Index, verify};
pub use difference::{CellDifference, Changed, Difference, difference};
pub use manifest::Manifest;
pub use merge::merge;

use environment::Environment;

use crate::coverage::Coverage;
use crate::evidence::map::EmbeddingMap;
use crate::evidence::{Evidence, from_frame, map, pairs, read_parquet, to_frame, write_parquet};
use crate::plan::Plan;
use crate::run::{Observation, Outcome};
use crate::stages::MANIFEST;

/// Version of the record's format, raised when a field changes its meaning.
pub const FORMAT: u32 = 3;

/// Whether a row has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It has.
    Measured,
    /// The cell failed; the message says why.
    Failed,
    /// The cell was left for another run; the message says why.
    Skipped,
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
    /// The value, a fraction or a mean in [−1, 1].
    pub value: Option<f64>,
    /// Samples that the value is a share or a mean of.
    pub samples: Option<usize>,
    /// Whether there is a value.
    pub status: Status,
    /// Why there is none.
    pub message: String,
    /// Key of the evidence that the value was computed from.
    pub evidence: String,
}

/// What tells one cell under one trigger from another: seed, attack, defense, attack whose trigger it is.
pub type Cell = (u64, String, String, String);

impl Row {
    fn cell(&self) -> Cell {
        (self.seed, self.attack.clone(), self.defense.clone(), self.trigger.clone())
    }
}

/// The files of a record.
pub struct Record {
    folder: PathBuf,
}

/// File names in a record.
const ROWS: &str = "rows.csv";
const PLAN: &str = "plan.resolved.yaml";
const EVIDENCE: &str = "evidence.parquet";
/// There only where pairs were looked at.
const PAIRS: &str = "pairs.parquet";
/// Where some images lie; records of older programs have none.
const MAP: &str = "map.parquet";
/// What every attack did to which pair; there only where one did something.
const POISON: &str = MANIFEST;
/// What was found of data that were read from files; there only where any were.
const DATA: &str = "data.yaml";
/// The columns of [`Cell`].
const CELL: [&str; 4] = ["seed", "attack", "defense", "trigger"];
const ENVIRONMENT: &str = "environment.yaml";

impl Record {
    /// Opens or makes a record's folder; an error names it where it cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        let record = Self { folder: folder.to_owned() };
        std::fs::create_dir_all(folder).with_context(|| record.problem())?;
        tempfile::NamedTempFile::new_in(folder).with_context(|| record.problem())?;
        Ok(record)
    }

    /// A record that exists; an error names the file that is missing, newer than this program, or not as it was written.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(ROWS);
        ensure!(path.is_file(), "{} holds no record: {} is missing", folder.display(), path.display());
        let record = Self { folder: folder.to_owned() };
        record.check()?;
        Ok(record)
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes everything; each file appears whole or not at all.
    pub fn write(&self, plan: &Plan, outcome: &mut Outcome, threads: usize, wall_seconds: u64) -> Result<()> {
        let Outcome { observations, poison, data, stage_seconds, others } = outcome;
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in observations.iter().flat_map(Observation::rows) {
            writer.serialize(row)?;
        }
        self.put(ROWS, &writer.into_inner().context("rows")?)?;
        self.put(PLAN, plan.to_yaml()?.as_bytes())?;
        let environment =
            Environment::here(plan.device, threads, [wall_seconds, stage_seconds.round() as u64], others);
        self.put(ENVIRONMENT, serde_yaml::to_string(&environment)?.as_bytes())?;
        match data.is_empty() {
            true => self.remove(DATA)?,
            false => self.put(DATA, serde_yaml::to_string(data)?.as_bytes())?,
        }
        let evidence = joined(observations, |evidence| to_frame(evidence).map(Some))?;
        self.put_table(EVIDENCE, &mut evidence.unwrap_or_default())?;
        let pairs = joined(observations, pairs::to_frame)?;
        for (name, frame) in [(PAIRS, pairs), (MAP, joined(observations, map::to_frame)?)] {
            match frame {
                Some(mut frame) => self.put_table(name, &mut frame)?,
                None => self.remove(name)?,
            }
        }
        if poison.height() == 0 {
            self.remove(POISON)?
        } else {
            self.put_table(POISON, poison)?
        }
        self.seal()
    }

    fn put_table(&self, name: &str, frame: &mut DataFrame) -> Result<()> {
        let temporary = tempfile::NamedTempFile::new_in(&self.folder).with_context(|| self.problem())?;
        write_parquet(frame, temporary.path()).with_context(|| self.problem())?;
        self.persist(temporary, name)
    }

    fn problem(&self) -> String {
        format!(
            "cannot write to the record's folder {}; make room or choose another with --record",
            self.folder.display()
        )
    }

    /// Removes what a former run left and this one has not.
    fn remove(&self, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot remove {}", path.display()))
            }
            _ => Ok(()),
        }
    }

    /// Writes one more file of the record.
    pub fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let temporary = tempfile::NamedTempFile::new_in(&self.folder).with_context(|| self.problem())?;
        std::fs::write(temporary.path(), bytes).with_context(|| self.problem())?;
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
        let pairs = self.folder.join(PAIRS);
        let mut of_pairs = BTreeMap::new();
        if pairs.exists() {
            let frame = read_parquet(&pairs)?;
            for cell in frame.partition_by_stable(CELL, true).with_context(|| pairs.display().to_string())? {
                of_pairs.insert(text(&cell, "evidence").with_context(|| pairs.display().to_string())?, cell);
            }
        }
        let frame = read_parquet(&path)?;
        let mut rescored = BTreeMap::new();
        for cell in frame.partition_by_stable(CELL, true).with_context(|| path.display().to_string())? {
            let key = text(&cell, "evidence")?;
            let mut evidence = from_frame(&cell).with_context(|| path.display().to_string())?;
            if let Some(cell) = of_pairs.get(&key) {
                pairs::attach(&mut evidence, cell).with_context(|| pairs.display().to_string())?;
            }
            let (seed, attack, defense, trigger) = cell_of(&cell)?;
            let evidence = Ok((key, evidence));
            let observation = Observation { seed, attack, defense, trigger, epoch: None, evidence };
            let rows = observation.rows();
            rescored.insert(rows.first().map(Row::cell), rows);
        }
        let (stored, mut rows) = (self.rows()?, Vec::new());
        for group in stored.chunk_by(|a, b| (a.cell(), a.epoch) == (b.cell(), b.epoch)) {
            let last = group[0].epoch.is_none() && group[0].status == Status::Measured;
            let found = if last { rescored.remove(&Some(group[0].cell())) } else { None };
            rows.extend(found.unwrap_or_else(|| group.to_vec()));
        }
        rows.extend(rescored.into_values().flatten());
        Ok(rows)
    }

    /// What the models said of every test image; see `results/README.md`.
    pub fn evidence(&self) -> Result<DataFrame> {
        read_parquet(&self.folder.join(EVIDENCE))
    }

    /// Where images of the first test set lie, by cell; nothing in records of older programs.
    pub fn maps(&self) -> Result<BTreeMap<Cell, EmbeddingMap>> {
        let path = self.folder.join(MAP);
        let mut maps = BTreeMap::new();
        if !path.is_file() {
            return Ok(maps);
        }
        let named = || path.display().to_string();
        for part in read_parquet(&path)?.partition_by_stable(CELL, true).with_context(named)? {
            let cell = cell_of(&part).with_context(named)?;
            maps.extend(
                map::from_frame(&part).with_context(named)?.into_values().map(|map| (cell.clone(), map)),
            );
        }
        Ok(maps)
    }

    /// The environment, as it stands in its file.
    pub fn environment(&self) -> Result<String> {
        let path = self.folder.join(ENVIRONMENT);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// What was found of data that were read from files.
    pub fn data(&self) -> Result<Vec<Coverage>> {
        let path = self.folder.join(DATA);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let named = || format!("cannot read {}", path.display());
        serde_yaml::from_slice(&std::fs::read(&path).with_context(named)?).with_context(named)
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

/// The cell that a part of a table is of.
fn cell_of(part: &DataFrame) -> Result<Cell> {
    let seed = part.column(CELL[0])?.u64()?.get(0).context("a cell without a seed")?;
    Ok((seed, text(part, CELL[1])?, text(part, CELL[2])?, text(part, CELL[3])?))
}

/// The first word of a column.
fn text(cell: &DataFrame, name: &str) -> Result<String> {
    let value = cell.column(name)?.str()?.get(0);
    Ok(value.with_context(|| format!("a cell without {name:?}"))?.to_owned())
}

/// The evidence of all cells after their last epoch in one table, with the cell before each sample; `None` where no
/// cell has any. (That of single epochs would be ten times as much; it stays in the store.)
fn joined(
    observations: &[Observation],
    to_frame: impl Fn(&Evidence) -> Result<Option<DataFrame>>,
) -> Result<Option<DataFrame>> {
    let mut whole: Option<DataFrame> = None;
    for observation in observations.iter().filter(|observation| observation.epoch.is_none()) {
        let Ok((key, evidence)) = &observation.evidence else { continue };
        let Some(mut frame) = to_frame(evidence)? else { continue };
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
    if let Some(whole) = &mut whole {
        whole.rechunk_mut();
    }
    Ok(whole)
}

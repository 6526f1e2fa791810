//! The files of a record: written whole or not at all, checked when opened, rescored from evidence.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use base::Aside;
use polars_core::prelude::{Column, DataFrame};
use polars_io::prelude::SerReader;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::cell::{CellId, Observation, Row, Status, View};
use crate::columns::{read_parquet, read_with, stacked, write_parquet};
use crate::coverage::Coverage;
use crate::design::Design;
use crate::environment::Environment;
use crate::evidence::{Evidence, from_frame, map::EmbeddingMap, map_table, pair_table, to_frame};
use crate::integrity;
use crate::layout::{DATA, ENVIRONMENT, EVIDENCE, HASHES, MANIFEST, MAP, PAIRS, PLAN, ROWS, TRIGGERS};
use crate::metric::Metrics;
use crate::trigger::TriggerSize;

/// A record's folder.
pub struct Record {
    pub(crate) folder: PathBuf,
}

/// The columns that name a view in tables of evidence.
pub(crate) const VIEW: [&str; 4] = ["seed", "attack", "defense", "trigger"];

/// Scores of the target class by view and test set: of clean images, and of triggered ones.
pub type TargetScores = BTreeMap<(View, String), [Vec<f64>; 2]>;

/// Everything that a run writes down.
pub struct Contents<'a> {
    /// The resolved plan, as YAML.
    pub plan: &'a str,
    /// Every cell, observed or not.
    pub observations: &'a [Observation],
    /// The metrics of its rows.
    pub metrics: &'a Metrics,
    /// Every edit of training pairs, with seed and attack in the first two columns.
    pub poison: DataFrame,
    /// How much of the data that are read from files could be used.
    pub data: &'a [Coverage],
    /// How large the triggers are where models see them.
    pub triggers: &'a [TriggerSize],
    /// Where it ran.
    pub environment: &'a Environment<'a>,
}

impl Record {
    /// Opens or makes a record's folder; an error names it where it cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        let record = Self { folder: folder.to_owned() };
        std::fs::create_dir_all(folder).with_context(|| record.problem())?;
        record.aside()?;
        Ok(record)
    }

    /// A record that exists; an error names the file that is missing, newer than this program, or not as it was written.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join(ROWS);
        ensure!(
            path.is_file(),
            "{} holds no record: {} is missing; name the folder that a run wrote, such as record/PLAN",
            folder.display(),
            path.display()
        );
        integrity::check(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Whether the hashes of its files were written down, so that an edit is noticed; of records before format 3 they may
    /// not be.
    pub fn has_hashes(&self) -> Result<bool> {
        Ok(integrity::written_hashes(&self.folder)?.is_some())
    }

    /// Where it lies.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Writes everything; each file appears whole or not at all.
    pub fn write(&self, contents: Contents<'_>) -> Result<()> {
        let Contents { plan, observations, metrics, poison, data, triggers, environment } = contents;
        let rows = observations.iter().flat_map(|observation| observation.rows(metrics));
        self.put_rows(rows)?;
        self.put(PLAN, plan.as_bytes())?;
        self.put(ENVIRONMENT, serde_yaml::to_string(environment)?.as_bytes())?;
        self.put_list(DATA, data)?;
        self.put_list(TRIGGERS, triggers)?;
        let evidence = joined(observations, |evidence| to_frame(evidence).map(Some))?;
        let tables = [
            (EVIDENCE, Some(evidence.unwrap_or_default())),
            (PAIRS, joined(observations, pair_table::to_frame)?),
            (MAP, joined(observations, map_table::to_frame)?),
            (MANIFEST, Some(poison).filter(|poison| poison.height() > 0)),
        ];
        for (name, table) in tables {
            match table {
                Some(mut table) => self.put_table(name, &mut table)?,
                None => self.remove(name)?,
            }
        }
        self.seal()
    }

    /// Writes a list as YAML; none where it is empty.
    pub(crate) fn put_list(&self, name: &str, list: &[impl Serialize]) -> Result<()> {
        match list.is_empty() {
            true => self.remove(name),
            false => self.put(name, serde_yaml::to_string(list)?.as_bytes()),
        }
    }

    /// Writes its rows.
    pub(crate) fn put_rows(&self, rows: impl IntoIterator<Item = Row>) -> Result<()> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        rows.into_iter().try_for_each(|row| writer.serialize(row))?;
        self.put(ROWS, &writer.into_inner().context("rows")?)
    }

    /// Writes down the hashes of its files.
    pub(crate) fn seal(&self) -> Result<()> {
        self.put(HASHES, serde_yaml::to_string(&self.hashes()?)?.as_bytes())
    }

    /// BLAKE3 of the files that a run wrote, by name.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>> {
        integrity::hashes(&self.folder)
    }

    /// BLAKE3 of `rows.csv`, 64 hexadecimal digits.
    pub fn rows_hash(&self) -> Result<String> {
        self.hashes()?.remove(ROWS).with_context(|| format!("{} holds no {ROWS}", self.folder.display()))
    }

    /// Writes a derived file (a table or the page), and its hash beside those of the other files.
    pub fn put_derived(&self, name: &str, bytes: &[u8]) -> Result<()> {
        self.put(name, bytes)?;
        let Some(mut hashes) = integrity::written_hashes(&self.folder)? else { return Ok(()) };
        hashes.insert(name.to_owned(), blake3::hash(bytes).to_hex().to_string());
        self.put(HASHES, serde_yaml::to_string(&hashes)?.as_bytes())
    }

    pub(crate) fn put_table(&self, name: &str, frame: &mut DataFrame) -> Result<()> {
        let aside = self.aside()?;
        write_parquet(frame, aside.path()).with_context(|| self.problem())?;
        self.persist(aside, name)
    }

    fn aside(&self) -> Result<Aside> {
        Aside::new_in(&self.folder).with_context(|| self.problem())
    }

    fn problem(&self) -> String {
        let folder = self.folder.display();
        format!("cannot write to the record's folder {folder}; make room or choose another with --record")
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
    pub(crate) fn put(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let aside = self.aside()?;
        aside.file().write_all(bytes).with_context(|| self.problem())?;
        self.persist(aside, name)
    }

    fn persist(&self, aside: Aside, name: &str) -> Result<()> {
        let path = self.folder.join(name);
        aside.persist(&path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Its rows.
    pub fn rows(&self) -> Result<Vec<Row>> {
        let path = self.folder.join(ROWS);
        let reader = csv::Reader::from_path(&path);
        let mut reader = reader.with_context(|| format!("cannot read {}", path.display()))?;
        let named = |index: usize| format!("{}:{}", path.display(), index + 2);
        let rows = reader.deserialize().enumerate();
        rows.map(|(index, row)| row.with_context(|| named(index))).collect()
    }

    /// Its rows with every metric computed again from the evidence; rows of cells that were not observed and of single
    /// epochs as they stand in `rows.csv`.
    pub fn rescored(&self, metrics: &Metrics) -> Result<Vec<Row>> {
        let (path, pairs) = (self.folder.join(EVIDENCE), self.folder.join(PAIRS));
        let named = || path.display().to_string();
        let mut of_pairs = BTreeMap::new();
        if pairs.exists() {
            let named = || pairs.display().to_string();
            for part in read_parquet(&pairs)?.partition_by_stable(VIEW, true).with_context(named)? {
                of_pairs.insert(text(&part, "evidence").with_context(named)?, part);
            }
        }
        let mut rescored = BTreeMap::new();
        for part in read_parquet(&path)?.partition_by_stable(VIEW, true).with_context(named)? {
            let key = text(&part, "evidence")?;
            let mut evidence = from_frame(&part).with_context(named)?;
            if let Some(part) = of_pairs.get(&key) {
                pair_table::attach(&mut evidence, part).with_context(|| pairs.display().to_string())?;
            }
            let view = view_of(&part)?;
            let observation = Observation { view: view.clone(), evidence: Ok((key, evidence)) };
            rescored.insert(view, observation.rows(metrics));
        }
        let (stored, mut rows) = (self.rows()?, Vec::new());
        for group in stored.chunk_by(|a, b| a.view() == b.view()) {
            let observed = group[0].epoch.is_none() && group[0].status == Status::Measured;
            let found = if observed { rescored.remove(&group[0].view()) } else { None };
            rows.extend(found.unwrap_or_else(|| group.to_vec()));
        }
        rows.extend(rescored.into_values().flatten());
        Ok(rows)
    }

    /// The number of classes of each test set, by its label.
    pub fn classes(&self) -> Result<BTreeMap<String, u32>> {
        let path = self.folder.join(EVIDENCE);
        if !path.is_file() {
            return Ok(BTreeMap::new());
        }
        let columns = ["test_set", "classes"].map(str::to_owned).to_vec();
        let table = read_with(&path, |mut reader| match reader.schema()?.is_empty() {
            true => Ok(None),
            false => reader.with_columns(Some(columns)).finish().map(Some),
        })?;
        let Some(table) = table else { return Ok(BTreeMap::new()) };
        let sets = table.column("test_set")?.str()?.iter();
        let classes = table.column("classes")?.u32()?.iter();
        Ok(sets.zip(classes).filter_map(|(set, classes)| Some((set?.to_owned(), classes?))).collect())
    }

    /// The models' answers on every test image; columns in `results/README.md`.
    pub fn evidence(&self) -> Result<DataFrame> {
        read_parquet(&self.folder.join(EVIDENCE))
    }

    /// The scores of the target class on every test image.
    pub fn target_scores(&self) -> Result<TargetScores> {
        let named = || self.folder.join(EVIDENCE).display().to_string();
        let (table, mut scores) = (self.evidence()?, BTreeMap::new());
        if table.height() == 0 {
            return Ok(scores);
        }
        let keys = [&VIEW[..], &["test_set"]].concat();
        for part in table.partition_by_stable(keys, true).with_context(named)? {
            let side = |name: &str| -> Result<Vec<f64>> {
                Ok(part.column(name)?.f32()?.iter().flatten().map(f64::from).collect())
            };
            let sides = [side("clean_target_score")?, side("triggered_target_score")?];
            scores.insert((view_of(&part)?, text(&part, "test_set")?), sides);
        }
        Ok(scores)
    }

    /// Embedding maps on the first test set, by view; none in records before format 3.
    pub fn maps(&self) -> Result<BTreeMap<View, EmbeddingMap>> {
        let path = self.folder.join(MAP);
        let mut maps = BTreeMap::new();
        if !path.is_file() {
            return Ok(maps);
        }
        let named = || path.display().to_string();
        for part in read_parquet(&path)?.partition_by_stable(VIEW, true).with_context(named)? {
            let view = view_of(&part).with_context(named)?;
            let found = map_table::from_frame(&part).with_context(named)?.into_values();
            maps.extend(found.map(|map| (view.clone(), map)));
        }
        Ok(maps)
    }

    /// The environment, as it stands in its file.
    pub fn environment(&self) -> Result<String> {
        self.text(ENVIRONMENT)
    }

    fn text(&self, name: &str) -> Result<String> {
        let path = self.folder.join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    }

    /// What was found of data that were read from files.
    pub fn data(&self) -> Result<Vec<Coverage>> {
        self.list(DATA)
    }

    /// How large the triggers are where models see them.
    pub fn triggers(&self) -> Result<Vec<TriggerSize>> {
        self.list(TRIGGERS)
    }

    fn list<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        let path = self.folder.join(name);
        if !path.exists() {
            return Ok(Vec::new());
        }
        let named = || format!("cannot read {}", path.display());
        serde_yaml::from_slice(&std::fs::read(&path).with_context(named)?).with_context(named)
    }

    /// Its resolved plan, as YAML.
    pub fn plan(&self) -> Result<String> {
        self.text(PLAN)
    }

    /// The experiment that its plan describes; reads nothing but the record.
    pub fn design(&self) -> Result<Design> {
        let named = || self.folder.join(PLAN).display().to_string();
        Design::of(serde_yaml::from_str(&self.plan()?).with_context(named)?).with_context(named)
    }
}

/// The view that a part of a table is about.
fn view_of(part: &DataFrame) -> Result<View> {
    let seed = part.column(VIEW[0])?.u64()?.get(0).context("a cell without a seed")?;
    let cell = CellId::new(&text(part, VIEW[1])?, &text(part, VIEW[2])?, seed);
    Ok(View { cell, trigger: text(part, VIEW[3])?, epoch: None })
}

/// The first text of a column.
pub(crate) fn text(cell: &DataFrame, name: &str) -> Result<String> {
    let value = cell.column(name)?.str()?.get(0);
    Ok(value.with_context(|| format!("a cell without {name:?}"))?.to_owned())
}

/// The evidence of all cells after their last epoch in one table, with the cell before each sample; `None` where no
/// cell has any. (That of single epochs would be ten times as much; it stays in the store.)
fn joined(
    observations: &[Observation],
    to_frame: impl Fn(&Evidence) -> Result<Option<DataFrame>>,
) -> Result<Option<DataFrame>> {
    let mut tables = Vec::new();
    for observation in observations.iter().filter(|observation| observation.view.epoch.is_none()) {
        let Ok((key, evidence)) = &observation.evidence else { continue };
        let Some(mut frame) = to_frame(evidence)? else { continue };
        let height = frame.height();
        let View { cell: CellId { seed, attack, defense }, trigger, .. } = &observation.view;
        frame.insert_column(0, Column::new("evidence".into(), vec![key.as_str(); height]))?;
        for (name, value) in [(VIEW[3], trigger), (VIEW[2], defense), (VIEW[1], attack)] {
            frame.insert_column(0, Column::new(name.into(), vec![value.as_str(); height]))?;
        }
        frame.insert_column(0, Column::new(VIEW[0].into(), vec![*seed; height]))?;
        tables.push(frame);
    }
    stacked(tables)
}

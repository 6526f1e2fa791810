//! What the attacks did to the training pairs, as it stands in a record.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use polars_core::prelude::{AnyValue, Column, DataFrame, PolarsResult};

use crate::columns::read_parquet;
use crate::files::{Record, VIEW, text};
use crate::layout::MANIFEST;

/// What an attack did to the training pairs of one seed.
pub struct Manifest {
    /// How many pairs it edited, by what became of their images.
    pub edits: BTreeMap<String, usize>,
    /// BLAKE3 of their lines in [`Record::poison`], 64 hexadecimal digits.
    pub hash: String,
}

impl Record {
    /// Its poison manifests as text: a line for each edited pair, the columns as they are called in the file.
    pub fn poison(&self) -> Result<String> {
        let frame = self.edits()?;
        ensure!(
            frame.height() > 0,
            "{} holds no {MANIFEST}: no attack of it edited pairs",
            self.folder.display()
        );
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(frame.get_column_names().iter().map(|name| name.as_str()))?;
        let header = String::from_utf8(writer.into_inner().context("a header")?)?;
        Ok(header + &lines(&frame)?)
    }

    /// Its poison manifests in short, by seed and label of the attack.
    pub fn manifests(&self) -> Result<BTreeMap<(u64, String), Manifest>> {
        let (frame, mut manifests) = (self.edits()?, BTreeMap::new());
        if frame.height() == 0 {
            return Ok(manifests);
        }
        for part in frame.partition_by_stable([VIEW[0], VIEW[1]], true)? {
            let mut edits = BTreeMap::new();
            for edit in part.column("edit")?.str()?.iter().flatten() {
                *edits.entry(edit.to_owned()).or_insert(0) += 1;
            }
            let seed = part.column(VIEW[0])?.u64()?.get(0).context("an edit without a seed")?;
            let hash = blake3::hash(lines(&part)?.as_bytes()).to_hex().to_string();
            manifests.insert((seed, text(&part, VIEW[1])?), Manifest { edits, hash });
        }
        Ok(manifests)
    }

    /// The manifests; empty where no attack edited pairs.
    fn edits(&self) -> Result<DataFrame> {
        let path = self.folder.join(MANIFEST);
        if path.is_file() { read_parquet(&path) } else { Ok(DataFrame::default()) }
    }
}

/// A table as lines of CSV without its header.
fn lines(frame: &DataFrame) -> Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for index in 0..frame.height() {
        let value = |column: &Column| match column.get(index)? {
            AnyValue::Null => Ok(String::new()),
            AnyValue::String(text) => Ok(text.to_owned()),
            other => Ok(other.to_string()),
        };
        let row: Vec<String> = frame.columns().iter().map(value).collect::<PolarsResult<_>>()?;
        writer.write_record(row)?;
    }
    Ok(String::from_utf8(writer.into_inner().context("rows")?)?)
}

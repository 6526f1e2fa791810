//! Columns of tables, read with errors that name them, and tables as Parquet.

use std::fs::File;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use base::guarded;
use polars_core::prelude::{DataFrame, PolarsResult};
use polars_io::prelude::{ParquetReader, ParquetWriter, SerReader};

/// The two sides of a sample and what is kept of each.
pub(crate) const SIDES: [&str; 2] = ["clean", "triggered"];

/// The numbers of a column; an error names it where it is missing, of another type or has gaps.
pub(crate) fn numbers(frame: &DataFrame, name: &str) -> Result<Vec<u32>> {
    let values = frame.column(name)?.u32()?;
    ensure!(values.null_count() == 0, "column {name:?} has missing values");
    Ok(values.into_no_null_iter().collect())
}

/// As [`numbers`], of scores, which must be finite.
pub(crate) fn scores(frame: &DataFrame, name: &str) -> Result<Vec<f32>> {
    let values = frame.column(name)?.f32()?;
    ensure!(values.null_count() == 0, "column {name:?} has missing values");
    let values: Vec<f32> = values.into_no_null_iter().collect();
    if let Some(row) = values.iter().position(|value| !value.is_finite()) {
        bail!("column {name:?}, row {row}: {} is no score", values[row]);
    }
    Ok(values)
}

/// As [`numbers`], of words.
pub(crate) fn words(frame: &DataFrame, name: &str) -> Result<Vec<String>> {
    let values = frame.column(name)?.str()?;
    ensure!(values.null_count() == 0, "column {name:?} has missing values");
    Ok(values.iter().flatten().map(str::to_owned).collect())
}

/// As [`numbers`], of yes and no.
pub(crate) fn booleans(frame: &DataFrame, name: &str) -> Result<Vec<bool>> {
    let values = frame.column(name)?.bool()?;
    ensure!(values.null_count() == 0, "column {name:?} has missing values");
    Ok(values.iter().flatten().collect())
}

/// Tables of the same columns in one; `None` where there are none.
pub fn stacked(tables: impl IntoIterator<Item = DataFrame>) -> Result<Option<DataFrame>> {
    let mut tables = tables.into_iter();
    let Some(mut whole) = tables.next() else { return Ok(None) };
    for table in tables {
        whole.vstack_mut(&table)?;
    }
    whole.rechunk_mut();
    Ok(Some(whole))
}

/// Writes a table as Parquet.
pub fn write_parquet(frame: &mut DataFrame, path: &Path) -> Result<()> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    ParquetWriter::new(file).finish(frame).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(())
}

/// Reads a table from Parquet.
pub fn read_parquet(path: &Path) -> Result<DataFrame> {
    read_with(path, |reader| reader.finish())
}

/// What `read` makes of a Parquet file, whose reader panics over some damage.
pub(crate) fn read_with<T>(
    path: &Path,
    read: impl FnOnce(ParquetReader<File>) -> PolarsResult<T>,
) -> Result<T> {
    let named = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(named)?;
    guarded(|| read(ParquetReader::new(file))).with_context(named)?.with_context(named)
}

//! The index of a data set's Parquet files.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clip::BadSample;

use super::files::Files;
use super::hub_table::{CAPTIONS, HubTable, LABELS, guarded, labels, leaf, open, texts};
use super::place::Place;
use super::samples::Samples;
use super::webdataset::Kind;

/// The samples of these Parquet files, in order.
pub(crate) fn read_files(name: String, paths: Vec<PathBuf>, kind: Kind) -> Result<Samples> {
    let mut samples = Samples::new(name, "Parquet of the Hub");
    let mut tables = Vec::with_capacity(paths.len());
    for (number, path) in paths.iter().enumerate() {
        let named = || path.display().to_string();
        let number = u16::try_from(number).context("over 65 536 Parquet files")?;
        let file = Arc::new(File::open(path).with_context(named)?);
        let table = open(&file).with_context(named)?;
        read_file(&table, &file, number, kind, &mut samples).with_context(named)?;
        tables.push(table);
    }
    ensure!(!samples.is_empty(), "{}: no rows", samples.name);
    samples.finish();
    samples.tables = tables;
    samples.files = Files::new(paths);
    Ok(samples)
}

fn read_file(
    table: &HubTable,
    file: &Arc<File>,
    number: u16,
    kind: Kind,
    samples: &mut Samples,
) -> Result<()> {
    let names = if let Kind::Pairs = kind { CAPTIONS } else { LABELS };
    let leaf = leaf(&table.metadata, &names).with_context(|| format!("no column {}", names.join(" or ")))?;
    for group in 0..table.metadata.num_row_groups() {
        let short = u16::try_from(group).context("over 65 536 row groups")?;
        let at = |row: usize| -> Result<(String, Place)> {
            let row = u32::try_from(row).context("a row group of over 4 294 967 295 rows")?;
            Ok((format!("{number}-{short}-{row}"), Place::Row { file: number, group: short, row }))
        };
        match kind {
            Kind::Classes(classes) => {
                let all = guarded(|| table.values(file, group, leaf, labels))?;
                for (row, label) in all.into_iter().enumerate() {
                    let (key, place) = at(row)?;
                    samples.push_labelled(&key, label, classes, place);
                }
            }
            Kind::Pairs => {
                let all = guarded(|| table.values(file, group, leaf, texts))?;
                for (row, text) in all.iter().enumerate() {
                    let (key, place) = at(row)?;
                    let caption = match text {
                        None => Err(BadSample::NoCaption),
                        Some(text) => std::str::from_utf8(text.data()).map_err(|_| BadSample::NotUtf8),
                    };
                    samples.push_pair(&key, caption, place, "");
                }
            }
        }
    }
    Ok(())
}

//! `cleanbench expect`, `replay`, `diff`, `merge` and `bundle`: what is done with records.

use std::path::PathBuf;

use anyhow::Result;
use base::{out, outln};
use plan::Catalog;
use record::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use record::{CellDifference, FIGURES, Record, difference, merge as merge_records, verify};
use report::{Sheet, Summary, expectation};

use super::report::{opened, put_tables, with_page, write_figures};
use crate::cli::{BundleOptions, DiffOptions, ExpectOptions, MergeOptions, ReplayOptions};
use crate::{CLAIM_FAILED, SUCCESS, user_error};

/// Proposes bands from records.
pub(crate) fn expect(options: &ExpectOptions) -> Result<u8> {
    let (mut rows, mut names) = (Vec::new(), Vec::new());
    for folder in &options.records {
        let record = opened(folder)?;
        rows.extend(record.rows()?);
        names.push(format!("{} (rows.csv {})", folder.display(), &record.rows_hash()?[..16]));
    }
    let paths: Vec<String> = options.records.iter().map(|folder| folder.display().to_string()).collect();
    let source = format!("{}; cleanbench expect {}", names.join(", "), paths.join(" "));
    out!("{}", expectation(&rows, &source).map_err(|error| user_error(format!("{error:#}")))?);
    Ok(SUCCESS)
}

/// Makes every table, the page and the figures of a record again, from its evidence alone.
pub(crate) fn replay(catalog: &Catalog, options: &ReplayOptions) -> Result<u8> {
    let record = opened(&options.record)?;
    let (design, rows) = (record.design()?, record.rescored(&catalog.metrics)?);
    let summary = Summary::of_record(&record, &rows, &catalog.metrics)?;
    let sheet = Sheet::of(&design, &summary);
    let folder = options.to.as_deref().unwrap_or_else(|| record.folder());
    let to = if folder == record.folder() { None } else { Some(Record::create(folder)?) };
    let to = to.as_ref().unwrap_or(&record);
    put_tables(to, &sheet, &rows)?;
    let figures = with_page(catalog, &record, &sheet, &rows, &summary, |page| {
        to.put_derived("page.html", report::page::page(page)?.as_bytes())?;
        write_figures(page, &folder.join(FIGURES))
    })?;
    outln!("{}: report.md, table.csv, table.tex, page.html, {figures} figures", folder.display());
    Ok(SUCCESS)
}

/// Says in which cells two records differ, by how much, and why.
pub(crate) fn diff(options: &DiffOptions) -> Result<u8> {
    let found = difference(&opened(&options.first)?, &opened(&options.second)?)?;
    for changed in &found.settings {
        outln!("{changed}");
    }
    for changed in &found.environment {
        outln!("where it ran: {changed}");
    }
    let primary = |cell: &&CellDifference| {
        cell.row.epoch.is_none() && [CLEAN_ACCURACY, ATTACK_SUCCESS_RATE].contains(&cell.row.metric.as_str())
    };
    let shown: Vec<&CellDifference> =
        found.cells.iter().filter(|cell| options.all || primary(cell)).collect();
    for cell in &shown {
        outln!("{}", line(cell));
    }
    let (differ, compared, rest) = (found.cells.len(), found.compared, found.cells.len() - shown.len());
    let rest = if rest == 0 { String::new() } else { format!(", {rest} of them not shown: --all") };
    outln!("{differ} of {compared} values differ{rest}");
    Ok(if differ == 0 && found.settings.is_empty() { SUCCESS } else { CLAIM_FAILED })
}

/// A spread over seeds below this is one of rounding.
const NO_NOISE: f64 = 1e-9;

/// A value that differs, in percent, beside the spread over seeds.
fn line(cell: &CellDifference) -> String {
    let CellDifference { row, values, noise, there, same_evidence, explained_by } = cell;
    let [before, after] = values
        .map(|value| value.map_or_else(|| "nothing".to_owned(), |value| format!("{:.1}", value * 100.0)));
    let by = match (values, noise) {
        ([Some(first), Some(second)], Some(noise)) if *noise > NO_NOISE => {
            let change = second - first;
            format!(" ({:+.1}, {:.1} sd of seeds)", change * 100.0, change.abs() / noise)
        }
        ([Some(first), Some(second)], _) => format!(" ({:+.1})", (second - first) * 100.0),
        _ => String::new(),
    };
    let why = match (explained_by.is_empty(), there, same_evidence) {
        (_, [true, false], _) => "in the first record alone".to_owned(),
        (_, [false, true], _) => "in the second record alone".to_owned(),
        (false, ..) => explained_by.join(", "),
        (true, _, true) => {
            "the same evidence: the rows were edited, or the metric's definition changed".to_owned()
        }
        (true, _, false) => "no setting of it: another program, device or data".to_owned(),
    };
    format!("{}, {} on {}: {before} -> {after}{by}; {why}", row.view(), row.metric, row.test_set)
}

/// Joins records of one plan.
pub(crate) fn merge(catalog: &Catalog, options: &MergeOptions) -> Result<u8> {
    let records = options.records.iter().map(|folder| opened(folder)).collect::<Result<Vec<_>>>()?;
    let merged = merge_records(&records, &options.to).map_err(|error| user_error(format!("{error:#}")))?;
    let (design, rows) = (merged.design()?, merged.rows()?);
    let summary = Summary::of_record(&merged, &rows, &catalog.metrics)?;
    put_tables(&merged, &Sheet::of(&design, &summary), &rows)?;
    let (seeds, attacks, defenses) = (design.seeds.len(), design.attacks.len(), design.defenses.len());
    outln!("{}: {seeds} seeds, {attacks} attacks, {defenses} defenses", options.to.display());
    Ok(SUCCESS)
}

/// Packs a record into one file, or checks such a file.
pub(crate) fn bundle(catalog: &Catalog, options: &BundleOptions) -> Result<u8> {
    let BundleOptions { record, to, verify: packed } = options;
    let ((index, left), path, done): (_, &PathBuf, _) = match (record, to, packed) {
        (_, _, Some(path)) => ((verify(path)?, Vec::new()), path, "intact"),
        (Some(folder), Some(path), None) => (opened(folder)?.bundle(path, &catalog.metrics)?, path, "packed"),
        _ => return Err(user_error("give a record and --to FILE.tar, or --verify FILE.tar")),
    };
    let (path, count) = (path.display(), index.files.len());
    outln!("{path}: {done}, {count} files, {}; {}", index.program, index.question);
    if !left.is_empty() {
        outln!("left out, as no record's: {}", left.join(", "));
    }
    Ok(SUCCESS)
}

//! `cleanbench expect`, `replay`, `diff`, `merge` and `bundle`: what is done with records.

use std::path::PathBuf;

use anyhow::Result;
use harness::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use harness::record::{CellDifference, FIGURES, Record, Row, difference, merge as merge_records, verify};
use harness::report::{Summary, csv, expectation, latex, markdown};
use harness::{Catalog, Plan};

use super::report::{opened, with_page, write_figures};
use crate::cli::{BundleOptions, DiffOptions, ExpectOptions, MergeOptions, ReplayOptions};
use crate::{FINE, UNEXPECTED, mistake};

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
    print!("{}", expectation(&rows, &source).map_err(|error| mistake(format!("{error:#}")))?);
    Ok(FINE)
}

/// Makes every table, the page and the figures of a record again, from its evidence alone.
pub(crate) fn replay(catalog: &Catalog, options: &ReplayOptions) -> Result<u8> {
    let record = opened(&options.record)?;
    let plan = Plan::of_record(&record, catalog)?;
    let rows = record.rescored()?;
    let summary = Summary::of(&rows, record.data()?)?;
    let folder = options.to.as_deref().unwrap_or_else(|| record.folder());
    let to = if folder == record.folder() { None } else { Some(Record::create(folder)?) };
    let to = to.as_ref().unwrap_or(&record);
    to.put_made("report.md", markdown(&plan, &summary).as_bytes())?;
    to.put_made("table.csv", csv(&plan, &summary)?.as_bytes())?;
    to.put_made("table.tex", latex(&plan, &summary, &rows).as_bytes())?;
    let figures = with_page(&record, &plan, &rows, &summary, |page| {
        to.put_made("page.html", harness::page::page(page)?.as_bytes())?;
        write_figures(page, &folder.join(FIGURES))
    })?;
    println!("{}: report.md, table.csv, table.tex, page.html, {figures} figures", folder.display());
    Ok(FINE)
}

/// Says in which cells two records differ, by how much, and why.
pub(crate) fn diff(options: &DiffOptions) -> Result<u8> {
    let found = difference(&opened(&options.first)?, &opened(&options.second)?)?;
    for changed in &found.settings {
        println!("{changed}");
    }
    for changed in &found.environment {
        println!("where it ran: {changed}");
    }
    let primary = |cell: &&CellDifference| {
        cell.row.epoch.is_none() && [CLEAN_ACCURACY, ATTACK_SUCCESS_RATE].contains(&cell.row.metric.as_str())
    };
    let shown: Vec<&CellDifference> =
        found.cells.iter().filter(|cell| options.all || primary(cell)).collect();
    for cell in &shown {
        println!("{}", line(cell));
    }
    let (differ, compared, rest) = (found.cells.len(), found.compared, found.cells.len() - shown.len());
    let rest = if rest == 0 { String::new() } else { format!(", {rest} of them not shown: --all") };
    println!("{differ} of {compared} values differ{rest}");
    Ok(if differ == 0 && found.settings.is_empty() { FINE } else { UNEXPECTED })
}

/// A spread over seeds below this is one of rounding.
const NO_NOISE: f64 = 1e-9;

/// A value that differs, in percent, beside the spread over seeds.
fn line(cell: &CellDifference) -> String {
    let CellDifference { row, values, noise, there, same_evidence, explained_by } = cell;
    let Row { attack, defense, trigger, seed, test_set, metric, epoch, .. } = row;
    let percent = |value: Option<f64>| {
        value.map_or_else(|| "nothing".to_owned(), |value| format!("{:.1}", value * 100.0))
    };
    let under = if trigger == attack { String::new() } else { format!(" under {trigger}") };
    let epoch = epoch.map_or_else(String::new, |epoch| format!(" after epoch {epoch}"));
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
    format!(
        "{attack}::{defense}::seed-{seed}{under}{epoch}, {metric} on {test_set}: {} -> {}{by}; {why}",
        percent(values[0]),
        percent(values[1])
    )
}

/// Joins records of one plan.
pub(crate) fn merge(catalog: &Catalog, options: &MergeOptions) -> Result<u8> {
    let records = options.records.iter().map(|folder| opened(folder)).collect::<Result<Vec<_>>>()?;
    let merged = merge_records(&records, &options.to).map_err(|error| mistake(format!("{error:#}")))?;
    let plan = Plan::of_record(&merged, catalog)?;
    let summary = Summary::of(&merged.rows()?, merged.data()?)?;
    merged.put_made("report.md", markdown(&plan, &summary).as_bytes())?;
    let (seeds, attacks, defenses) = (plan.seeds.len(), plan.attacks.len(), plan.defenses.len());
    println!("{}: {seeds} seeds, {attacks} attacks, {defenses} defenses", options.to.display());
    Ok(FINE)
}

/// Packs a record into one file, or checks such a file.
pub(crate) fn bundle(options: &BundleOptions) -> Result<u8> {
    let BundleOptions { record, to, verify: packed } = options;
    let ((index, left), path, done): (_, &PathBuf, _) = match (record, to, packed) {
        (_, _, Some(path)) => ((verify(path)?, Vec::new()), path, "intact"),
        (Some(folder), Some(path), None) => (opened(folder)?.bundle(path)?, path, "packed"),
        _ => return Err(mistake("give a record and --to FILE.tar, or --verify FILE.tar")),
    };
    println!(
        "{}: {done}, {} files, {}; {}",
        path.display(),
        index.files.len(),
        index.program,
        index.question
    );
    if !left.is_empty() {
        println!("left out, as no record's: {}", left.join(", "));
    }
    Ok(FINE)
}

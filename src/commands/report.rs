//! `cleanbench report`.

use std::path::Path;

use anyhow::{Context, Result};
use base::{describe, errln, out, outln};
use plan::{Catalog, Plan};
use record::{Record, Row};
use report::page::{Page, figures, page as rendered_page};
use report::{
    Comparison, Judgement, Sheet, Summary, Verdict, compare, compared_json, compared_markdown,
    compared_terminal, csv, json_lines, latex, markdown, splice_sheet, terminal, without_pairs,
};

use super::show::gallery;
use super::terminal_width;
use crate::cli::{Format, ReportOptions};
use crate::published::PUBLISHED;
use crate::{CLAIM_FAILED, FAILED, SUCCESS, user_error};

/// A record that can be read; what is wrong with it is for the user to put right.
pub(crate) fn opened(folder: &Path) -> Result<Record> {
    let record = Record::open(folder).map_err(|error| user_error(format!("{error:#}")))?;
    if !record.has_hashes()? {
        errln!(
            "{}: a record without hashes (before format 3), in which edits are not noticed",
            folder.display()
        );
    }
    Ok(record)
}

/// Writes the tables of a record into it, or into a folder of its own.
pub(crate) fn put_tables(to: &Record, sheet: &Sheet<'_>, rows: &[Row]) -> Result<()> {
    to.put_derived("report.md", markdown(sheet).as_bytes())?;
    to.put_derived("table.csv", csv(sheet)?.as_bytes())?;
    to.put_derived("table.tex", latex(sheet, rows).as_bytes())
}

/// Renders a record's tables again.
pub(crate) fn report(catalog: &Catalog, options: &ReportOptions) -> Result<u8> {
    let record = opened(&options.record)?;
    let design = record.design()?;
    let rows = if options.rescore { record.rescored(&catalog.metrics)? } else { record.rows()? };
    if let Some(against) = &options.against {
        let found =
            compare(&design, &rows, against).map_err(|error| user_error(format!("--against: {error}")))?;
        if let Some(why) = without_pairs(&design, &rows, &found) {
            errln!("nothing to compare: {why}");
            return Ok(CLAIM_FAILED);
        }
        write(options, &compared(&found, against, options.format)?)?;
        return Ok(SUCCESS);
    }
    let summary = Summary::of_record(&record, &rows, &catalog.metrics)?;
    let sheet = Sheet::of(&design, &summary);
    if let Some(folder) = &options.figures {
        let written =
            with_page(catalog, &record, &sheet, &rows, &summary, |page| write_figures(page, folder))?;
        outln!("{}: {written} figures", folder.display());
        return Ok(SUCCESS);
    }
    if let Some(path) = &options.splice {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let new = splice_sheet(&text, &name(&record)?, &sheet)
            .map_err(|error| user_error(format!("{}: {error}", path.display())))?;
        std::fs::write(path, new).with_context(|| format!("cannot write {}", path.display()))?;
        outln!("{}", path.display());
        return Ok(SUCCESS);
    }
    let text = match options.format {
        Format::Text => terminal(&sheet, terminal_width()),
        Format::Markdown => markdown(&sheet),
        Format::Csv => csv(&sheet)?,
        Format::Latex => latex(&sheet, &rows),
        Format::Json => json_lines(&design, &summary, &rows),
        Format::Html => with_page(catalog, &record, &sheet, &rows, &summary, rendered_page)?,
        Format::Poison => record.poison()?,
    };
    write(options, &text)?;
    Ok(verdict_code(&sheet, options.strict))
}

/// The exit code: a failed cell, then a claim that does not hold; without `strict` only claims that the plan requires.
pub(crate) fn verdict_code(sheet: &Sheet<'_>, strict: bool) -> u8 {
    if !sheet.failures.is_empty() {
        return FAILED;
    }
    let unexpected = |judgement: &Judgement<'_>| {
        let holds = matches!(judgement.verdict, Verdict::Reproduced | Verdict::Skipped | Verdict::Failed);
        !holds && (strict || judgement.claim.required)
    };
    if sheet.judgements.iter().any(unexpected) { CLAIM_FAILED } else { SUCCESS }
}

/// Comparisons of every defense with one of them.
pub(crate) fn compared(compared: &[Comparison], against: &str, format: Format) -> Result<String> {
    match format {
        Format::Text => Ok(compared_terminal(compared, against, terminal_width())),
        Format::Markdown => Ok(compared_markdown(compared, against)),
        Format::Json => Ok(compared_json(compared, against)),
        _ => Err(user_error("--format: comparisons are rendered as text, markdown or json")),
    }
}

/// Writes to the file that was asked for, otherwise to stdout.
fn write(options: &ReportOptions, text: &str) -> Result<()> {
    match &options.output {
        Some(path) => {
            std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
            outln!("{}", path.display());
        }
        None => out!("{text}"),
    }
    Ok(())
}

/// What a record is called: its folder.
fn name(record: &Record) -> Result<String> {
    let folder = record.folder().canonicalize()?;
    Ok(folder.file_name().unwrap_or_default().to_string_lossy().into_owned())
}

/// What others are compared with where a plan has it: the defense that the suite began with.
const AGAINST: &str = "cleanclip";

/// Does something with a record as a page.
pub(crate) fn with_page<T>(
    catalog: &Catalog,
    record: &Record,
    sheet: &Sheet<'_>,
    rows: &[Row],
    summary: &Summary,
    then: impl FnOnce(&Page<'_>) -> Result<T>,
) -> Result<T> {
    let compared = compare(sheet.design, rows, AGAINST).ok();
    let plan = Plan::of_record(&record.plan()?, catalog);
    // Triggers are stamped on test images again, which a record does not hold.
    let gallery = plan.map_err(Into::into).and_then(|plan| gallery(&plan)).unwrap_or_else(|error| {
        errln!("no pictures of triggers: {}", describe(&error));
        Vec::new()
    });
    then(&Page {
        name: &name(record)?,
        sheet,
        rows,
        summary,
        scores: &record.target_scores()?,
        compared: compared.as_deref().map(|compared| (AGAINST, compared)),
        maps: &record.maps()?,
        manifests: &record.manifests()?,
        published: &PUBLISHED,
        gallery: &gallery,
        files: &record.hashes()?,
        environment: &record.environment()?,
    })
}

/// Writes the figures of a page as SVG files; returns how many there are.
pub(crate) fn write_figures(page: &Page<'_>, folder: &Path) -> Result<usize> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let figures = figures(page)?;
    for (name, svg) in &figures {
        let path = folder.join(format!("{name}.svg"));
        std::fs::write(&path, svg).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(figures.len())
}

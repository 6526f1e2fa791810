//! `cleanbench report`.

use std::path::Path;

use anyhow::{Context, Result};
use harness::page::{Page, figures, png};
use harness::record::{Record, Row};
use harness::report::{
    Summary, compare, compared_json, compared_markdown, compared_terminal, csv, json_lines, latex, markdown,
    splice, terminal,
};
use harness::{Catalog, Plan, describe};

use super::run::verdict_code;
use super::show::gallery;
use super::terminal_width;
use crate::cli::ReportOptions;
use crate::published::PUBLISHED;
use crate::{FINE, mistake};

/// A record that can be read; what is wrong with it is for the user to put right.
pub(crate) fn opened(folder: &Path) -> Result<Record> {
    Record::open(folder).map_err(|error| mistake(format!("{error:#}")))
}

/// Prints a record's tables again, or puts them into a page.
pub(crate) fn report(catalog: &Catalog, options: &ReportOptions) -> Result<u8> {
    let record = opened(&options.record)?;
    if options.poison {
        print!("{}", record.poison()?);
        return Ok(FINE);
    }
    let plan = Plan::of_record(&record, catalog)?;
    let rows = if options.rescore { record.rescored()? } else { record.rows()? };
    if let Some(against) = &options.against {
        let compared =
            compare(&plan, &rows, against).map_err(|error| mistake(format!("--against: {error}")))?;
        print!(
            "{}",
            match (options.markdown, options.json) {
                (true, _) => compared_markdown(&compared, against),
                (_, true) => compared_json(&compared, against),
                _ => compared_terminal(&compared, against, terminal_width()),
            }
        );
        return Ok(FINE);
    }
    let summary = Summary::of(&rows, record.data()?)?;
    if options.html.is_some() || options.figures.is_some() {
        return with_page(&record, &plan, &rows, &summary, |page| drawn(page, options));
    }
    match &options.splice {
        Some(page) => {
            let text =
                std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
            let new = splice(&text, &name(&record)?, &markdown(&plan, &summary))
                .map_err(|error| mistake(format!("{}: {error}", page.display())))?;
            std::fs::write(page, new).with_context(|| format!("cannot write {}", page.display()))?;
            println!("{}", page.display());
            return Ok(FINE);
        }
        None if options.markdown => print!("{}", markdown(&plan, &summary)),
        None if options.csv => print!("{}", csv(&plan, &summary)?),
        None if options.latex => print!("{}", latex(&plan, &summary, &rows)),
        None if options.json => print!("{}", json_lines(&rows)?),
        None => print!("{}", terminal(&plan, &summary, terminal_width())),
    }
    Ok(verdict_code(&plan, &summary))
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
    record: &Record,
    plan: &Plan,
    rows: &[Row],
    summary: &Summary,
    then: impl FnOnce(&Page<'_>) -> Result<T>,
) -> Result<T> {
    let compared = compare(plan, rows, AGAINST).ok();
    let gallery = gallery(plan).unwrap_or_else(|error| {
        eprintln!("no pictures of triggers: {}", describe(&error));
        Vec::new()
    });
    then(&Page {
        name: &name(record)?,
        plan,
        rows,
        summary,
        evidence: &record.evidence()?,
        compared: compared.as_deref().map(|compared| (AGAINST, compared)),
        maps: &record.maps()?,
        manifests: &record.manifests()?,
        published: &PUBLISHED,
        gallery: &gallery,
        files: &record.hashes()?,
        environment: &record.environment()?,
    })
}

/// Writes the page and its figures where they are wanted, and says where they are.
fn drawn(page: &Page<'_>, options: &ReportOptions) -> Result<u8> {
    if let Some(path) = &options.html {
        std::fs::write(path, harness::page::page(page)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    }
    if let Some(folder) = &options.figures {
        println!("{}: {} figures, each as SVG and PNG", folder.display(), write_figures(page, folder)?);
    }
    Ok(FINE)
}

/// Writes the figures of a page as files; how many there are.
pub(crate) fn write_figures(page: &Page<'_>, folder: &Path) -> Result<usize> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let figures = figures(page)?;
    for (name, svg) in &figures {
        let raster = png(svg).with_context(|| name.clone())?;
        for (ending, bytes) in [("svg", svg.as_bytes()), ("png", &raster)] {
            let path = folder.join(format!("{name}.{ending}"));
            std::fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
    }
    Ok(figures.len())
}

//! `cleanbench report`.

use std::path::Path;

use anyhow::{Context, Result};
use harness::page::Page;
use harness::record::{Record, Row};
use harness::report::{Summary, compare, compared_markdown, compared_terminal, markdown, splice, terminal};
use harness::{Catalog, Plan, describe};

use super::run::verdict_code;
use super::show::gallery;
use super::terminal_width;
use crate::cli::ReportOptions;
use crate::{FINE, mistake};

/// Prints a record's tables again, or puts them into a page.
pub(crate) fn report(catalog: &Catalog, options: &ReportOptions) -> Result<u8> {
    let record = Record::open(&options.record).map_err(|error| mistake(format!("{error:#}")))?;
    if options.poison {
        print!("{}", record.poison()?);
        return Ok(FINE);
    }
    let plan = Plan::load(&record.plan_path(), catalog)?;
    let rows = if options.rescore { record.rescored()? } else { record.rows()? };
    if let Some(against) = &options.against {
        let compared =
            compare(&plan, &rows, against).map_err(|error| mistake(format!("--against: {error}")))?;
        print!(
            "{}",
            match options.markdown {
                true => compared_markdown(&compared, against),
                false => compared_terminal(&compared, against, terminal_width()),
            }
        );
        return Ok(FINE);
    }
    let summary = Summary::of(&rows, record.data()?)?;
    if let Some(path) = &options.html {
        return write_page(&record, &plan, &rows, &summary, path);
    }
    match &options.splice {
        Some(page) => {
            let text =
                std::fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
            let folder = options.record.canonicalize()?;
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let new = splice(&text, &name, &markdown(&plan, &summary))
                .map_err(|error| mistake(format!("{}: {error}", page.display())))?;
            std::fs::write(page, new).with_context(|| format!("cannot write {}", page.display()))?;
            return Ok(FINE);
        }
        None if options.markdown => print!("{}", markdown(&plan, &summary)),
        None => print!("{}", terminal(&plan, &summary, terminal_width())),
    }
    Ok(verdict_code(&plan, &summary))
}

/// Writes a record as one page.
fn write_page(record: &Record, plan: &Plan, rows: &[Row], summary: &Summary, path: &Path) -> Result<u8> {
    // What others are compared with where a plan has it: the defense that the suite began with.
    let against = "cleanclip";
    let compared = compare(plan, rows, against).ok();
    let gallery = match gallery(plan) {
        Ok(gallery) => gallery,
        Err(error) => {
            eprintln!("no pictures of triggers: {}", describe(&error));
            Vec::new()
        }
    };
    let folder = record.folder().canonicalize()?;
    let page = Page {
        name: &folder.file_name().unwrap_or_default().to_string_lossy(),
        plan,
        rows,
        summary,
        evidence: &record.evidence()?,
        compared: compared.as_deref().map(|compared| (against, compared)),
        gallery: &gallery,
        environment: &record.environment()?,
    };
    std::fs::write(path, harness::page::page(&page)?)
        .with_context(|| format!("cannot write {}", path.display()))?;
    println!("{}", path.display());
    Ok(FINE)
}

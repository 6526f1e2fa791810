//! `cleanbench compare`.

use anyhow::Result;
use harness::Catalog;
use harness::report::{compare as compare_rows, compared_markdown, compared_terminal, without_pairs};

use super::run::{announced, record_folder, recorded};
use super::{choose, terminal_width};
use crate::cli::CompareOptions;
use crate::{FAILED, FINE, UNEXPECTED, mistake};

/// Runs a plan's attacks undefended and under two defenses, and prints what one has over the other.
pub(crate) fn compare(catalog: &Catalog, options: &CompareOptions) -> Result<u8> {
    let CompareOptions { name, against, markdown, run } = options;
    if name == against {
        return Err(mistake(format!("{name:?} against itself: name another one with --against")));
    }
    let folder = record_folder(run, &format!("{name}-against-{against}"));
    announced(run, &folder, || {
        let plan = choose(catalog, &run.choice)?.narrowed(catalog, &[against, name])?;
        let record = recorded(&plan, run, &folder)?;
        let rows = record.rows()?;
        let compared =
            compare_rows(&plan, &rows, against).map_err(|error| mistake(format!("--against: {error}")))?;
        let nothing = without_pairs(&plan, &rows, &compared)?;
        match markdown {
            _ if run.json || nothing.is_some() => {}
            true => print!("{}", compared_markdown(&compared, against)),
            false => print!("{}", compared_terminal(&compared, against, terminal_width())),
        }
        if !run.quiet && !run.json {
            eprintln!("\nrecord: {}", record.folder().display());
        }
        if let Some(why) = &nothing {
            eprintln!("nothing to compare: {why}");
        }
        let failed = rows.iter().any(|row| row.status == harness::record::Status::Failed);
        Ok(match nothing {
            _ if failed => FAILED,
            Some(_) => UNEXPECTED,
            None => FINE,
        })
    })
}

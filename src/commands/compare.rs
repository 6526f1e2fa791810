//! `cleanbench compare`.

use anyhow::Result;
use base::{errln, out};
use plan::Catalog;
use record::Status;
use report::{Sheet, Summary, compare as compare_rows, without_pairs};

use super::choose;
use super::report::{compared as rendered, put_tables};
use super::run::{announced, record_folder, recorded};
use crate::cli::CompareOptions;
use crate::{CLAIM_FAILED, FAILED, SUCCESS, user_error};

/// Runs a plan's attacks undefended and under two defenses, and prints what one has over the other.
pub(crate) fn compare(catalog: &Catalog, options: &CompareOptions) -> Result<u8> {
    let CompareOptions { name, against, format, run } = options;
    if name == against {
        return Err(user_error(format!("{name:?} against itself: name another one with --against")));
    }
    let plan = super::name(run.choice.plan.as_deref());
    let folder = record_folder(run, &format!("{plan}-{name}-against-{against}"));
    announced(run, &folder, || {
        let plan = choose(catalog, &run.choice)?.narrowed(catalog, &[against, name])?;
        let record = recorded(catalog, &plan, run, &folder)?;
        let (design, rows) = (record.design()?, record.rows()?);
        let summary = Summary::of_record(&record, &rows, &catalog.metrics)?;
        put_tables(&record, &Sheet::of(&design, &summary), &rows)?;
        let compared = compare_rows(&design, &rows, against)
            .map_err(|error| user_error(format!("--against: {error}")))?;
        let nothing = without_pairs(&design, &rows, &compared);
        if !run.json && nothing.is_none() {
            out!("{}", rendered(&compared, against, (*format).into())?);
        }
        if !run.quiet && !run.json {
            errln!("\nrecord: {}", record.folder().display());
        }
        if let Some(why) = &nothing {
            errln!("nothing to compare: {why}");
        }
        let failed = rows.iter().any(|row| row.status == Status::Failed);
        Ok(match nothing {
            _ if failed => FAILED,
            Some(_) => CLAIM_FAILED,
            None => SUCCESS,
        })
    })
}

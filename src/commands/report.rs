//! `cleanbench report`.

use anyhow::{Context, Result};
use cleanbench::builtin;
use harness::Plan;
use harness::record::Record;
use harness::report::{Summary, compare, compared_markdown, compared_terminal, markdown, splice, terminal};

use super::run::verdict_code;
use super::terminal_width;
use crate::cli::ReportOptions;
use crate::{FINE, mistake};

/// Prints a record's tables again, or puts them into a page.
pub(crate) fn report(options: &ReportOptions) -> Result<u8> {
    let record = Record::open(&options.record).map_err(|error| mistake(format!("{error:#}")))?;
    if options.poison {
        print!("{}", record.poison()?);
        return Ok(FINE);
    }
    let plan = Plan::load(&record.plan_path(), &builtin())?;
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

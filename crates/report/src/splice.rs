//! Keeps a generated part of a hand-written page true.

use anyhow::{Context, Result, ensure};

use crate::markdown::{grid_markdown, markdown};
use crate::sheet::Sheet;

/// Replaces what stands between `<!-- cleanbench:name -->` and `<!-- /cleanbench:name -->`. An error where the
/// page does not hold the two marks once each, in this order.
pub fn splice(page: &str, name: &str, content: &str) -> Result<String> {
    let (open, close) = (format!("<!-- cleanbench:{name} -->"), format!("<!-- /cleanbench:{name} -->"));
    let once = |mark: &str| page.matches(mark).count() == 1;
    ensure!(once(&open) && once(&close), "expected {open} and {close} once each");
    let (start, end) = (page.find(&open).unwrap_or(0) + open.len(), page.find(&close).unwrap_or(0));
    ensure!(start <= end, "{close} stands before {open}");
    Ok(format!("{}\n\n{}\n\n{}", &page[..start], content.trim(), &page[end..]))
}

/// Replaces what the page marks of a sheet: all tables under `NAME`, the grid of one test set under `NAME:SET`. An error
/// where the page marks neither.
pub fn splice_sheet(page: &str, name: &str, sheet: &Sheet<'_>) -> Result<String> {
    let parts = sheet.grids.iter().map(|grid| (format!("{name}:{}", grid.set), grid_markdown(sheet, grid)));
    let parts = parts.chain([(name.to_owned(), markdown(sheet))]);
    let mut spliced = None;
    for (mark, content) in parts.filter(|(mark, _)| page.contains(&format!("<!-- cleanbench:{mark} -->"))) {
        spliced = Some(splice(spliced.as_deref().unwrap_or(page), &mark, &content)?);
    }
    spliced.with_context(|| format!("expected <!-- cleanbench:{name} --> or <!-- cleanbench:{name}:SET -->"))
}

#[cfg(test)]
mod tests {
    use super::splice;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let page = "before\n<!-- cleanbench:a -->\nold\n<!-- /cleanbench:a -->\nafter";
        let new = splice(page, "a", "new\n").expect("marks");
        assert_eq!(new, "before\n<!-- cleanbench:a -->\n\nnew\n\n<!-- /cleanbench:a -->\nafter");
        assert_eq!(splice(&new, "a", "new").expect("marks"), new);
        assert!(splice(page, "b", "new").is_err());
    }
}

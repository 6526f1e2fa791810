//! Keeps a generated part of a hand-written page true.

use anyhow::{Result, ensure};

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

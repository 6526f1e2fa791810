//! What a program printed, as it can stand in one cell of a table.

use std::fs;
use std::path::Path;

/// Longest text, in characters.
const LONGEST: usize = 500;

/// The end of what was printed, its lines joined.
pub(super) fn end(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    let text = plain(&String::from_utf8_lossy(&bytes));
    let start = text.char_indices().rev().nth(LONGEST - 1).map_or(0, |(at, _)| at);
    match &text[start..] {
        "" => "it printed nothing".to_owned(),
        end if start > 0 => format!("… {end}"),
        end => end.to_owned(),
    }
}

/// Lines joined by bars, without terminal sequences and other control characters. A line that was printed over with a
/// carriage return, such as a progress bar, is left out.
fn plain(text: &str) -> String {
    let text = without_sequences(text);
    let last = |line: &str| line.trim_end().rsplit('\r').next().unwrap_or_default().replace('\t', " ");
    let lines = text.split('\n').map(last).map(|line| line.replace(char::is_control, "").trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | ")
}

/// The text without what ECMA-48 calls control sequences (`ESC [ … letter`) and strings (`ESC ] … BEL`).
fn without_sequences(text: &str) -> String {
    let (mut kept, mut letters) = (String::new(), text.chars().peekable());
    while let Some(letter) = letters.next() {
        match (letter, letters.peek()) {
            ('\u{1b}', Some('[')) => {
                letters.next();
                letters.find(|letter| ('@'..='~').contains(letter));
            }
            ('\u{1b}', Some(']')) => {
                letters.find(|letter| ['\u{7}', '\u{1b}', '\n'].contains(letter));
            }
            _ => kept.push(letter),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn end_of(text: &str) -> String {
        let file = tempfile::NamedTempFile::new().expect("a file");
        fs::write(file.path(), text).expect("written");
        end(file.path())
    }

    #[test]
    fn a_traceback_is_one_line_of_plain_characters() {
        let text = "step 1\rstep 2\r\n\u{1b}]0;title\u{7}\u{1b}[1;31mTraceback:\u{1b}[0m\n  File \"a.py\"\n\n\tfoo()\u{7}\n";
        assert_eq!(end_of(text), "step 2 | Traceback: | File \"a.py\" | foo()");
        assert_eq!(end_of("\u{1b}[0m \n"), "it printed nothing");
    }

    #[test]
    fn the_end_is_what_is_kept() {
        let text = end_of(&("ä".repeat(600) + "\nValueError"));
        assert!(text.starts_with("… ä") && text.ends_with("ä | ValueError"), "{text}");
        assert_eq!(text.chars().count(), LONGEST + 2);
    }
}

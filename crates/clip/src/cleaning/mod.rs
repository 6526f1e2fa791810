//! Texts as CLIP's tokenizer cleans them: `basic_clean` and `whitespace_clean` of openai/CLIP,
//! `clip/simple_tokenizer.py`, which CleanCLIP uses unchanged. That is `ftfy.fix_text` with its defaults, HTML's character
//! references replaced twice, and runs of white space made one space.
//!
//! Follows ftfy 6.3.1 (Robyn Speer, Apache-2.0), `ftfy/__init__.py` and `fixes.py`, whose rules and tables are kept here
//! (`assets/mojibake.txt`), so that the same captions give the same tokens. What golden numbers compare: `golden/README.md`.

mod characters;
mod html;
mod mojibake;
mod tables;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use unicode_normalization::UnicodeNormalization;

/// The cleaned text, still in its own case.
pub fn clean(text: &str) -> Cow<'_, str> {
    if is_plain(text) {
        return Cow::Borrowed(text);
    }
    let text = html::unescape(&html::unescape(&fix_text(text)));
    Cow::Owned(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Whether cleaning leaves a text as it is: printable ASCII without a reference, and no white space but single spaces.
fn is_plain(text: &str) -> bool {
    let plain = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'&';
    text.bytes().all(plain) && !text.starts_with(' ') && !text.ends_with(' ') && !text.contains("  ")
}

/// `ftfy.fix_text`: line by line. References are replaced up to the first line with a `<`, which may be HTML.
fn fix_text(text: &str) -> String {
    let mut unescapes = true;
    text.split_inclusive('\n')
        .map(|line| {
            unescapes &= !line.contains('<');
            fix_line(line, unescapes)
        })
        .collect()
}

/// `ftfy.fix_and_explain`: all steps again until nothing changes.
fn fix_line(line: &str, unescapes: bool) -> String {
    let mut text = line.to_owned();
    loop {
        let before = text.clone();
        if unescapes {
            text = html::unescape_whole(&text);
        }
        text = mojibake::fix_encoding(&text);
        text = characters::fix(&text).nfc().collect();
        if text == before {
            return text;
        }
    }
}

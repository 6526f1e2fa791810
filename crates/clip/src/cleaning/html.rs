//! HTML's character references, by Python's rules (`html/__init__.py`) and by ftfy's (`fixes.unescape_html`).

use std::collections::HashMap;
use std::sync::LazyLock;

use super::tables;

/// What the names of HTML5 stand for, most with a semicolon and some without.
static ENTITIES: LazyLock<HashMap<&'static str, String>> = LazyLock::new(|| {
    let table = tables::lines(include_str!("../../assets/entities.txt"));
    table.map(|(name, numbers)| (name, tables::characters(numbers).collect())).collect()
});

/// Characters of a name that Python looks at.
const LONGEST_NAME: usize = 32;
/// Characters of a reference that ftfy looks at.
const LONGEST_WHOLE: usize = 24;

/// Python's `html.unescape`: numbers and names with or without a semicolon, of names the longest that is known.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match reference(rest) {
            Some((characters, length)) => {
                out.push_str(&characters);
                rest = &rest[length..];
            }
            None => out.push('&'),
        }
    }
    out + rest
}

/// What a text that follows an ampersand begins with, and how many bytes of it that takes.
fn reference(text: &str) -> Option<(String, usize)> {
    if let Some(number) = text.strip_prefix('#') {
        let (digits, radix, before) = match number.strip_prefix(['x', 'X']) {
            Some(digits) => (digits, 16, 2),
            None => (number, 10, 1),
        };
        let length = digits.bytes().take_while(|byte| (*byte as char).is_digit(radix)).count();
        let semicolon = usize::from(digits[length..].starts_with(';'));
        return (length > 0).then(|| (numbered(&digits[..length], radix), before + length + semicolon));
    }
    let ends = |character: char| matches!(character, '\t' | '\n' | '\x0c' | ' ' | '<' | '&' | '#' | ';');
    let letters = text.chars().take(LONGEST_NAME).take_while(|character| !ends(*character));
    let bare: usize = letters.map(char::len_utf8).sum();
    let name = &text[..bare + usize::from(bare > 0 && text[bare..].starts_with(';'))];
    let ends = name.char_indices().map(|(at, character)| at + character.len_utf8()).skip(1);
    ends.collect::<Vec<_>>()
        .into_iter()
        .rev()
        .find_map(|end| Some((ENTITIES.get(&name[..end])?.clone(), end)))
}

/// The character of a number; none for those that no text may hold, and for C1 controls what Windows-1252 has there.
fn numbered(digits: &str, radix: u32) -> String {
    let number = digits
        .chars()
        .try_fold(0u32, |number, digit| number.checked_mul(radix)?.checked_add(digit.to_digit(radix)?));
    let replacement = char::REPLACEMENT_CHARACTER.to_string();
    match number {
        None | Some(0) => replacement,
        Some(0x80..=0x9f) => {
            let byte = number.and_then(|number| u8::try_from(number).ok()).unwrap_or_default();
            super::mojibake::of_windows_1252(byte).to_string()
        }
        Some(0x1..=0x8 | 0xb | 0xe..=0x1f | 0x7f | 0xfdd0..=0xfdef) => String::new(),
        Some(number) if number & 0xfffe == 0xfffe && number <= 0x10_ffff => String::new(),
        Some(number) => char::from_u32(number).map_or(replacement, String::from),
    }
}

/// ftfy's: only references that end in a semicolon, and names of Latin letters and common signs in capitals too.
pub(super) fn unescape_whole(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = whole(rest);
        let (found, length) = match length.and_then(|length| Some((fixed(&rest[..length])?, length))) {
            Some(found) => found,
            None => ("&".to_owned(), 1),
        };
        out.push_str(&found);
        rest = &rest[length..];
    }
    out + rest
}

/// Bytes of the reference that a text begins with, ampersand and semicolon included.
fn whole(text: &str) -> Option<usize> {
    let start = if text[1..].starts_with('#') { 2 } else { 1 };
    let letters = text[start..].bytes().take_while(u8::is_ascii_alphanumeric).count();
    let ends = text[start + letters..].starts_with(';');
    (ends && (1..=LONGEST_WHOLE).contains(&letters)).then_some(start + letters + 1)
}

fn fixed(reference: &str) -> Option<String> {
    let name = &reference[1..];
    if name.starts_with('#') {
        return Some(unescape(reference)).filter(|text| !text.contains(';'));
    }
    let in_capitals = || {
        let lower = ENTITIES.get(name.to_lowercase().as_str()).filter(|_| name == name.to_uppercase())?;
        (unescape(reference) == reference).then(|| lower.to_uppercase())
    };
    ENTITIES.get(name).cloned().or_else(in_capitals)
}

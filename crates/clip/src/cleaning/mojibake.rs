//! Text that was written in UTF-8 and read in another encoding: `ftfy.fix_encoding`.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;
use regex::bytes::Regex as BytesRegex;

use super::tables;

const TABLE: &str = include_str!("../../assets/mojibake.txt");

/// A single-byte encoding, "sloppy" where it has characters for bytes that its standard leaves out.
struct Encoding {
    name: &'static str,
    /// Characters of bytes 0x80 on.
    upper: Vec<char>,
    bytes: HashMap<char, u8>,
}

impl Encoding {
    fn is_sloppy(&self) -> bool {
        self.name.starts_with("sloppy")
    }

    /// The bytes of a text; `None` where it cannot have come from this encoding. A sloppy one has byte 0x1a for characters
    /// that were lost.
    fn encode(&self, text: &str) -> Option<Vec<u8>> {
        let byte = |character: char| match character {
            '\x1a' if self.is_sloppy() => None,
            '\0'..='\x7f' => u8::try_from(character).ok(),
            char::REPLACEMENT_CHARACTER if self.is_sloppy() => Some(0x1a),
            _ => self.bytes.get(&character).copied(),
        };
        text.chars().map(byte).collect()
    }
}

/// In the order in which they are tried.
static ENCODINGS: LazyLock<Vec<Encoding>> = LazyLock::new(|| {
    let encodings = tables::lines(TABLE).skip(3).map(|(name, numbers)| {
        let upper: Vec<char> = tables::characters(numbers).collect();
        let bytes = upper.iter().copied().zip(0x80..=0xff).collect();
        Encoding { name, upper, bytes }
    });
    encodings.collect()
});

/// Name of the encoding that HTML means by Latin-1.
const WINDOWS_1252: &str = "sloppy-windows-1252";

/// The character of a byte in Windows-1252.
pub(super) fn of_windows_1252(byte: u8) -> char {
    let upper = || ENCODINGS.iter().find(|encoding| encoding.name == WINDOWS_1252);
    let place = usize::from(byte).checked_sub(0x80);
    place.and_then(|place| upper()?.upper.get(place).copied()).unwrap_or(char::from(byte))
}

/// An expression of the table.
fn expression(name: &str) -> Regex {
    let (_, pattern) = tables::lines(TABLE).find(|(own, _)| *own == name).unwrap_or_default();
    Regex::new(pattern).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Sequences of characters that are unlikely but for mojibake (`ftfy.badness`).
static BADNESS: LazyLock<Regex> = LazyLock::new(|| expression("badness"));
/// Characters that UTF-8 read in another encoding looks like (`UTF8_DETECTOR_RE`).
static DETECTOR: LazyLock<Regex> = LazyLock::new(|| expression("detector"));
/// What may not stand before them.
static NOT_BEFORE: LazyLock<Regex> = LazyLock::new(|| expression("not-before-detector"));

fn of_bytes(pattern: &str) -> BytesRegex {
    BytesRegex::new(&format!("(?s-u){pattern}")).unwrap_or_else(|error| panic!("{pattern}: {error}"))
}

/// UTF-8 but for a space in place of byte 0xa0 (`ALTERED_UTF8_RE`).
static ALTERED: LazyLock<BytesRegex> = LazyLock::new(|| {
    of_bytes(
        r"[\xc2\xc3\xc5\xce\xd0\xd9][ ]|[\xe2\xe3][ ][\x80-\x84\x86-\x9f\xa1-\xbf]|[\xe0-\xe3][\x80-\x84\x86-\x9f\xa1-\xbf][ ]|[\xf0][ ][\x80-\xbf][\x80-\xbf]|[\xf0][\x80-\xbf][ ][\x80-\xbf]|[\xf0][\x80-\xbf][\x80-\xbf][ ]",
    )
});
/// UTF-8 with bytes that were lost (`LOSSY_UTF8_RE`).
static LOSSY: LazyLock<BytesRegex> = LazyLock::new(|| {
    of_bytes(
        r"[\xc2-\xdf][\x1a]|[\xc2-\xc3][?]|\xed[\xa0-\xaf][\x1a?]\xed[\xb0-\xbf][\x1a?\x80-\xbf]|\xed[\xa0-\xaf][\x1a?\x80-\xbf]\xed[\xb0-\xbf][\x1a?]|[\xe0-\xef][\x1a?][\x1a\x80-\xbf]|[\xe0-\xef][\x1a\x80-\xbf][\x1a?]|[\xf0-\xf4][\x1a?][\x1a\x80-\xbf][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a?][\x1a\x80-\xbf]|[\xf0-\xf4][\x1a\x80-\xbf][\x1a\x80-\xbf][\x1a?]|\x1a",
    )
});

/// Repairs a text until it no longer looks like mojibake, or nothing helps.
pub(super) fn fix_encoding(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(fixed) = one_step(&text).filter(|fixed| *fixed != text) {
        text = fixed;
    }
    text
}

/// One layer less of mojibake; `None` where there is none.
fn one_step(text: &str) -> Option<String> {
    if text.is_ascii() || !BADNESS.is_match(text) {
        return None;
    }
    let possible: Vec<(&Encoding, Vec<u8>)> =
        ENCODINGS.iter().filter_map(|encoding| Some((encoding, encoding.encode(text)?))).collect();
    if let Some(fixed) = possible.iter().find_map(|(encoding, bytes)| decode(encoding, bytes.clone())) {
        return Some(fixed);
    }
    if DETECTOR.is_match(text)
        && let fixed = decode_inconsistent(text)
        && fixed != text
    {
        return Some(fixed);
    }
    // Controls of Latin-1 were meant to be read in Windows-1252, all of them if it has them all.
    let is_latin_1 = possible.iter().any(|(encoding, _)| encoding.name == "latin-1");
    let in_windows =
        |character: char| !matches!(character, '\u{81}' | '\u{8d}' | '\u{8f}' | '\u{90}' | '\u{9d}');
    let fixed = fix_c1_controls(text);
    if is_latin_1 && text.chars().all(in_windows) && fixed != text {
        return Some(fixed);
    }
    text.contains(|character| ('\u{80}'..='\u{9f}').contains(&character)).then_some(fixed)
}

/// The text that these bytes are in UTF-8, if they are.
fn decode(encoding: &Encoding, mut bytes: Vec<u8>) -> Option<String> {
    if encoding.name != "macroman" && ALTERED.is_match(&bytes) {
        bytes = restore_byte_a0(&bytes);
    }
    if encoding.is_sloppy() {
        bytes = LOSSY.replace_all(&bytes, "\u{fffd}".as_bytes()).into_owned();
    }
    String::from_utf8(without_variants(bytes)).ok()
}

/// Puts byte 0xa0 back in the place of spaces. After 0xc3 and a space, most often the word "à", a space stays too, but
/// in Portuguese words.
fn restore_byte_a0(bytes: &[u8]) -> Vec<u8> {
    const WORDS: [&[u8]; 5] = [b" ", b"quele", b"quela", b"quilo", b"s "];
    let mut out = Vec::with_capacity(bytes.len());
    for (at, byte) in bytes.iter().enumerate() {
        out.push(*byte);
        let follows = bytes[at..].strip_prefix(b"\xc3 ");
        if follows.is_some_and(|rest| !WORDS.iter().any(|word| rest.starts_with(word))) {
            out.push(0xa0);
        }
    }
    let restored = |found: &regex::bytes::Captures<'_>| -> Vec<u8> {
        found[0].iter().map(|byte| if *byte == b' ' { 0xa0 } else { *byte }).collect()
    };
    ALTERED.replace_all(&out, restored).into_owned()
}

/// UTF-8 in place of CESU-8's pairs of surrogates and of Java's null (`utf-8-variants`).
fn without_variants(bytes: Vec<u8>) -> Vec<u8> {
    if !bytes.contains(&0xed) && !bytes.contains(&0xc0) {
        return bytes;
    }
    let (mut out, mut rest) = (Vec::with_capacity(bytes.len()), &bytes[..]);
    while let Some((first, others)) = rest.split_first() {
        match rest {
            [0xc0, 0x80, left @ ..] => {
                out.push(0);
                rest = left;
            }
            [0xed, a @ 0xa0..=0xaf, b @ 0x80..=0xbf, 0xed, c @ 0xb0..=0xbf, d @ 0x80..=0xbf, left @ ..] => {
                let [a, b, c, d] = [a & 0xf, b & 0x3f, c & 0xf, d & 0x3f].map(u32::from);
                let point = (a << 16) + (b << 10) + (c << 6) + d + 0x1_0000;
                let character = char::from_u32(point).unwrap_or(char::REPLACEMENT_CHARACTER);
                out.extend(character.to_string().as_bytes());
                rest = left;
            }
            _ => {
                out.push(*first);
                rest = others;
            }
        }
    }
    out
}

/// Repairs parts of a text that look like mojibake by themselves.
fn decode_inconsistent(text: &str) -> String {
    let (mut out, mut done, mut at) = (String::with_capacity(text.len()), 0, 0);
    while let Some(found) = DETECTOR.find_at(text, at) {
        let before = text[..found.start()].chars().next_back();
        if before.is_some_and(|before| NOT_BEFORE.is_match(before.encode_utf8(&mut [0; 4]))) {
            // As an expression that looks behind goes on.
            at = found.start() + text[found.start()..].chars().next().map_or(1, char::len_utf8);
            continue;
        }
        let part = found.as_str();
        out.push_str(&text[done..found.start()]);
        match part.len() < text.len() && BADNESS.is_match(part) {
            true => out.push_str(&fix_encoding(part)),
            false => out.push_str(part),
        }
        (done, at) = (found.end(), found.end());
    }
    out + &text[done..]
}

/// Windows-1252's characters in place of C1 controls.
pub(super) fn fix_c1_controls(text: &str) -> String {
    let fixed = |character: char| match u8::try_from(u32::from(character)) {
        Ok(byte @ 0x80..=0x9f) => of_windows_1252(byte),
        _ => character,
    };
    text.chars().map(fixed).collect()
}

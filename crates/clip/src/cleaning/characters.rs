//! Characters that ftfy replaces one by one, or drops.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization;

use super::mojibake::fix_c1_controls;

/// Codes that colour a terminal's text.
static TERMINAL: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new("\x1b\\[[\\d;]*[a-zA-Z]").unwrap_or_else(|error| panic!("terminal codes: {error}"))
});

/// Controls that stand for characters of Windows-1252, ligatures, wide and narrow forms, curly quotes, line breaks, codes
/// of terminals and controls, in ftfy's order.
pub(super) fn fix(text: &str) -> String {
    let text = fix_c1_controls(text);
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match ligature(character) {
            Some(letters) => out.push_str(letters),
            None => push_narrow(&mut out, character),
        }
    }
    let out: String = out.chars().map(straight).collect();
    let out = out.replace("\r\n", "\n").replace(['\r', '\u{2028}', '\u{2029}', '\u{85}'], "\n");
    let out = TERMINAL.replace_all(&out, "");
    out.chars().filter(|character| !is_control(*character)).collect()
}

/// Letters that were joined, and digraphs that are one character for the sake of old encodings.
fn ligature(character: char) -> Option<&'static str> {
    Some(match character {
        'Ĳ' => "IJ",
        'ĳ' => "ij",
        'ŉ' => "ʼn",
        'Ǳ' => "DZ",
        'ǲ' => "Dz",
        'ǳ' => "dz",
        'Ǆ' => "DŽ",
        'ǅ' => "Dž",
        'ǆ' => "dž",
        'Ǉ' => "LJ",
        'ǈ' => "Lj",
        'ǉ' => "lj",
        'Ǌ' => "NJ",
        'ǋ' => "Nj",
        'ǌ' => "nj",
        'ﬀ' => "ff",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        'ﬃ' => "ffi",
        'ﬄ' => "ffl",
        'ﬅ' => "ſt",
        'ﬆ' => "st",
        _ => return None,
    })
}

/// Forms that are as wide as ideographs, or half as wide as they usually are.
fn push_narrow(out: &mut String, character: char) {
    match character {
        '\u{3000}' => out.push(' '),
        '\u{ff01}'..='\u{ffef}' => out.extend(std::iter::once(character).nfkc()),
        _ => out.push(character),
    }
}

fn straight(character: char) -> char {
    match character {
        '\u{201c}'..='\u{201f}' => '"',
        '\u{2bc}' | '\u{2018}'..='\u{201b}' => '\'',
        _ => character,
    }
}

fn is_control(character: char) -> bool {
    matches!(
        character,
        '\0'..='\x08' | '\x0b' | '\x0e'..='\x1f' | '\x7f' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}'
    )
}

//! CLIP's byte-pair tokenizer, whole or cut to the words that a small model meets.

use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::sync::Arc;

use candle_core::{Device, Result, Tensor, bail};

use crate::cleaning::clean;

/// OpenAI's merges (MIT), `clip/bpe_simple_vocab_16e6.txt.gz`.
const MERGES: &[u8] = include_bytes!("../assets/bpe_simple_vocab_16e6.txt.gz");
/// Merges that CLIP uses of that file.
const OFFICIAL_MERGES: usize = 49152 - 256 - 2;
/// Tokens of single bytes, within a word and at its end.
const BYTE_TOKENS: u32 = 512;
/// The start token and the end token as a text may spell them, which CLIP's pattern keeps whole.
const SPECIALS: [&str; 2] = ["<start_of_text>", "<end_of_text>"];
/// Endings that CLIP's pattern keeps apart from the word before.
const CONTRACTIONS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];

/// Text to tokens, cleaned as the official code cleans it ([`crate::clean`]) and lower-cased.
#[derive(Clone)]
pub struct Tokenizer(Arc<Inner>);

struct Inner {
    /// Pairs of tokens by rank; token `512 + rank` is their union.
    merges: Vec<(u32, u32)>,
    ranks: HashMap<(u32, u32), u32>,
    /// Numbers of the merges within the official vocabulary; how a cut one is stored.
    official: Vec<u32>,
    /// Token of each byte within a word.
    bytes: [u32; 256],
}

impl Tokenizer {
    /// CLIP's whole vocabulary, 49 408 tokens.
    pub fn official() -> Result<Self> {
        Self::kept(&(0..OFFICIAL_MERGES as u32).collect::<Vec<_>>())
    }

    /// The vocabulary cut to what `texts` need: the 512 byte tokens, every merge that the official tokenizer makes
    /// while it encodes them, and the two specials. Any text can still be encoded; words of `texts` split as the
    /// official tokenizer splits them.
    pub fn cut(texts: impl Iterator<Item: AsRef<str>>) -> Result<Self> {
        let official = Self::official()?;
        let mut found = BTreeSet::new();
        for text in texts {
            found.extend(words(text.as_ref()));
        }
        let mut used = BTreeSet::new();
        for word in found.iter().filter(|word: &&String| !SPECIALS.contains(&word.as_str())) {
            official.0.merge(word, |rank| {
                used.insert(rank);
            });
        }
        Self::kept(&used.into_iter().collect::<Vec<_>>())
    }

    /// The vocabulary of these official merges, by ascending number; what a checkpoint stores.
    pub fn kept(official: &[u32]) -> Result<Self> {
        let bytes = byte_tokens();
        let all = official_merges(&bytes)?;
        let mut numbers: HashMap<u32, u32> = (0..BYTE_TOKENS).map(|token| (token, token)).collect();
        let (mut merges, mut ranks) = (Vec::with_capacity(official.len()), HashMap::new());
        for (rank, number) in official.iter().enumerate() {
            let rank = rank as u32;
            let pair = all
                .get(*number as usize)
                .and_then(|(left, right)| Some((*numbers.get(left)?, *numbers.get(right)?)));
            let Some(pair) = pair else {
                bail!("tokenizer: merge {number} is unknown or builds on one left out")
            };
            numbers.insert(BYTE_TOKENS + number, BYTE_TOKENS + rank);
            merges.push(pair);
            ranks.insert(pair, rank);
        }
        Ok(Self(Arc::new(Inner { merges, ranks, official: official.to_vec(), bytes })))
    }

    /// Numbers of the official merges that this vocabulary keeps.
    pub fn merges(&self) -> &[u32] {
        &self.0.official
    }

    /// Number of tokens.
    pub fn vocabulary_size(&self) -> usize {
        BYTE_TOKENS as usize + self.0.merges.len() + 2
    }

    /// Tokens of a text, between the start token and the end token (the two highest).
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let end = self.vocabulary_size() as u32 - 1;
        let mut tokens = vec![end - 1];
        for word in words(text) {
            match SPECIALS.iter().position(|special| *special == word) {
                Some(special) => tokens.push(end - 1 + special as u32),
                None => tokens.extend(self.0.merge(&word, |_| ())),
            }
        }
        tokens.push(end);
        tokens
    }

    /// Tokens of texts as u32 `[B, L]`, padded with 0 to the longest of them. Texts of more than `context_length`
    /// tokens are cut but keep the end token (the released code loses it, and pools elsewhere).
    pub fn encode_batch(&self, texts: &[&str], context_length: usize) -> Result<Tensor> {
        let tokens: Vec<Vec<u32>> = texts.iter().map(|text| self.encode(text)).collect();
        pad(&tokens, context_length)
    }
}

/// Token lists as u32 `[B, L]`, cut to `context_length` with their end token kept and padded with 0.
pub(crate) fn pad(tokens: &[Vec<u32>], context_length: usize) -> Result<Tensor> {
    let longest = tokens.iter().map(Vec::len).max().unwrap_or(0).min(context_length);
    let mut values = vec![0u32; tokens.len() * longest];
    for (row, tokens) in values.chunks_exact_mut(longest.max(1)).zip(tokens) {
        let kept = tokens.len().min(longest);
        row[..kept].copy_from_slice(&tokens[..kept]);
        if let (Some(last), Some(end)) = (row[..kept].last_mut(), tokens.last()) {
            *last = *end;
        }
    }
    Tensor::from_vec(values, (tokens.len(), longest), &Device::Cpu)
}

impl Inner {
    /// Tokens of a word; `used` is told the rank of every merge made.
    fn merge(&self, word: &str, mut used: impl FnMut(u32)) -> Vec<u32> {
        let mut tokens: Vec<u32> = word.bytes().map(|byte| self.bytes[byte as usize]).collect();
        if let Some(last) = tokens.last_mut() {
            *last += 256;
        }
        loop {
            let ranked = tokens.windows(2).filter_map(|pair| self.ranks.get(&(pair[0], pair[1])));
            let Some(rank) = ranked.min().copied() else { return tokens };
            used(rank);
            let (left, right) = self.merges[rank as usize];
            let (mut merged, mut at) = (Vec::with_capacity(tokens.len()), 0);
            while at < tokens.len() {
                let matches = tokens[at] == left && tokens.get(at + 1) == Some(&right);
                merged.push(if matches { BYTE_TOKENS + rank } else { tokens[at] });
                at += if matches { 2 } else { 1 };
            }
            tokens = merged;
        }
    }
}

/// GPT-2's order of bytes: printable Latin-1 first, then the rest; `[byte]` is its token within a word.
fn byte_tokens() -> [u32; 256] {
    let mut tokens = [0u32; 256];
    let printable = |byte: usize| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let order = (0..256).filter(|byte| printable(*byte)).chain((0..256).filter(|byte| !printable(*byte)));
    for (token, byte) in order.enumerate() {
        tokens[byte] = token as u32;
    }
    tokens
}

/// The official merges as pairs of tokens. Symbols in the file are bytes written as characters, printable ones as
/// themselves and the others as U+0100 on.
fn official_merges(bytes: &[u32; 256]) -> Result<Vec<(u32, u32)>> {
    let mut text = String::new();
    if let Err(error) = flate2::read::GzDecoder::new(MERGES).read_to_string(&mut text) {
        bail!("tokenizer: the embedded vocabulary is damaged: {error}");
    }
    let mut symbols: HashMap<String, u32> = HashMap::new();
    let mut hidden = 0;
    let mut order: Vec<(u32, usize)> = bytes.iter().enumerate().map(|(byte, token)| (*token, byte)).collect();
    order.sort_unstable();
    for (token, byte) in order {
        let symbol = if token < 188 {
            char::from(byte as u8)
        } else {
            hidden += 1;
            char::from_u32(0x100 + hidden - 1).unwrap_or_default()
        };
        symbols.insert(symbol.to_string(), token);
        symbols.insert(format!("{symbol}</w>"), token + 256);
    }
    let mut merges = Vec::with_capacity(OFFICIAL_MERGES);
    for (rank, line) in text.lines().skip(1).take(OFFICIAL_MERGES).enumerate() {
        let Some((left, right)) = line.split_once(' ') else { bail!("tokenizer: bad merge {line:?}") };
        let (Some(l), Some(r)) = (symbols.get(left), symbols.get(right)) else {
            bail!("tokenizer: merge {line:?} of unknown symbols")
        };
        merges.push((*l, *r));
        symbols.insert(format!("{left}{right}"), BYTE_TOKENS + rank as u32);
    }
    Ok(merges)
}

/// Splits a text as CLIP's pattern does: special tokens, contractions, runs of letters, single digits, runs of other characters.
fn words(text: &str) -> Vec<String> {
    let text = clean(text).to_lowercase();
    let characters: Vec<char> = text.chars().collect();
    let (mut words, mut at) = (Vec::new(), 0);
    while at < characters.len() {
        let rest = &characters[at..];
        let length = match rest[0] {
            first if first.is_whitespace() => 0,
            '<' => prefix(rest, &SPECIALS).unwrap_or_else(|| run(rest, is_other)),
            '\'' => prefix(rest, &CONTRACTIONS).unwrap_or_else(|| run(rest, is_other)),
            first if first.is_alphabetic() => run(rest, char::is_alphabetic),
            first if first.is_numeric() => 1,
            _ => run(rest, is_other),
        };
        if length > 0 {
            words.push(rest[..length].iter().collect());
        }
        at += length.max(1);
    }
    words
}

fn is_other(character: char) -> bool {
    !character.is_whitespace() && !character.is_alphabetic() && !character.is_numeric()
}

fn run(characters: &[char], belongs: fn(char) -> bool) -> usize {
    characters.iter().take_while(|character| belongs(**character)).count()
}

/// The length of the first of some words, all of them ASCII, with which a text begins.
fn prefix(characters: &[char], words: &[&str]) -> Option<usize> {
    let begins = |word: &&&str| word.chars().eq(characters.iter().take(word.len()).copied());
    words.iter().find(begins).map(|word| word.len())
}

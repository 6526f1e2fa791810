//! Synonyms from WordNet 3.0, found as `wordnet.synsets` of NLTK finds them, which the released EDA asks (no version of
//! NLTK is named there; this follows 3.8.1, of the same year).
//!
//! Fellbaum (editor), "WordNet: An Electronic Lexical Database", MIT Press, 1998. `scripts/make_wordnet.py` made the
//! packed table; it holds WordNet's licence, as `assets/LICENSES` does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};

const PACKED: &[u8] = include_bytes!("../../assets/wordnet.txt.gz");

/// Parts of speech as the table names them: nouns, verbs, adjectives, adverbs.
const PARTS: [char; 4] = ['n', 'v', 'a', 'r'];

/// Endings that an inflected form may have and what a base form has instead: WordNet's rules of detachment
/// (`morphy(7WN)`), in the order of [`PARTS`].
const ENDINGS: [&[(&str, &str)]; 4] = [
    &[
        ("s", ""),
        ("ses", "s"),
        ("ves", "f"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ],
    &[("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", "")],
    &[("er", ""), ("est", ""), ("er", "e"), ("est", "e")],
    &[],
];

/// The table, unpacked once a process.
pub(crate) struct WordNet {
    /// Lemma, part of speech, and all lemmas of one synset it is in; sorted.
    senses: Vec<(&'static str, char, &'static str)>,
    /// Base forms of irregular forms.
    irregular: BTreeMap<(char, &'static str), Vec<&'static str>>,
}

impl WordNet {
    /// The one table of this process.
    pub(crate) fn get() -> Result<&'static Self> {
        static TABLE: OnceLock<Result<WordNet, String>> = OnceLock::new();
        let table = TABLE.get_or_init(|| Self::unpack().map_err(|error| format!("{error:#}")));
        table.as_ref().map_err(|message| anyhow!("the embedded WordNet is damaged: {message}"))
    }

    fn unpack() -> Result<Self> {
        let mut text = String::new();
        flate2::read::GzDecoder::new(PACKED).read_to_string(&mut text)?;
        // Kept as long as the process: the table is made once.
        let text: &'static str = Box::leak(text.into_boxed_str());
        let (mut senses, mut irregular) = (Vec::new(), BTreeMap::new());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (kind, lemmas) = line.split_once(' ').context("a line of one word")?;
            let part = kind.chars().next().context("a line without a part of speech")?;
            if kind.ends_with('!') {
                let mut forms = lemmas.split(' ');
                irregular.insert((part, forms.next().unwrap_or_default()), forms.collect());
            } else {
                senses.extend(lemmas.split(' ').map(|lemma| (lemma, part, lemmas)));
            }
        }
        senses.sort_unstable();
        Ok(Self { senses, irregular })
    }

    /// Every synset of a lemma as one part of speech, each as its lemmas.
    fn senses(&self, lemma: &str, part: char) -> impl Iterator<Item = &'static str> {
        let start = self.senses.partition_point(|sense| (sense.0, sense.1) < (lemma, part));
        let own = self.senses[start..].iter().take_while(move |sense| (sense.0, sense.1) == (lemma, part));
        own.map(|sense| sense.2).collect::<Vec<_>>().into_iter()
    }

    /// The lemmas that `form` may be an inflection of: the form itself and its irregular bases; otherwise itself and
    /// what the rules make of it, applied again until something is known.
    fn lemmas(&self, form: &str, part: char, endings: &[(&str, &str)]) -> Vec<String> {
        let known = |forms: Vec<String>| -> Vec<String> {
            let mut seen = BTreeSet::new();
            let is_known = |form: &String| self.senses(form, part).next().is_some();
            forms.into_iter().filter(|form| is_known(form) && seen.insert(form.clone())).collect()
        };
        if let Some(bases) = self.irregular.get(&(part, form)) {
            return known(std::iter::once(form).chain(bases.iter().copied()).map(str::to_owned).collect());
        }
        let detached = |form: &String| -> Vec<String> {
            let stems = endings.iter().filter_map(|(old, new)| Some((form.strip_suffix(old)?, new)));
            stems.map(|(stem, new)| format!("{stem}{new}")).collect()
        };
        let mut forms = vec![form.to_owned()];
        let mut candidates = forms.clone();
        loop {
            forms = forms.iter().flat_map(detached).collect();
            candidates.extend(forms.iter().cloned());
            let found = known(std::mem::take(&mut candidates));
            if !found.is_empty() || forms.is_empty() {
                return found;
            }
        }
    }

    /// EDA's `get_synonyms`: every lemma of every synset of a lower-case word, as words of a to z, sorted, without the
    /// word itself. Lemmas without letters are left out.
    pub(crate) fn synonyms(&self, word: &str) -> Vec<String> {
        let mut synonyms = BTreeSet::new();
        for (part, endings) in PARTS.into_iter().zip(ENDINGS) {
            for lemma in self.lemmas(word, part, endings) {
                for synset in self.senses(&lemma, part) {
                    synonyms.extend(synset.split(' ').map(as_words));
                }
            }
        }
        synonyms.remove(word);
        synonyms.remove("");
        synonyms.into_iter().collect()
    }
}

/// A lemma as EDA writes it: underscores and hyphens are spaces, other characters than a to z vanish.
fn as_words(lemma: &str) -> String {
    let spaced = lemma.replace(['_', '-'], " ");
    let letters: String =
        spaced.chars().filter(|letter| letter.is_ascii_lowercase() || *letter == ' ').collect();
    letters.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn synonyms(word: &str) -> Vec<String> {
        WordNet::get().unwrap().synonyms(word)
    }

    /// `scripts/make_nltk_synonyms.py` made the list with NLTK.
    #[test]
    fn nltk_finds_the_same() {
        let mut compared = 0;
        for line in include_str!("../../tests/nltk_synonyms.txt").lines() {
            let (word, expected) = line.split_once(':').unwrap();
            let expected: Vec<&str> = expected.split(',').filter(|synonym| !synonym.is_empty()).collect();
            assert_eq!(synonyms(word), expected, "{word}");
            compared += 1;
        }
        assert!(compared > 1000, "{compared} words");
    }

    #[test]
    fn words_that_wordnet_lacks_have_none() {
        for word in ["", "the", "of", "qwxz", "oclock", "maam"] {
            assert!(synonyms(word).is_empty(), "{word}: {:?}", synonyms(word));
        }
    }

    #[test]
    fn synonyms_are_words_of_letters_without_the_word() {
        let table = WordNet::get().unwrap();
        let words: BTreeSet<&str> = table.senses.iter().step_by(37).map(|sense| sense.0).collect();
        assert!(words.len() > 2000, "{}", words.len());
        for word in words {
            for synonym in table.synonyms(word) {
                let letters = synonym.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b' ');
                let plain = !synonym.is_empty() && synonym.trim() == synonym && !synonym.contains("  ");
                assert!(letters && plain && synonym != word, "{word}: {synonym:?}");
            }
        }
    }
}

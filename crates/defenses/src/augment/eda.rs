//! Easy data augmentation of captions.
//!
//! Wei, Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks",
//! EMNLP 2019, arXiv 1901.11196, as `utils/eda.py` of nishadsinghi/CleanCLIP@d6e2f1d applies it: its counts of tries
//! too. Which synonym is inserted is drawn here; there it is the first of a Python set, whose order changes from one
//! process to the next.

use std::collections::BTreeSet;

use clip::Seed;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

use super::wordnet::WordNet;

/// EDA's α of all four techniques: the share of words that change.
const ALPHA: f64 = 0.1;

/// How often random insertion looks for a word that has synonyms: the released code draws a tenth time and does not
/// use it.
const TRIES: usize = 9;

/// How often random swap looks for another word: the released code draws a fourth time and does not use it.
const SWAP_TRIES: usize = 3;

/// Words that are not replaced: EDA's list, which is NLTK's of English stop words, contractions taken apart.
const STOP_WORDS: &str = "\
    a about above after again against all am an and any are as at be because been before being below between both but \
    by can did do does doing don down during each few for from further had has have having he her here hers herself \
    him himself his how i if in into is it its itself just me more most my myself no nor not now of off on once only \
    or other our ours ourselves out over own s same she should so some such t than that the their theirs them \
    themselves then there these they this those through to too under until up very was we were what when where which \
    while who whom why will with you your yours yourself yourselves";

/// EDA with WordNet's synonyms.
pub(crate) struct Eda {
    wordnet: &'static WordNet,
    stop_words: BTreeSet<&'static str>,
}

impl Eda {
    /// With the packed WordNet, which is unpacked once a process.
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self { wordnet: WordNet::get()?, stop_words: STOP_WORDS.split_whitespace().collect() })
    }

    /// The caption after one of the four techniques, drawn at random: letters of a to z in lower case and single
    /// spaces. A caption without such letters stays as it is.
    pub(crate) fn augment(&self, caption: &str, seed: &Seed) -> String {
        let cleaned = only_letters(caption);
        let words: Vec<String> = cleaned.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            return caption.to_owned();
        }
        let mut rng = seed.rng();
        let count = ((ALPHA * words.len() as f64) as usize).max(1);
        let augmented = match rng.random_range(0..4) {
            0 => self.replace(words, count, &mut rng),
            1 => self.insert(words, count, &mut rng),
            2 => swap(words, count, &mut rng),
            _ => delete(words, &mut rng),
        };
        augmented.join(" ")
    }

    /// Synonym replacement: `count` distinct words that are no stop words, everywhere they stand.
    fn replace(&self, mut words: Vec<String>, count: usize, rng: &mut impl Rng) -> Vec<String> {
        let wanted = words.iter().filter(|word| !self.stop_words.contains(word.as_str())).cloned();
        let distinct: BTreeSet<String> = wanted.collect();
        let mut distinct: Vec<String> = distinct.into_iter().collect();
        distinct.shuffle(rng);
        let mut replaced = 0;
        for old in distinct {
            if replaced == count {
                break;
            }
            if let Some(new) = self.wordnet.synonyms(&old).choose(rng) {
                words.iter_mut().filter(|word| **word == old).for_each(|word| word.clone_from(new));
                replaced += 1;
            }
        }
        words
    }

    /// Random insertion: `count` times a synonym of some word, stop words among them, goes to some place.
    fn insert(&self, mut words: Vec<String>, count: usize, rng: &mut impl Rng) -> Vec<String> {
        for _ in 0..count {
            let synonyms = (0..TRIES).find_map(|_| {
                let synonyms = self.wordnet.synonyms(&words[rng.random_range(0..words.len())]);
                Some(synonyms).filter(|synonyms| !synonyms.is_empty())
            });
            if let Some(synonym) = synonyms.unwrap_or_default().choose(rng) {
                words.insert(rng.random_range(0..words.len()), synonym.clone());
            }
        }
        words
    }
}

/// Random swap: `count` times two words change places.
fn swap(mut words: Vec<String>, count: usize, rng: &mut impl Rng) -> Vec<String> {
    for _ in 0..count {
        let first = rng.random_range(0..words.len());
        let others = (0..SWAP_TRIES).map(|_| rng.random_range(0..words.len()));
        if let Some(second) = others.into_iter().find(|second| *second != first) {
            words.swap(first, second);
        }
    }
    words
}

/// Random deletion: each word goes with probability α; one stays.
fn delete(words: Vec<String>, rng: &mut impl Rng) -> Vec<String> {
    let last = words[rng.random_range(0..words.len())].clone();
    let kept: Vec<String> = words.into_iter().filter(|_| rng.random::<f64>() > ALPHA).collect();
    if kept.is_empty() { vec![last] } else { kept }
}

/// EDA's `get_only_chars`: apostrophes vanish, what is no letter of a to z becomes a space.
fn only_letters(text: &str) -> String {
    let letters = text.to_lowercase().replace(['\'', '’'], "");
    letters.chars().map(|letter| if letter.is_ascii_lowercase() { letter } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    const CAPTION: &str = "A photo of a large dog, and a small cat on a striped background.";

    fn views() -> Vec<String> {
        let eda = Eda::new().unwrap();
        (0..400).map(|seed| eda.augment(CAPTION, &Seed::new(seed))).collect()
    }

    #[test]
    fn each_technique_is_applied() {
        let sorted = |text: &str| {
            let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words.sort();
            words
        };
        let original = sorted(&only_letters(CAPTION));
        let (mut replaced, mut inserted, mut swapped, mut deleted) = (0, 0, 0, 0);
        for words in views().iter().map(|view| sorted(view)) {
            match words.len().cmp(&original.len()) {
                Ordering::Less => deleted += 1,
                Ordering::Greater => inserted += 1,
                Ordering::Equal if words == original => swapped += 1,
                Ordering::Equal => replaced += 1,
            }
        }
        // Deletion leaves 0.9¹³ of its captions whole; they look like swaps. A synonym of several words looks like an
        // insertion.
        for (count, name) in [(replaced + inserted, "replaced or inserted"), (swapped + deleted, "others")] {
            assert!((150..=250).contains(&count), "{count} of 400 {name}");
        }
        for (count, name) in
            [(replaced, "replaced"), (inserted, "inserted"), (swapped, "swapped"), (deleted, "deleted")]
        {
            assert!((40..=170).contains(&count), "{count} of 400 {name}");
        }
    }

    #[test]
    fn a_view_is_a_function_of_caption_and_seed() {
        assert_eq!(views(), views());
        assert!(views().iter().all(|view| !view.is_empty() && !view.contains("  ")));
    }

    #[test]
    fn captions_of_few_or_no_words_pass() {
        let eda = Eda::new().unwrap();
        for seed in 0..20 {
            assert_eq!(eda.augment("42 !", &Seed::new(seed)), "42 !");
            assert_eq!(eda.augment("", &Seed::new(seed)), "");
            assert!(!eda.augment("Xylophone", &Seed::new(seed)).is_empty());
        }
    }

    #[test]
    fn stop_words_are_inserted_for_but_not_replaced() {
        let eda = Eda::new().unwrap();
        let views: Vec<String> = (0..200).map(|seed| eda.augment("a the of", &Seed::new(seed))).collect();
        let is_own = |word: &str| ["a", "the", "of"].contains(&word);
        // Of the three only "a" is in WordNet, as ångström, vitamin A and others.
        assert!(views.iter().any(|view| view.contains("angstrom")));
        for view in &views {
            let others = view.split(' ').filter(|word| !is_own(word)).count();
            let own = view.split(' ').filter(|word| is_own(word)).count();
            assert!(others == 0 || own >= 3, "a stop word was replaced: {view:?}");
        }
    }
}

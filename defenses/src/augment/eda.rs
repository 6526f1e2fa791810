//! Easy data augmentation of captions.
//!
//! Wei, Zou, "EDA: Easy Data Augmentation Techniques for Boosting Performance on Text Classification Tasks",
//! EMNLP 2019, arXiv 1901.11196. Their stop words are not needed: the table of synonyms holds none.

use std::collections::{BTreeMap, BTreeSet};

use clip::Seed;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};

/// EDA's α of all four techniques: the share of words that change.
const ALPHA: f64 = 0.1;

/// How often random insertion looks for a word that has synonyms.
const TRIES: usize = 10;

/// How often random swap looks for another word.
const SWAP_TRIES: usize = 4;

/// EDA with a table of synonyms.
pub(crate) struct Eda {
    synonyms: BTreeMap<&'static str, Vec<&'static str>>,
}

impl Eda {
    /// With the synonyms in `assets/synonyms.txt`.
    pub(crate) fn new() -> Self {
        let mut synonyms = BTreeMap::<_, Vec<_>>::new();
        let lines = include_str!("../../assets/synonyms.txt").lines();
        for line in lines.filter(|line| !line.starts_with('#')) {
            let group: Vec<&str> = line.split(',').map(str::trim).collect();
            for word in &group {
                synonyms.entry(*word).or_default().extend(group.iter().filter(|other| *other != word));
            }
        }
        Self { synonyms }
    }

    /// The caption after one of the four techniques, drawn at random: letters of a to z in lower case and single
    /// spaces. A caption without such letters stays as it is.
    pub(crate) fn augment(&self, caption: &str, seed: &Seed) -> String {
        let cleaned = only_letters(caption);
        let words: Vec<&str> = cleaned.split_whitespace().collect();
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

    fn of(&self, word: &str) -> &[&'static str] {
        self.synonyms.get(word).map_or(&[], Vec::as_slice)
    }

    /// Synonym replacement: `count` distinct words, everywhere they stand.
    fn replace<'a>(&self, mut words: Vec<&'a str>, count: usize, rng: &mut impl Rng) -> Vec<&'a str> {
        let known: BTreeSet<&str> = words.iter().copied().filter(|word| !self.of(word).is_empty()).collect();
        let mut known: Vec<&str> = known.into_iter().collect();
        known.shuffle(rng);
        for old in known.into_iter().take(count) {
            if let Some(new) = self.of(old).choose(rng) {
                words.iter_mut().filter(|word| **word == old).for_each(|word| *word = new);
            }
        }
        words
    }

    /// Random insertion: `count` times a synonym of some word goes to some place.
    fn insert<'a>(&self, mut words: Vec<&'a str>, count: usize, rng: &mut impl Rng) -> Vec<&'a str> {
        for _ in 0..count {
            let synonym = (0..TRIES).find_map(|_| self.of(words[rng.random_range(0..words.len())]).first());
            if let Some(synonym) = synonym {
                words.insert(rng.random_range(0..words.len()), synonym);
            }
        }
        words
    }
}

/// Random swap: `count` times two words change places.
fn swap<'a>(mut words: Vec<&'a str>, count: usize, rng: &mut impl Rng) -> Vec<&'a str> {
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
fn delete<'a>(words: Vec<&'a str>, rng: &mut impl Rng) -> Vec<&'a str> {
    let last = words[rng.random_range(0..words.len())];
    let kept: Vec<&str> = words.into_iter().filter(|_| rng.random::<f64>() > ALPHA).collect();
    if kept.is_empty() { vec![last] } else { kept }
}

/// EDA's `get_only_chars`: apostrophes vanish, what is no letter of a to z becomes a space.
fn only_letters(text: &str) -> String {
    let letters = text.to_lowercase().replace(['\'', '’'], "");
    letters.chars().map(|letter| if letter.is_ascii_lowercase() { letter } else { ' ' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPTION: &str = "A photo of a large dog, and a small cat on a striped background.";

    fn views() -> Vec<String> {
        let eda = Eda::new();
        (0..400).map(|seed| eda.augment(CAPTION, &Seed::new(seed))).collect()
    }

    #[test]
    fn each_technique_is_applied() {
        let original = only_letters(CAPTION).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (mut replaced, mut inserted, mut swapped, mut deleted) = (0, 0, 0, 0);
        for view in views() {
            let words: Vec<&str> = view.split(' ').collect();
            let sorted = |words: &[&str]| {
                let mut words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
                words.sort();
                words
            };
            let mut originals = original.clone();
            originals.sort();
            match words.len().cmp(&original.len()) {
                std::cmp::Ordering::Less => deleted += 1,
                std::cmp::Ordering::Greater => inserted += 1,
                std::cmp::Ordering::Equal if sorted(&words) == originals => swapped += 1,
                std::cmp::Ordering::Equal => replaced += 1,
            }
        }
        // Deletion leaves 0.9¹³ of its captions whole; they look like swaps.
        for (count, name) in
            [(replaced, "replaced"), (inserted, "inserted"), (swapped, "swapped"), (deleted, "deleted")]
        {
            assert!((60..=150).contains(&count), "{count} of 400 {name}");
        }
    }

    #[test]
    fn a_view_is_a_function_of_caption_and_seed() {
        assert_eq!(views(), views());
        assert!(views().iter().all(|view| !view.is_empty() && !view.contains("  ")));
    }

    #[test]
    fn captions_of_few_or_no_words_pass() {
        let eda = Eda::new();
        for seed in 0..20 {
            assert_eq!(eda.augment("42 !", &Seed::new(seed)), "42 !");
            assert_eq!(eda.augment("", &Seed::new(seed)), "");
            assert!(!eda.augment("Xylophone", &Seed::new(seed)).is_empty());
        }
    }

    #[test]
    fn synonyms_go_both_ways() {
        let eda = Eda::new();
        assert!(eda.of("photo").contains(&"picture") && eda.of("picture").contains(&"photo"));
        assert!(eda.of("a").is_empty());
        for (word, others) in &eda.synonyms {
            assert!(!others.is_empty() && !others.contains(word), "{word}");
        }
    }
}

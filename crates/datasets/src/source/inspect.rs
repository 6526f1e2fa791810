//! What a data set of files holds, for `cleanbench data inspect`.

use std::collections::{BTreeMap, HashSet};

use clip::candle_core;
use clip::{BadSample, Tokenizer};
use rayon::prelude::*;

use super::manifest::Manifest;
use super::samples::Samples;

/// Bad samples that are named.
const NAMED: usize = 10;
/// Pixels of a side up to which a class of the histogram goes.
pub const SIDES: [usize; 8] = [32, 64, 128, 224, 256, 512, 1024, usize::MAX];

/// How many images have a short and a long side within each class of [`SIDES`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sizes {
    /// By the width.
    pub widths: [usize; SIDES.len()],
    /// By the height.
    pub heights: [usize; SIDES.len()],
}

impl Sizes {
    fn count(&mut self, [width, height]: [usize; 2]) {
        let class = |side: usize| SIDES.iter().position(|most| side <= *most).unwrap_or(SIDES.len() - 1);
        self.widths[class(width)] += 1;
        self.heights[class(height)] += 1;
    }
}

/// Captions' lengths in characters, and how often one is another's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Captions {
    /// Shortest, first quartile, median, third quartile, 99th percentile, longest.
    pub lengths: [usize; 6],
    /// How many are the same as an earlier one.
    pub repeated: usize,
    /// How many CLIP's cleaning changes otherwise than in their white space ([`clip::clean`]).
    pub cleaned: usize,
    /// The first of those: key, caption and what becomes of it.
    pub first_cleaned: Vec<[String; 3]>,
    /// How many have more than [`LONGEST`] tokens. They are cut and keep the end token, which the released code loses.
    pub cut: usize,
}

/// Tokens of a caption that CLIP sees, start and end included.
pub const LONGEST: usize = 77;
/// Cleaned captions that are shown.
const SHOWN: usize = 3;

/// What was found.
#[derive(Debug)]
pub struct Inspection {
    /// How many samples there are.
    pub samples: usize,
    /// How many of them are of each label; empty for pairs.
    pub labels: Vec<usize>,
    /// `None` for labelled images.
    pub captions: Option<Captions>,
    /// How many images were read.
    pub checked: usize,
    /// Bytes of those, as they lie on disk.
    pub checked_bytes: u64,
    /// Sizes of those.
    pub sizes: Sizes,
    /// How many samples are bad, by reason: all that the index knows of, and what reading images showed.
    pub bad: BTreeMap<String, usize>,
    /// The first of those, in words.
    pub named: Vec<String>,
    /// The larger of the bad share of the index and of the images that were read, in [0, 1].
    pub bad_share: f64,
    /// BLAKE3 of keys and captions or labels in order, and, where every image was read, of their hashes.
    pub hash: String,
    /// Of how many pairs that a manifest lists, how many are there, and how many of those are others than listed as
    /// far as captions and the images that were read say.
    pub coverage: Option<[usize; 3]>,
}

/// Looks at every sample's caption or label and reads `check` images, evenly spread; `done` is told of each.
pub fn inspect(
    samples: &Samples,
    classes: usize,
    check: usize,
    manifest: Option<&Manifest>,
    done: &(dyn Fn() + Sync),
) -> candle_core::Result<Inspection> {
    let (count, check) = (samples.len(), check.min(samples.len()));
    let chosen: Vec<usize> = (0..check).map(|at| at * count / check.max(1)).collect();
    let look = |index: &usize| -> candle_core::Result<_> {
        let image = samples.image(*index);
        done();
        let (image, bytes) = (image?, samples.encoded(*index).map_or(0, |bytes| bytes.len() as u64));
        Ok((image.hash(), [image.width(), image.height()], bytes))
    };
    let looked: Vec<_> = chosen.par_iter().map(look).collect();
    let (mut sizes, mut checked_bytes) = (Sizes::default(), 0);
    for (_, sides, bytes) in looked.iter().flatten() {
        sizes.count(*sides);
        checked_bytes += bytes;
    }

    let mut bad: BTreeMap<String, usize> = BTreeMap::new();
    let mut named = Vec::new();
    let mut count_bad = |reason: String, what: String| {
        *bad.entry(reason).or_default() += 1;
        if named.len() < NAMED {
            named.push(what);
        }
    };
    let mut known = 0;
    for index in 0..count {
        if let Some(reason) = samples.bad(index) {
            known += 1;
            count_bad(reason.to_string(), format!("{}: {reason}", samples.read_from(index)));
        }
    }
    let mut failed = 0;
    for (index, looked) in chosen.iter().zip(&looked) {
        let Err(error) = looked else { continue };
        failed += 1;
        if samples.bad(*index).is_none() {
            let reason =
                BadSample::of(error).map_or_else(|| "another".to_owned(), |reason| reason.to_string());
            count_bad(reason, base::describe(&anyhow::anyhow!("{error}")));
        }
    }
    let share = |bad: usize, of: usize| bad as f64 / of.max(1) as f64;
    let hashes = looked.iter().map(|looked| looked.as_ref().ok().map(|(hash, ..)| hash.as_str()));
    let read: Vec<(usize, &str)> =
        chosen.iter().zip(hashes).filter_map(|(index, hash)| Some((*index, hash?))).collect();
    Ok(Inspection {
        samples: count,
        labels: label_counts(samples, classes),
        captions: (classes == 0).then(|| captions(samples)).transpose()?,
        checked: check,
        checked_bytes,
        sizes,
        bad_share: share(known, count).max(share(failed, check)),
        bad,
        named,
        hash: content(samples, classes, (check == count).then_some(read.as_slice())),
        coverage: manifest.map(|manifest| coverage(samples, manifest, &read)),
    })
}

fn label_counts(samples: &Samples, classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    for label in (0..samples.len()).filter_map(|index| samples.label(index).ok()) {
        if let Some(count) = counts.get_mut(label) {
            *count += 1;
        }
    }
    counts
}

fn captions(samples: &Samples) -> candle_core::Result<Captions> {
    let (mut lengths, mut known, mut repeated) = (Vec::new(), HashSet::new(), 0);
    let (mut cleaned, mut first_cleaned, mut cut) = (0, Vec::new(), 0);
    let tokenizer = Tokenizer::official()?;
    for index in 0..samples.len() {
        let Ok(caption) = samples.caption(index) else { continue };
        let clean = clip::clean(caption);
        if !clean.split(' ').eq(caption.split_whitespace()) {
            cleaned += 1;
            if first_cleaned.len() < SHOWN {
                first_cleaned.push([samples.key(index), caption, &clean].map(str::to_owned));
            }
        }
        // A token is of a byte at least.
        cut += usize::from(clean.len() + 2 > LONGEST && tokenizer.encode(&clean).len() > LONGEST);
        lengths.push(caption.chars().count());
        repeated += usize::from(!known.insert(blake3::hash(caption.as_bytes()).as_bytes()[..8].to_vec()));
    }
    lengths.sort_unstable();
    let at = |share: f64| {
        lengths.get(((lengths.len().max(1) - 1) as f64 * share).round() as usize).copied().unwrap_or(0)
    };
    let lengths = [0.0, 0.25, 0.5, 0.75, 0.99, 1.0].map(at);
    Ok(Captions { lengths, repeated, cleaned, first_cleaned, cut })
}

fn content(samples: &Samples, classes: usize, images: Option<&[(usize, &str)]>) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for index in 0..samples.len() {
        add(samples.key(index));
        match samples.label(index) {
            Ok(label) if classes > 0 => add(&label.to_string()),
            _ => add(samples.caption_text(index)),
        }
    }
    for (_, hash) in images.unwrap_or_default() {
        add(hash);
    }
    hasher.finalize().to_hex().to_string()
}

fn coverage(samples: &Samples, manifest: &Manifest, read: &[(usize, &str)]) -> [usize; 3] {
    let hashes: BTreeMap<usize, &str> = read.iter().copied().collect();
    let located = manifest.locate(samples);
    let there = located.iter().flatten().count();
    let changed = located.iter().enumerate().filter(|(row, at)| {
        at.is_some_and(|at| {
            let fingerprint = manifest.fingerprint(*row);
            let image = hashes.get(&(at as usize));
            !fingerprint.is_caption(samples.caption_text(at as usize))
                || image.is_some_and(|hash| !fingerprint.is_image_hash(hash))
        })
    });
    [located.len(), there, changed.count()]
}

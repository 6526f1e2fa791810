//! What was observed of a model on image–caption pairs: similarities and ranks, all that retrieval metrics need.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context, Result, ensure};
use clip::candle_core::{DType, Tensor};
use clip::kernels;
use polars::prelude::{Column, DataFrame, PlSmallStr};

use super::{Evidence, SIDES, booleans, numbers, scores, words};

/// How one pair fared among `N`, with its clean image or its triggered one (then among triggered images).
///
/// Ties: what scores as high as the right one is not above it, equal captions count as one right answer for all of
/// their images, and of several right answers the best counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairScored {
    /// Captions nearer to the image than its own.
    pub caption_rank: u32,
    /// Images nearer to the caption than the nearest of its own.
    pub image_rank: u32,
    /// Captions nearer to the image than the nearest that names the target; `N` where none does.
    pub target_rank: u32,
    /// Cosine similarity of image and caption.
    pub similarity: f32,
    /// Cosine similarity of the image and the target's prompts (their ensemble, as in zero-shot classification).
    pub target_similarity: f32,
}

/// Evidence from the pairs of one test set.
#[derive(Clone, Debug, PartialEq)]
pub struct PairEvidence {
    /// Whether the caption names the target, as a whole word.
    pub names_target: Vec<bool>,
    /// Of each pair with its clean image.
    pub clean: Vec<PairScored>,
    /// Of each pair with the trigger in its image.
    pub triggered: Vec<PairScored>,
    /// First 16 hexadecimal digits of BLAKE3 of each triggered image.
    pub triggered_images: Vec<String>,
}

/// Whether a caption names a class: its words stand there as they are, apart from case, and not as parts of others.
pub fn names(caption: &str, class: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let parts = text.split(|character: char| !character.is_alphanumeric());
        parts.filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
    };
    let (caption, class) = (words(caption), words(class));
    !class.is_empty() && caption.windows(class.len()).any(|window| window == class)
}

/// Distinct captions in order of appearance, and which of them each pair has.
pub fn distinct(captions: &[String]) -> (Vec<String>, Vec<usize>) {
    let (mut distinct, mut index) = (Vec::new(), HashMap::new());
    let numbers = captions.iter().map(|caption| {
        *index.entry(caption.as_str()).or_insert_with(|| {
            distinct.push(caption.clone());
            distinct.len() - 1
        })
    });
    let numbers = numbers.collect();
    (distinct, numbers)
}

/// What pairs are compared with.
pub struct Captions<'a> {
    /// Normalised features of the distinct captions `[M, E]`.
    pub features: &'a Tensor,
    /// Which of them each of the `N` pairs has.
    pub of_pairs: &'a [usize],
    /// Whether each distinct caption names the target.
    pub names_target: &'a [bool],
    /// Normalised features of the target's prompts `[1, E]`.
    pub target: &'a Tensor,
}

/// Images or captions compared at a time, so that memory does not grow with the square of the pairs.
const BLOCK: usize = 256;

/// Ranks and similarities of `N` pairs from image features `[N, E]`. An error names the pair whose similarities are
/// not finite.
pub fn compare(images: &Tensor, captions: &Captions<'_>) -> Result<Vec<PairScored>> {
    let (count, distinct) = (images.dim(0)?, captions.features.dim(0)?);
    ensure!(
        count == captions.of_pairs.len() && distinct == captions.names_target.len(),
        "{count} images and {distinct} captions for {} pairs",
        captions.of_pairs.len()
    );
    let images = kernels::l2_normalize(&images.to_dtype(DType::F32)?)?;
    let mut copies = vec![0u32; distinct];
    let mut own_images = vec![Vec::new(); distinct];
    for (pair, caption) in captions.of_pairs.iter().enumerate() {
        *copies.get_mut(*caption).with_context(|| format!("caption {caption} of {distinct}"))? += 1;
        own_images[*caption].push(pair);
    }
    let towards_target = kernels::linear(&images, captions.target, None)?.flatten_all()?.to_vec1::<f32>()?;
    let mut scored = Vec::with_capacity(count);
    for (pair, row) in rows(&images, captions.features)?.enumerate() {
        let (row, target_similarity) = (row?, towards_target[pair]);
        ensure!(
            target_similarity.is_finite() && row.iter().all(|similarity| similarity.is_finite()),
            "the similarities of pair {pair} are not finite"
        );
        let above = |bar: f32| -> u32 {
            row.iter()
                .zip(&copies)
                .filter(|(similarity, _)| **similarity > bar)
                .map(|(_, copies)| copies)
                .sum()
        };
        let named = row.iter().zip(captions.names_target).filter(|(_, names)| **names);
        let target = named.map(|(similarity, _)| *similarity).reduce(f32::max);
        let similarity = row[captions.of_pairs[pair]];
        scored.push(PairScored {
            caption_rank: above(similarity),
            image_rank: 0,
            target_rank: target.map_or(count as u32, above),
            similarity,
            target_similarity,
        });
    }
    for (caption, row) in rows(captions.features, &images)?.enumerate() {
        let (row, own) = (row?, &own_images[caption]);
        let Some(best) = own.iter().map(|image| row[*image]).reduce(f32::max) else { continue };
        let rank = row.iter().filter(|similarity| **similarity > best).count() as u32;
        own.iter().for_each(|pair| scored[*pair].image_rank = rank);
    }
    Ok(scored)
}

/// Rows of the product of `[A, E]` with `[B, E]` transposed, computed in blocks.
fn rows<'a>(a: &'a Tensor, b: &'a Tensor) -> Result<impl Iterator<Item = Result<Vec<f32>>> + 'a> {
    let count = a.dim(0)?;
    let block = move |start: usize| -> Result<Vec<Vec<f32>>> {
        let part = a.narrow(0, start, BLOCK.min(count - start))?.contiguous()?;
        Ok(kernels::linear(&part, b, None)?.to_vec2::<f32>()?)
    };
    Ok((0..count).step_by(BLOCK).flat_map(move |start| match block(start) {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    }))
}

/// The evidence on pairs as a table: one row per pair; `None` where there is none.
pub fn to_frame(evidence: &Evidence) -> Result<Option<DataFrame>> {
    let sets: Vec<_> = evidence.iter().filter_map(|set| Some((set, set.pairs.as_ref()?))).collect();
    let height: usize = sets.iter().map(|(_, pairs)| pairs.clean.len()).sum();
    if height == 0 {
        return Ok(None);
    }
    let names =
        sets.iter().flat_map(|(set, pairs)| std::iter::repeat_n(set.test_set.as_str(), pairs.clean.len()));
    let samples = sets.iter().flat_map(|(_, pairs)| 0..pairs.clean.len() as u32);
    let named = sets.iter().flat_map(|(_, pairs)| pairs.names_target.iter().copied());
    let mut columns = vec![
        Column::new("test_set".into(), names.collect::<Vec<_>>()),
        Column::new("sample".into(), samples.collect::<Vec<_>>()),
        Column::new("names_target".into(), named.collect::<Vec<_>>()),
    ];
    for (side, name) in SIDES.iter().enumerate() {
        let of = |pairs: &PairEvidence| if side == 0 { pairs.clean.clone() } else { pairs.triggered.clone() };
        let all: Vec<PairScored> = sets.iter().flat_map(|(_, pairs)| of(pairs)).collect();
        let column = |suffix: &str| PlSmallStr::from(format!("{name}_{suffix}"));
        let ranks = |rank: fn(&PairScored) -> u32| all.iter().map(rank).collect::<Vec<_>>();
        let similarities =
            |similarity: fn(&PairScored) -> f32| all.iter().map(similarity).collect::<Vec<_>>();
        columns.push(Column::new(column("caption_rank"), ranks(|pair| pair.caption_rank)));
        columns.push(Column::new(column("image_rank"), ranks(|pair| pair.image_rank)));
        columns.push(Column::new(column("target_rank"), ranks(|pair| pair.target_rank)));
        columns.push(Column::new(column("similarity"), similarities(|pair| pair.similarity)));
        columns.push(Column::new(column("target_similarity"), similarities(|pair| pair.target_similarity)));
    }
    let images = sets.iter().flat_map(|(_, pairs)| pairs.triggered_images.iter().map(String::as_str));
    columns.push(Column::new("triggered_image".into(), images.collect::<Vec<_>>()));
    Ok(Some(DataFrame::new(height, columns)?))
}

/// Puts what [`to_frame`] made back into the evidence on its test sets.
pub fn attach(evidence: &mut Evidence, frame: &DataFrame) -> Result<()> {
    let side = |name: &str| -> Result<Vec<PairScored>> {
        let ranks = |suffix: &str| numbers(frame, &format!("{name}_{suffix}_rank"));
        let (captions, images, targets) = (ranks("caption")?, ranks("image")?, ranks("target")?);
        let similarities = scores(frame, &format!("{name}_similarity"))?;
        let target_similarities = scores(frame, &format!("{name}_target_similarity"))?;
        let pair = |index: usize| PairScored {
            caption_rank: captions[index],
            image_rank: images[index],
            target_rank: targets[index],
            similarity: similarities[index],
            target_similarity: target_similarities[index],
        };
        Ok((0..captions.len()).map(pair).collect())
    };
    let (clean, triggered) = (side(SIDES[0])?, side(SIDES[1])?);
    let (named, images) = (booleans(frame, "names_target")?, words(frame, "triggered_image")?);
    let mut found: BTreeMap<String, PairEvidence> = BTreeMap::new();
    for (index, name) in words(frame, "test_set")?.into_iter().enumerate() {
        let pairs = found.entry(name).or_insert_with(|| PairEvidence {
            names_target: Vec::new(),
            clean: Vec::new(),
            triggered: Vec::new(),
            triggered_images: Vec::new(),
        });
        pairs.names_target.push(named[index]);
        pairs.clean.push(clean[index]);
        pairs.triggered.push(triggered[index]);
        pairs.triggered_images.push(images[index].clone());
    }
    for (name, pairs) in found {
        let set = evidence.iter_mut().find(|set| set.test_set == name);
        set.with_context(|| format!("evidence on pairs of {name:?}, of which there is none on images"))?
            .pairs = Some(pairs);
    }
    Ok(())
}

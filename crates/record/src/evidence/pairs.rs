//! What was observed of a model on image–caption pairs: similarities and ranks, all that retrieval metrics need.

use std::collections::HashMap;

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

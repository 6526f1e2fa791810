//! Compares images and captions of a test set's pairs.

use anyhow::{Context, Result, ensure};
use clip::candle_core::{DType, Tensor};
use clip::kernels;
use record::evidence::pairs::PairScored;

/// What pairs are compared with.
pub(super) struct Captions<'a> {
    /// Normalised features of the distinct captions `[M, E]`.
    pub(super) features: &'a Tensor,
    /// Which of them each of the `N` pairs has.
    pub(super) of_pairs: &'a [usize],
    /// Whether each distinct caption names the target.
    pub(super) names_target: &'a [bool],
    /// Normalised features of the target's prompts `[1, E]`.
    pub(super) target: &'a Tensor,
}

/// Images or captions compared at a time, so that memory does not grow with the square of the pairs.
const BLOCK: usize = 256;

/// Ranks and similarities of `N` pairs from image features `[N, E]`. An error names the pair whose similarities are
/// not finite.
pub(super) fn compare(images: &Tensor, captions: &Captions<'_>) -> Result<Vec<PairScored>> {
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

#[cfg(test)]
mod tests {
    use clip::candle_core::Device;
    use record::evidence::pairs;

    use super::*;

    /// Six pairs of four captions, two of which are equal and two of which name the target.
    fn retrieval() -> (Tensor, Tensor, Vec<String>) {
        let captions = ["a cat", "a Banana!", "a cat", "red bananas", "one banana here", "a dog"];
        let images: Vec<f32> = vec![1.0, 0.1, 0.2, 1.0, 0.9, 0.5, -1.0, 0.3, 0.0, -1.0, 0.7, 0.7];
        let texts: Vec<f32> = vec![1.0, 0.0, 0.0, 1.0, -0.8, 0.6, 0.6, -0.8, 0.6, 0.8];
        let tensor = |values: Vec<f32>| {
            let rows = values.len() / 2;
            Tensor::from_vec(values, (rows, 2), &Device::Cpu).expect("a tensor")
        };
        (tensor(images), tensor(texts), captions.map(str::to_owned).to_vec())
    }

    fn compared() -> Vec<PairScored> {
        let (images, texts, captions) = retrieval();
        let (distinct, of_pairs) = pairs::distinct(&captions);
        assert_eq!(of_pairs, [0, 1, 0, 2, 3, 4]);
        let names_target: Vec<bool> =
            distinct.iter().map(|caption| pairs::names(caption, "banana")).collect();
        assert_eq!(names_target, [false, true, false, true, false]);
        let target = Tensor::new(&[[0f32, 1.0]], &Device::Cpu).expect("a tensor");
        let captions =
            Captions { features: &texts, of_pairs: &of_pairs, names_target: &names_target, target: &target };
        compare(&images, &captions).expect("compared")
    }

    #[test]
    fn pairs_are_ranked_as_by_hand() {
        let scored = compared();
        let (images, texts, captions) = retrieval();
        let (images, texts) = (images.to_vec2::<f32>().expect("rows"), texts.to_vec2::<f32>().expect("rows"));
        let (_, of_pairs) = pairs::distinct(&captions);
        let cosine = |image: usize, pair: usize| {
            let (a, b) = (&images[image], &texts[of_pairs[pair]]);
            let norm = |v: &[f32]| f64::from(v[0]).hypot(f64::from(v[1]));
            (f64::from(a[0] * b[0]) + f64::from(a[1] * b[1])) / norm(a) / norm(b)
        };
        for (index, pair) in scored.iter().enumerate() {
            let own = cosine(index, index);
            assert!((f64::from(pair.similarity) - own).abs() < 1e-6);
            let equal = |other: usize| of_pairs[other] == of_pairs[index];
            let above = (0..6).filter(|other| !equal(*other) && cosine(index, *other) > own + 1e-6).count();
            assert_eq!(pair.caption_rank as usize, above, "captions above pair {index}");
            let best =
                (0..6).filter(|other| equal(*other)).map(|other| cosine(other, index)).fold(-1.0, f64::max);
            let above = (0..6).filter(|image| cosine(*image, index) > best + 1e-6).count();
            assert_eq!(pair.image_rank as usize, above, "images above pair {index}");
            let best = [1, 4].map(|named| cosine(index, named)).into_iter().fold(-1.0, f64::max);
            let above = (0..6).filter(|other| cosine(index, *other) > best + 1e-6).count();
            assert_eq!(pair.target_rank as usize, above, "captions above the target's, pair {index}");
        }
        assert_eq!(scored[0].image_rank, scored[2].image_rank, "equal captions share their best image");
    }

    #[test]
    fn similarities_that_are_not_numbers_are_refused() {
        let (images, texts, captions) = retrieval();
        let (_, of_pairs) = pairs::distinct(&captions);
        let target = Tensor::new(&[[f32::NAN, 1.0]], &Device::Cpu).expect("a tensor");
        let captions =
            Captions { features: &texts, of_pairs: &of_pairs, names_target: &[false; 5], target: &target };
        let error = compare(&images, &captions).expect_err("not finite").to_string();
        assert!(error.contains("pair 0"), "{error}");
    }
}

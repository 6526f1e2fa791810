//! Evidence on image–caption pairs as a table.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use polars_core::prelude::{Column, DataFrame, PlSmallStr};

use super::Evidence;
use super::pairs::{PairEvidence, PairScored};
use crate::columns::{SIDES, booleans, numbers, scores, words};

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

//! Embedding maps as a table.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use polars_core::prelude::{Column, DataFrame, PlSmallStr};

use super::Evidence;
use super::map::EmbeddingMap;
use crate::columns::{SIDES, booleans, numbers, scores, words};

/// Names of the two components in columns.
const AXES: [&str; 2] = ["x", "y"];

/// Maps as a table: one row per image; `None` where there is none.
pub fn to_frame(evidence: &Evidence) -> Result<Option<DataFrame>> {
    let sets: Vec<_> = evidence.iter().filter_map(|set| Some((&set.test_set, set.map.as_ref()?))).collect();
    let height: usize = sets.iter().map(|(_, map)| map.samples.len()).sum();
    if height == 0 {
        return Ok(None);
    }
    let names = sets.iter().flat_map(|(name, map)| std::iter::repeat_n(name.as_str(), map.samples.len()));
    let samples = sets.iter().flat_map(|(_, map)| map.samples.iter().copied());
    let of_target = sets.iter().flat_map(|(_, map)| map.of_target.iter().copied());
    let mut columns = vec![
        Column::new("test_set".into(), names.collect::<Vec<_>>()),
        Column::new("sample".into(), samples.collect::<Vec<_>>()),
        Column::new("of_target".into(), of_target.collect::<Vec<_>>()),
    ];
    for (side, name) in SIDES.iter().enumerate() {
        for (axis, letter) in AXES.iter().enumerate() {
            let places = sets.iter().flat_map(|(_, map)| if side == 0 { &map.clean } else { &map.triggered });
            let values: Vec<f32> = places.map(|place| place[axis]).collect();
            columns.push(Column::new(PlSmallStr::from(format!("{name}_{letter}")), values));
        }
    }
    for (axis, letter) in AXES.iter().enumerate() {
        let shares = sets.iter().flat_map(|(_, map)| vec![map.explained[axis]; map.samples.len()]);
        let name = PlSmallStr::from(format!("explained_{letter}"));
        columns.push(Column::new(name, shares.collect::<Vec<_>>()));
    }
    Ok(Some(DataFrame::new(height, columns)?))
}

/// The maps that [`to_frame`] wrote, by test set.
pub fn from_frame(frame: &DataFrame) -> Result<BTreeMap<String, EmbeddingMap>> {
    let [clean, triggered, explained] = [SIDES[0], SIDES[1], "explained"].map(|name| {
        let [x, y] = AXES.map(|letter| scores(frame, &format!("{name}_{letter}")));
        Ok::<_, anyhow::Error>(x?.into_iter().zip(y?).map(|(x, y)| [x, y]).collect::<Vec<_>>())
    });
    let (clean, triggered, explained) = (clean?, triggered?, explained?);
    let (samples, of_target) = (numbers(frame, "sample")?, booleans(frame, "of_target")?);
    let mut found: BTreeMap<String, EmbeddingMap> = BTreeMap::new();
    for (index, name) in words(frame, "test_set")?.into_iter().enumerate() {
        let map = found.entry(name).or_insert_with(|| EmbeddingMap {
            samples: Vec::new(),
            of_target: Vec::new(),
            clean: Vec::new(),
            triggered: Vec::new(),
            explained: explained[index],
        });
        map.samples.push(samples[index]);
        map.of_target.push(of_target[index]);
        map.clean.push(clean[index]);
        map.triggered.push(triggered[index]);
    }
    Ok(found)
}

/// Puts what [`to_frame`] made back into the evidence on its test sets.
pub fn attach(evidence: &mut Evidence, frame: &DataFrame) -> Result<()> {
    for (name, map) in from_frame(frame)? {
        let set = evidence.iter_mut().find(|set| set.test_set == name);
        set.with_context(|| format!("a map of {name:?}, of which there is no evidence"))?.map = Some(map);
    }
    Ok(())
}

//! What a model answered, sample by sample: everything that metrics need.

pub mod map;
pub mod map_table;
pub mod pair_table;
pub mod pairs;

use anyhow::{Result, bail, ensure};
use polars_core::prelude::{Column, DataFrame, PlSmallStr};

use crate::columns::{SIDES, numbers, scores, words};
pub use crate::columns::{read_parquet, stacked, write_parquet};
use map::EmbeddingMap;
use pairs::PairEvidence;

/// How one image fared.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// The highest-scoring class.
    pub prediction: u32,
    /// Classes that score higher than the label (or as high, with a lower number).
    pub label_rank: u32,
    /// Classes that score higher than the target (or as high, with a lower number).
    pub target_rank: u32,
    /// Score of the label: a cosine similarity, or a logit of a trained head.
    pub label_score: f32,
    /// Score of the target.
    pub target_score: f32,
}

/// Evidence from one test set.
#[derive(Clone, Debug, PartialEq)]
pub struct SetEvidence {
    /// Label of the test set in the plan.
    pub test_set: String,
    /// Number of the target class.
    pub target: u32,
    /// Number of classes.
    pub classes: u32,
    /// True class of each image.
    pub labels: Vec<u32>,
    /// Of each clean image.
    pub clean: Vec<Scored>,
    /// Of each image with the trigger.
    pub triggered: Vec<Scored>,
    /// First 16 hexadecimal digits of BLAKE3 of each triggered image.
    pub triggered_images: Vec<String>,
    /// Evidence from its image–caption pairs, where they were looked at.
    pub pairs: Option<PairEvidence>,
    /// Where its images lie, where they were mapped.
    pub map: Option<EmbeddingMap>,
}

/// Evidence from all test sets of a plan, in its order.
pub type Evidence = Vec<SetEvidence>;

/// Predictions and ranks from a row of `K` class scores for each image. An error names the image and the class whose
/// score is not finite, or the label or target outside `0..K`.
pub fn score(rows: &[Vec<f32>], labels: &[u32], target: u32) -> Result<Vec<Scored>> {
    ensure!(rows.len() == labels.len(), "{} rows of scores for {} labels", rows.len(), labels.len());
    rows.iter()
        .zip(labels)
        .enumerate()
        .map(|(image, (row, label))| {
            if let Some(class) = row.iter().position(|score| !score.is_finite()) {
                bail!("image {image}: the score of class {class} is {}", row[class]);
            }
            let (label, target) = (*label as usize, target as usize);
            ensure!(target < row.len(), "the target {target} is none of {} classes", row.len());
            ensure!(label < row.len(), "image {image}: its label {label} is none of {} classes", row.len());
            let rank = |class: usize| {
                let above = |(other, score): (usize, &f32)| {
                    *score > row[class] || (*score == row[class] && other < class)
                };
                row.iter().enumerate().filter(|pair| above(*pair)).count() as u32
            };
            let highest =
                (0..row.len()).reduce(|best, class| if row[class] > row[best] { class } else { best });
            Ok(Scored {
                prediction: highest.unwrap_or(0) as u32,
                label_rank: rank(label),
                target_rank: rank(target),
                label_score: row[label],
                target_score: row[target],
            })
        })
        .collect()
}

/// Evidence as a table: one row per image.
pub fn to_frame(evidence: &Evidence) -> Result<DataFrame> {
    let samples = || evidence.iter().flat_map(|set| (0..set.labels.len()).map(move |index| (set, index)));
    let names: Vec<&str> = samples().map(|(set, _)| set.test_set.as_str()).collect();
    let height = names.len();
    let each = |name: &str, value: fn((&SetEvidence, usize)) -> u32| {
        Column::new(name.into(), samples().map(value).collect::<Vec<_>>())
    };
    let mut columns = vec![
        Column::new("test_set".into(), names),
        each("target", |(set, _)| set.target),
        each("classes", |(set, _)| set.classes),
        each("sample", |(_, index)| index as u32),
        each("label", |(set, index)| set.labels[index]),
    ];
    for (side, name) in SIDES.iter().enumerate() {
        let side =
            || evidence.iter().flat_map(move |set| if side == 0 { &set.clean } else { &set.triggered });
        let column = |suffix: &str| PlSmallStr::from(format!("{name}_{suffix}"));
        let ranks = |suffix: &str, value: fn(&Scored) -> u32| {
            Column::new(column(suffix), side().map(value).collect::<Vec<_>>())
        };
        let scores = |suffix: &str, value: fn(&Scored) -> f32| {
            Column::new(column(suffix), side().map(value).collect::<Vec<_>>())
        };
        columns.extend([
            ranks("prediction", |sample| sample.prediction),
            ranks("label_rank", |sample| sample.label_rank),
            ranks("target_rank", |sample| sample.target_rank),
            scores("label_score", |sample| sample.label_score),
            scores("target_score", |sample| sample.target_score),
        ]);
    }
    let images: Vec<&str> =
        evidence.iter().flat_map(|set| set.triggered_images.iter().map(String::as_str)).collect();
    columns.push(Column::new("triggered_image".into(), images));
    Ok(DataFrame::new(height, columns)?)
}

/// Reads a table that [`to_frame`] made; an error names what no evidence can be.
pub fn from_frame(frame: &DataFrame) -> Result<Evidence> {
    let side = |name: &str| -> Result<Vec<Scored>> {
        let numbers = |suffix: &str| numbers(frame, &format!("{name}_{suffix}"));
        let scores = |suffix: &str| scores(frame, &format!("{name}_{suffix}"));
        let (prediction, label_rank) = (numbers("prediction")?, numbers("label_rank")?);
        let target_rank = numbers("target_rank")?;
        let (label_score, target_score) = (scores("label_score")?, scores("target_score")?);
        let sample = |index: usize| Scored {
            prediction: prediction[index],
            label_rank: label_rank[index],
            target_rank: target_rank[index],
            label_score: label_score[index],
            target_score: target_score[index],
        };
        Ok((0..prediction.len()).map(sample).collect())
    };
    let (clean, triggered) = (side(SIDES[0])?, side(SIDES[1])?);
    let numbers = |name: &str| numbers(frame, name);
    let (labels, targets, classes) = (numbers("label")?, numbers("target")?, numbers("classes")?);
    let (names, images) = (words(frame, "test_set")?, words(frame, "triggered_image")?);
    let mut evidence = Evidence::new();
    for index in 0..labels.len() {
        let (name, target, classes) = (&names[index], targets[index], classes[index]);
        ensure!(target < classes, "{name}: the target {target} is none of {classes} classes");
        let class = labels[index].max(clean[index].prediction).max(triggered[index].prediction);
        ensure!(class < classes, "{name}, row {index}: class {class} is none of {classes}");
        if evidence.last().is_none_or(|set| set.test_set != *name) {
            evidence.push(SetEvidence {
                test_set: name.clone(),
                target,
                classes,
                labels: Vec::new(),
                clean: Vec::new(),
                triggered: Vec::new(),
                triggered_images: Vec::new(),
                pairs: None,
                map: None,
            });
        }
        let Some(set) = evidence.last_mut() else { continue };
        set.labels.push(labels[index]);
        set.clean.push(clean[index]);
        set.triggered.push(triggered[index]);
        set.triggered_images.push(images[index].clone());
    }
    Ok(evidence)
}

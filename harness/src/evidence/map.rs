//! Where a model puts images, clean and triggered: the plane in which their features spread most. For figures; no
//! metric reads it.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use clip::candle_core::{DType, Tensor};
use clip::kernels;
use polars::prelude::{Column, DataFrame, PlSmallStr};

use super::{Evidence, SIDES, booleans, numbers, scores, words};

/// Images on a map at most, and how many of the target class among them come before all others.
pub const IMAGES: usize = 500;
const OF_TARGET: usize = 100;

/// The images of one test set on the first two principal components of their normalised features, the same two for
/// clean and triggered ones.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingMap {
    /// Numbers of the images in the test set.
    pub samples: Vec<u32>,
    /// Whether each is of the target class.
    pub of_target: Vec<bool>,
    /// Where each clean image lies, in units of the features, whose length is 1.
    pub clean: Vec<[f32; 2]>,
    /// Where each lies with the trigger.
    pub triggered: Vec<[f32; 2]>,
    /// Share of the features' variance along each component.
    pub explained: [f32; 2],
}

/// The images that go on a map: the first of the target class, then the first others; in the order of the test set.
pub fn chosen(labels: &[u32], target: u32) -> Vec<usize> {
    let of = |is_target: bool| (0..labels.len()).filter(move |index| (labels[*index] == target) == is_target);
    let mut chosen: Vec<usize> = of(true).take(OF_TARGET).chain(of(false)).take(IMAGES).collect();
    chosen.sort_unstable();
    chosen
}

/// The map of `samples` from the features `[N, E]` of their clean and their triggered images. The same on every
/// machine that computes the same features: sums are of f64 in a fixed order. Along both components the triggered
/// images lie on the side of positive numbers.
pub fn project(
    samples: &[usize],
    of_target: Vec<bool>,
    clean: &Tensor,
    triggered: &Tensor,
) -> Result<EmbeddingMap> {
    let count = samples.len();
    let features = Tensor::cat(&[clean, triggered], 0)?.to_dtype(DType::F32)?;
    let features = kernels::l2_normalize(&features)?.to_vec2::<f32>()?;
    ensure!(
        features.len() == 2 * count,
        "{} features of {count} images, clean and triggered",
        features.len()
    );
    let mut rows: Vec<Vec<f64>> =
        features.iter().map(|row| row.iter().map(|value| f64::from(*value)).collect()).collect();
    center(&mut rows);
    let whole: f64 = rows.iter().map(|row| dot(row, row)).sum();
    let mut axes = [vec![0.0; 2 * count], vec![0.0; 2 * count]];
    let mut explained = [0.0; 2];
    for (axis, share) in axes.iter_mut().zip(&mut explained) {
        *axis = component(&mut rows);
        let variance = dot(axis, axis);
        *share = if whole > 0.0 { (variance / whole) as f32 } else { 0.0 };
        let shift: f64 = axis[count..].iter().sum::<f64>() - axis[..count].iter().sum::<f64>();
        if shift < 0.0 {
            axis.iter_mut().for_each(|value| *value = -*value);
        }
    }
    let place = |row: usize| [axes[0][row] as f32, axes[1][row] as f32];
    Ok(EmbeddingMap {
        samples: samples.iter().map(|sample| *sample as u32).collect(),
        of_target,
        clean: (0..count).map(place).collect(),
        triggered: (count..2 * count).map(place).collect(),
        explained,
    })
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn center(rows: &mut [Vec<f64>]) {
    let count = rows.len().max(1) as f64;
    for column in 0..rows.first().map_or(0, Vec::len) {
        let mean = rows.iter().map(|row| row[column]).sum::<f64>() / count;
        rows.iter_mut().for_each(|row| row[column] -= mean);
    }
}

/// Steps of the power iteration at most; components that lie too near for them are as good as each other on a map.
const STEPS: usize = 500;
/// What a step may still change of a unit vector.
const SETTLED: f64 = 1e-9;

/// Coordinates of `rows` along their first principal component, which is then taken out of them.
fn component(rows: &mut [Vec<f64>]) -> Vec<f64> {
    let longest = rows.iter().map(|row| dot(row, row)).enumerate();
    let longest = longest.fold((0, 0.0), |best, row| if row.1 > best.1 { row } else { best });
    let mut axis: Vec<f64> = match rows.get(longest.0) {
        Some(row) if longest.1 > 0.0 => row.iter().map(|value| value / longest.1.sqrt()).collect(),
        _ => return vec![0.0; rows.len()],
    };
    for _ in 0..STEPS {
        let mut next = vec![0.0; axis.len()];
        for row in rows.iter() {
            let along = dot(row, &axis);
            next.iter_mut().zip(row).for_each(|(sum, value)| *sum += along * value);
        }
        let length = dot(&next, &next).sqrt();
        if length <= 0.0 {
            break;
        }
        next.iter_mut().for_each(|value| *value /= length);
        let change = next.iter().zip(&axis).map(|(new, old)| (new - old).abs()).fold(0.0, f64::max);
        axis = next;
        if change < SETTLED {
            break;
        }
    }
    let coordinates: Vec<f64> = rows.iter().map(|row| dot(row, &axis)).collect();
    for (row, along) in rows.iter_mut().zip(&coordinates) {
        row.iter_mut().zip(&axis).for_each(|(value, unit)| *value -= along * unit);
    }
    coordinates
}

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
    let mut columns = vec![
        Column::new("test_set".into(), names.collect::<Vec<_>>()),
        Column::new(
            "sample".into(),
            sets.iter().flat_map(|(_, map)| map.samples.clone()).collect::<Vec<_>>(),
        ),
        Column::new(
            "of_target".into(),
            sets.iter().flat_map(|(_, map)| map.of_target.clone()).collect::<Vec<_>>(),
        ),
    ];
    for (side, name) in SIDES.iter().enumerate() {
        for (axis, letter) in AXES.iter().enumerate() {
            let places = sets.iter().flat_map(|(_, map)| if side == 0 { &map.clean } else { &map.triggered });
            let values: Vec<f32> = places.map(|place| place[axis]).collect();
            columns.push(Column::new(PlSmallStr::from(format!("{name}_{letter}")), values));
        }
    }
    for (axis, letter) in AXES.iter().enumerate() {
        let shares =
            sets.iter().flat_map(|(_, map)| std::iter::repeat_n(map.explained[axis], map.samples.len()));
        columns
            .push(Column::new(PlSmallStr::from(format!("explained_{letter}")), shares.collect::<Vec<_>>()));
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

#[cfg(test)]
mod tests {
    use clip::candle_core::Device;

    use super::*;

    #[test]
    fn a_map_holds_the_target_class_and_the_first_others() {
        let labels: Vec<u32> = (0..2000).map(|index| u32::from(index % 10 != 7)).collect();
        let found = chosen(&labels, 0);
        assert_eq!(found.len(), IMAGES);
        assert_eq!(found.iter().filter(|index| labels[**index] == 0).count(), OF_TARGET);
        assert!(found.is_sorted() && found.contains(&0) && !found.contains(&500));
        assert_eq!(chosen(&[1, 0, 1], 0), [0, 1, 2]);
    }

    /// Features in a plane turned in space: distances on the map are those between them.
    #[test]
    fn a_plane_is_found_and_nothing_lost() -> Result<()> {
        let angles = [0.1f32, 0.4, 0.9, 1.6, 2.2];
        let point = |angle: f32| {
            let (sine, cosine) = angle.sin_cos();
            [0.6 * cosine, 0.8 * cosine, sine, 0.0]
        };
        let rows = |shift: f32| -> Result<Tensor> {
            let values: Vec<f32> = angles.iter().flat_map(|angle| point(angle + shift)).collect();
            Ok(Tensor::from_vec(values, (angles.len(), 4), &Device::Cpu)?)
        };
        let map = project(&[0, 1, 2, 3, 4], vec![false; 5], &rows(0.0)?, &rows(0.3)?)?;
        assert!((map.explained[0] + map.explained[1] - 1.0).abs() < 1e-5, "{:?}", map.explained);
        assert!(map.explained[0] > map.explained[1]);
        let distance = |a: [f32; 2], b: [f32; 2]| ((a[0] - b[0]).powi(2) + (a[1] - b[1]).powi(2)).sqrt();
        let chord = |angle: f32| 2.0 * (angle / 2.0).sin();
        for (index, angle) in angles.iter().enumerate() {
            let own = distance(map.clean[index], map.triggered[index]);
            assert!((own - chord(0.3)).abs() < 1e-5, "{own}");
            let other = distance(map.clean[0], map.clean[index]);
            assert!((other - chord(angle - angles[0])).abs() < 1e-5, "{other}");
        }
        Ok(())
    }

    #[test]
    fn images_that_are_all_the_same_lie_on_one_point() -> Result<()> {
        let rows = Tensor::ones((3, 4), DType::F32, &Device::Cpu)?;
        let map = project(&[0, 1, 2], vec![true; 3], &rows, &rows)?;
        assert!(map.clean.iter().chain(&map.triggered).flatten().all(|value| value.abs() < 1e-6));
        assert!(map.explained.iter().all(|share| share.is_finite()));
        Ok(())
    }
}

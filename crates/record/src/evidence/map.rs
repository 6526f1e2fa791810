//! Where a model puts images, clean and triggered: the plane in which their features spread most. For figures; no
//! metric reads it.

use anyhow::{Result, ensure};

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

/// The map of `N` samples from `2 N` normalised features of length `E`: those of the clean images, then those of the
/// triggered ones. Sums are of f64 in a fixed order, so equal features give equal maps on every machine. Along both
/// components the triggered images have the larger mean.
pub fn project(samples: &[usize], of_target: Vec<bool>, features: &[Vec<f32>]) -> Result<EmbeddingMap> {
    let count = samples.len();
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

#[cfg(test)]
mod tests {
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
        let rows = |shift: f32| angles.map(|angle| point(angle + shift).to_vec());
        let map = project(&[0, 1, 2, 3, 4], vec![false; 5], &[rows(0.0), rows(0.3)].concat())?;
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
        let map = project(&[0, 1, 2], vec![true; 3], &vec![vec![0.5; 4]; 6])?;
        assert!(map.clean.iter().chain(&map.triggered).flatten().all(|value| value.abs() < 1e-6));
        assert!(map.explained.iter().all(|share| share.is_finite()));
        Ok(())
    }
}

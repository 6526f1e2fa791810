//! Frontiers: the clean accuracy that a defense keeps at a given attack success rate, over its learning rates (or
//! whatever else is swept) and epochs. One setting is not a result: a few points of accuracy turn a success rate of
//! 36 % into 0.7 % (Verma et al., arXiv 2311.14948).

use std::collections::BTreeMap;

use record::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use record::statistics::rounded;
use record::{Design, Row};

use crate::mean::Mean;

/// A model that a defense made: one setting after one epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    attack: String,
    defense: String,
    seed: u64,
    epoch: Option<usize>,
}

/// Clean accuracy and attack success rate of every model under its own trigger, by test set.
#[derive(Clone, Default)]
pub(crate) struct Points(BTreeMap<String, BTreeMap<Place, [Option<f64>; 2]>>);

/// A model by its clean accuracy and attack success rate on the set that models are chosen on.
type Model<'a> = ([f64; 2], &'a Place);

/// What a family of settings reaches at a success rate of at most so much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reached {
    /// Clean accuracy of the chosen models; `None` where no seed has one.
    pub accuracy: Option<Mean>,
    /// Attack success rate of the same models.
    pub success: Option<Mean>,
    /// Seeds in which some model stays below the cap.
    pub reached: usize,
    /// Seeds in all.
    pub seeds: usize,
}

impl Points {
    pub(crate) fn of(rows: &[Row]) -> Self {
        let mut points = Self::default();
        for row in rows.iter().filter(|row| row.trigger == row.attack) {
            let axis = match row.metric.as_str() {
                CLEAN_ACCURACY => 0,
                ATTACK_SUCCESS_RATE => 1,
                _ => continue,
            };
            let Row { attack, defense, seed, epoch, test_set, value, .. } = row.clone();
            let place = Place { attack, defense, seed, epoch };
            points.0.entry(test_set).or_default().entry(place).or_default()[axis] = value;
        }
        points
    }

    /// By seed the models of `family` whose values on the set that models are chosen on are known.
    fn models(&self, design: &Design, attack: &str, family: &str) -> Option<BTreeMap<u64, Vec<Model<'_>>>> {
        let own = |place: &Place| {
            place.attack == attack && design.family(family).any(|defense| defense.label == place.defense)
        };
        let mut models: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (place, values) in self.0.get(chooser(design).0)?.iter().filter(|(place, _)| own(place)) {
            if let [Some(accuracy), Some(success)] = values {
                models.entry(place.seed).or_default().push(([*accuracy, *success], place));
            }
        }
        Some(models)
    }

    /// Clean accuracy and success rate of a model on the set judged.
    fn judged(&self, design: &Design, place: &Place) -> Option<[f64; 2]> {
        let [accuracy, success] = self.0.get(design.judged())?.get(place)?;
        Some([(*accuracy)?, (*success)?])
    }

    /// For each seed the model of `family` with the highest accuracy among those whose success rate is at most
    /// `cap`, both on the set that models are chosen on: its clean accuracy and success rate on the set judged; `None`
    /// where no model of that seed stays below.
    pub(crate) fn chosen(
        &self,
        design: &Design,
        attack: &str,
        family: &str,
        cap: f64,
    ) -> Option<BTreeMap<u64, Option<[f64; 2]>>> {
        self.0.get(design.judged())?;
        let best = |models: Vec<Model<'_>>| {
            let below = models.into_iter().filter(|([_, success], _)| rounded(*success) <= cap);
            // The first of equally good ones.
            let (_, place) = below.reduce(|best, other| if other.0[0] > best.0[0] { other } else { best })?;
            self.judged(design, place)
        };
        let models = self.models(design, attack, family)?;
        Some(models.into_iter().map(|(seed, models)| (seed, best(models))).collect())
    }

    /// The area that the front of `family` dominates, mean over seeds, in [0, 1]: of all clean accuracies and success
    /// rates the share that one of its models is at least as good as (reference point: accuracy 0, success rate 1).
    /// The front is that of the set where models are chosen; the values are those of its models on the set judged.
    pub(crate) fn hypervolume(&self, design: &Design, attack: &str, family: &str) -> Option<Mean> {
        self.0.get(design.judged())?;
        let area = |models: Vec<Model<'_>>| {
            let chosen = front(models).into_iter();
            let front =
                front(chosen.filter_map(|(_, place)| Some((self.judged(design, place)?, ()))).collect());
            let ends = front.iter().skip(1).map(|([_, success], ())| *success).chain([1.0]);
            let steps = front.iter().zip(ends);
            steps.map(|(([accuracy, success], ()), end)| accuracy * (end - success)).sum::<f64>()
        };
        let models = self.models(design, attack, family)?;
        Mean::of(&models.into_values().map(area).collect::<Vec<f64>>())
    }

    /// What `family` reaches at a success rate of at most `cap`: means over seeds of [`Points::chosen`].
    pub(crate) fn reached(&self, design: &Design, attack: &str, family: &str, cap: f64) -> Option<Reached> {
        let chosen = self.chosen(design, attack, family, cap)?;
        let models = chosen.values().flatten().map(|[accuracy, success]| (*accuracy, *success));
        let (accuracies, successes): (Vec<f64>, Vec<f64>) = models.unzip();
        (!chosen.is_empty()).then(|| Reached {
            accuracy: Mean::of(&accuracies),
            success: Mean::of(&successes),
            reached: accuracies.len(),
            seeds: chosen.len(),
        })
    }
}

/// The points that no other beats in both, by rising success rate: accuracy rises with it.
pub(crate) fn front<T>(mut points: Vec<([f64; 2], T)>) -> Vec<([f64; 2], T)> {
    points.sort_by(|([a, b], _), ([c, d], _)| b.total_cmp(d).then(c.total_cmp(a)));
    let mut best = f64::NEG_INFINITY;
    points.retain(|([accuracy, _], _)| {
        let beats = *accuracy > best;
        best = best.max(*accuracy);
        beats
    });
    points
}

/// The test set that models are chosen on, and whether it differs from the one judged: the first later set of the
/// validation split, otherwise the judged set itself.
pub(crate) fn chooser(design: &Design) -> (&str, bool) {
    let apart = design.tests.iter().skip(1).find(|test| test.split == "validation");
    (apart.map_or(design.judged(), |test| &test.label), apart.is_some())
}

#[cfg(test)]
mod tests {
    use super::front;

    #[test]
    fn a_front_is_what_nothing_beats_in_both() {
        let points = [[0.5, 0.2], [0.4, 0.2], [0.6, 0.9], [0.3, 0.1], [0.55, 0.95]].map(|point| (point, ()));
        let found: Vec<[f64; 2]> = front(points.to_vec()).into_iter().map(|(point, ())| point).collect();
        assert_eq!(found, [[0.3, 0.1], [0.5, 0.2], [0.6, 0.9]]);
    }
}

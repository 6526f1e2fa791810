//! What a difference between few values is worth: intervals, Welch's test, equivalence, and exact tests on pairs.

use clip::Seed;
use rand::Rng;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// Mean of some values; `None` where there are none.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Variance (n − 1) of two values or more.
pub(crate) fn variance(values: &[f64]) -> Option<f64> {
    let mean = mean(values).filter(|_| values.len() > 1)?;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some(squares / (values.len() - 1) as f64)
}

/// Student's t-distribution; `None` for degrees of freedom that it does not have.
fn student(degrees: f64) -> Option<StudentsT> {
    StudentsT::new(0.0, 1.0, degrees).ok()
}

/// The interval that holds the mean with probability `level` if the values are normally distributed (Student, 1908);
/// `None` for fewer than two values.
pub fn mean_interval(values: &[f64], level: f64) -> Option<[f64; 2]> {
    let (mean, count) = (mean(values)?, values.len() as f64);
    let reach = student(count - 1.0)?.inverse_cdf(0.5 + level / 2.0) * (variance(values)? / count).sqrt();
    Some([mean - reach, mean + reach])
}

/// The difference of two means without the assumption of equal variances (Welch, 1947).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Welch {
    /// Mean of the first values less that of the second.
    pub difference: f64,
    /// Its standard error.
    pub error: f64,
    /// Degrees of freedom, by Welch and Satterthwaite.
    pub degrees: f64,
}

impl Welch {
    /// Of two groups of two values or more that are not all alike; otherwise `None`.
    pub fn of(first: &[f64], second: &[f64]) -> Option<Self> {
        let [a, b] =
            [first, second].map(|values| Some((variance(values)? / values.len() as f64, values.len())));
        let ((a, of_a), (b, of_b)) = (a?, b?);
        let degrees = (a + b).powi(2) / (a.powi(2) / (of_a - 1) as f64 + b.powi(2) / (of_b - 1) as f64);
        let difference = mean(first)? - mean(second)?;
        degrees.is_finite().then_some(Self { difference, error: (a + b).sqrt(), degrees })
    }

    /// Two-sided p-value of the hypothesis that the means are equal.
    pub fn p_value(&self) -> Option<f64> {
        Some((2.0 * student(self.degrees)?.cdf(-(self.difference / self.error).abs())).min(1.0))
    }

    /// The interval that holds the difference with probability `level`.
    pub fn interval(&self, level: f64) -> Option<[f64; 2]> {
        let reach = student(self.degrees)?.inverse_cdf(0.5 + level / 2.0) * self.error;
        Some([self.difference - reach, self.difference + reach])
    }

    /// p-value of the hypothesis that the means differ by `margin` or more: equivalence by two one-sided tests
    /// (Schuirmann, 1987).
    pub fn equivalence(&self, margin: f64) -> Option<f64> {
        let student = student(self.degrees)?;
        let below = 1.0 - student.cdf((self.difference + margin) / self.error);
        let above = student.cdf((self.difference - margin) / self.error);
        Some(below.max(above))
    }
}

/// Two-sided exact p-value of the sign test on paired differences; those of 0 say nothing and are left out. `None`
/// where none is left.
pub fn sign_test(differences: &[f64]) -> Option<f64> {
    let positive = differences.iter().filter(|difference| **difference > 0.0).count();
    let count = differences.iter().filter(|difference| **difference != 0.0).count();
    two_sided(&sums(&vec![1; count])?, positive)
}

/// Two-sided exact p-value of Wilcoxon's signed-rank test on paired differences (Wilcoxon, 1945): those of 0 are left
/// out, equal ones share their mean rank, and the distribution is that of all signs of these very ranks. `None` where
/// no difference is left.
pub fn wilcoxon(differences: &[f64]) -> Option<f64> {
    let mut ordered: Vec<f64> = differences.iter().copied().filter(|difference| *difference != 0.0).collect();
    ordered.sort_by(|a, b| a.abs().total_cmp(&b.abs()));
    let (mut ranks, mut positive) = (Vec::with_capacity(ordered.len()), 0);
    for equal in ordered.chunk_by(|a, b| a.abs() == b.abs()) {
        let twice = 2 * ranks.len() + equal.len() + 1; // twice the mean rank, a whole number
        positive += twice * equal.iter().filter(|difference| **difference > 0.0).count();
        ranks.extend(std::iter::repeat_n(twice, equal.len()));
    }
    two_sided(&sums(&ranks)?, positive)
}

/// Probability of every sum of the ranks whose sign is positive, if each sign is as likely as the other.
fn sums(ranks: &[usize]) -> Option<Vec<f64>> {
    let mut chances = vec![0.0; ranks.iter().sum::<usize>() + 1];
    *chances.first_mut()? = 1.0;
    for rank in ranks {
        for sum in (0..chances.len()).rev() {
            let with = sum.checked_sub(*rank).map_or(0.0, |without| chances[without]);
            chances[sum] = (chances[sum] + with) / 2.0;
        }
    }
    (!ranks.is_empty()).then_some(chances)
}

fn two_sided(chances: &[f64], found: usize) -> Option<f64> {
    let below: f64 = chances.get(..=found)?.iter().sum();
    let above: f64 = chances.get(found..)?.iter().sum();
    Some((2.0 * below.min(above)).min(1.0))
}

/// Times that [`bootstrap_interval`] draws.
const RESAMPLES: usize = 10_000;

/// The interval that holds the mean with about probability `level`, by the percentile bootstrap (Efron, 1979); `None`
/// for fewer than two values.
pub fn bootstrap_interval(values: &[f64], level: f64, seed: &Seed) -> Option<[f64; 2]> {
    if values.len() < 2 {
        return None;
    }
    let mut rng = seed.child("bootstrap").rng();
    let mut drawn = || values[rng.random_range(0..values.len())];
    let mut means: Vec<f64> = (0..RESAMPLES)
        .map(|_| (0..values.len()).map(|_| drawn()).sum::<f64>() / values.len() as f64)
        .collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[((RESAMPLES as f64 - 1.0) * share).round() as usize];
    Some([at((1.0 - level) / 2.0), at((1.0 + level) / 2.0)])
}

/// p-values corrected for their number by Holm's method (1979), in their order.
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let (mut corrected, mut highest) = (vec![0.0; p_values.len()], 0.0f64);
    for (rank, index) in order.into_iter().enumerate() {
        highest = highest.max(p_values[index] * (p_values.len() - rank) as f64).min(1.0);
        corrected[index] = highest;
    }
    corrected
}

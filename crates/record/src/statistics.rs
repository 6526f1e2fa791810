//! Intervals and exact tests for a handful of seeds.

use base::Seed;
use rand::Rng;
use statrs::distribution::{ContinuousCDF, StudentsT};

/// A value in twelve decimals. Shares of samples and their differences and means differ from each other by far more or
/// not at all, but 0.7 − 0.2 is not 0.5 in floating point: values are rounded before they are held against each other
/// or against a threshold.
pub fn rounded(value: f64) -> f64 {
    (value * 1e12).round() / 1e12
}

/// Mean of some values; `None` where there are none.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Variance (n − 1) of two values or more.
pub fn variance(values: &[f64]) -> Option<f64> {
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

/// The interval that contains the difference of two means (first less second) with probability `level`, without the
/// assumption of equal variances (Welch, 1947; degrees of freedom by Satterthwaite). `None` unless both groups have two
/// values that are not all equal.
pub fn welch_interval(first: &[f64], second: &[f64], level: f64) -> Option<[f64; 2]> {
    let squared_error = |values: &[f64]| Some(variance(values)? / values.len() as f64);
    let (a, b) = (squared_error(first)?, squared_error(second)?);
    let degrees = |error: f64, values: &[f64]| error.powi(2) / (values.len() - 1) as f64;
    let degrees = (a + b).powi(2) / (degrees(a, first) + degrees(b, second));
    let difference = mean(first)? - mean(second)?;
    let reach = student(Some(degrees).filter(|degrees| degrees.is_finite())?)?.inverse_cdf(0.5 + level / 2.0);
    let reach = reach * (a + b).sqrt();
    Some([difference - reach, difference + reach])
}

/// Two-sided exact p-value of the sign test on paired differences, [`rounded`]; those of 0 say nothing and are left out.
/// `None` where none is left.
pub fn sign_test(differences: &[f64]) -> Option<f64> {
    let differences = without_zeros(differences);
    let positive = differences.iter().filter(|difference| **difference > 0.0).count();
    two_sided(&sums(&vec![1; differences.len()])?, positive)
}

fn without_zeros(differences: &[f64]) -> Vec<f64> {
    differences
        .iter()
        .map(|difference| rounded(*difference))
        .filter(|difference| *difference != 0.0)
        .collect()
}

/// Two-sided exact p-value of Wilcoxon's signed-rank test on paired differences (Wilcoxon, 1945), [`rounded`]: those of
/// 0 are left out, equal ones share their mean rank, and the distribution is that of all signs of these very ranks.
/// `None` where no difference is left.
pub fn wilcoxon(differences: &[f64]) -> Option<f64> {
    let mut ordered = without_zeros(differences);
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

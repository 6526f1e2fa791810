//! How many pairs an attack edits, and which.

use anyhow::{Result, bail, ensure};
use clip::Seed;
use contract::{AttackerView, Edit, ImageEdit};
use rand::Rng;
use rand::seq::SliceRandom;

/// How many pairs are edited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Budget {
    /// So many.
    Count(usize),
    /// This share of all training pairs, in (0, 1].
    Rate(f64),
}

impl Budget {
    /// From the settings `poison-count` and `poison-rate`, of which exactly one must be given.
    pub(crate) fn new(count: Option<usize>, rate: Option<f64>) -> Result<Self> {
        match (count, rate) {
            (Some(0), None) => bail!("poison-count must be at least 1; attack \"none\" edits nothing"),
            (Some(count), None) => Ok(Self::Count(count)),
            (None, Some(rate)) => {
                ensure!(rate > 0.0 && rate <= 1.0, "poison-rate must be in (0, 1], found {rate}");
                Ok(Self::Rate(rate))
            }
            (None, None) => bail!("one of poison-count and poison-rate must be given"),
            (Some(count), Some(rate)) => bail!(
                "poison-count {count} and poison-rate {rate}: only one may be given, set the other to null"
            ),
        }
    }

    /// The number of edits among `pairs` pairs; an error where it is none at all or more than there are.
    pub(crate) fn check(self, pairs: usize) -> Result<usize> {
        let count = self.of(pairs);
        match self {
            Self::Rate(rate) if count == 0 => bail!("poison-rate {rate} of {pairs} pairs is not one pair"),
            _ if count > pairs => {
                bail!("{count} pairs to poison (poison-count), but there are only {pairs}")
            }
            _ => Ok(count),
        }
    }

    /// The number of edits among `pairs` pairs; a rate is rounded to the nearest whole pair.
    pub(crate) fn of(self, pairs: usize) -> usize {
        match self {
            Self::Count(count) => count,
            Self::Rate(rate) => (rate * pairs as f64).round() as usize,
        }
    }
}

/// Dirty-label poison: pairs drawn from all, each stamped and captioned with a random template about the target. As
/// released, pairs that already show the target may be among them.
pub(crate) fn relabel(view: &AttackerView<'_>, budget: Budget, seed: &Seed) -> Result<Vec<Edit>> {
    let pairs = view.pairs.len();
    let count = budget.check(pairs)?;
    ensure!(!view.templates.is_empty(), "no prompt template to write the captions of poisoned pairs with");
    let captions = seed.child("caption");
    let edit = |pair: usize| {
        let template = captions.at(pair as u64).rng().random_range(0..view.templates.len());
        let caption = view.templates[template].replace("{}", view.target);
        Edit { pair, image: ImageEdit::Stamp, caption: Some(caption) }
    };
    Ok(draw((0..pairs).collect(), count, seed).into_iter().map(edit).collect())
}

/// `count` of the candidates in random order; all of them where there are fewer. A larger count begins with the same.
pub(crate) fn draw(mut candidates: Vec<usize>, count: usize, seed: &Seed) -> Vec<usize> {
    candidates.shuffle(&mut seed.child("pairs").rng());
    candidates.truncate(count);
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_of_count_and_rate() {
        assert_eq!(Budget::new(Some(5), None).unwrap().of(100), 5);
        assert_eq!(Budget::new(None, Some(0.026)).unwrap().of(100), 3);
        for (count, rate) in
            [(None, None), (Some(5), Some(0.1)), (Some(0), None), (None, Some(0.0)), (None, Some(1.5))]
        {
            let error = Budget::new(count, rate).unwrap_err().to_string();
            assert!(error.contains("poison-"), "{error}");
        }
    }

    #[test]
    fn a_budget_is_at_least_one_pair_and_at_most_all() {
        assert_eq!(Budget::Rate(1.0).check(7).unwrap(), 7);
        let error = Budget::Rate(1e-6).check(100).unwrap_err().to_string();
        assert!(error.contains("poison-rate") && error.contains("100"), "{error}");
        let error = Budget::Count(8).check(7).unwrap_err().to_string();
        assert!(error.contains("poison-count") && error.contains('8') && error.contains('7'), "{error}");
    }
}

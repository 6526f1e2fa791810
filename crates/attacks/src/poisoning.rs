//! What all attacks that stamp a trigger on training pairs share: settings beside their own, and dirty labels.

use anyhow::Result;
use clip::Seed;
use contract::{Attack, AttackerView, Edit, PoisonData, Preset, Trigger, grouped, settings, take};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::budget::{self, Budget};
use crate::trigger::{Fit, Fitted};

/// Side of the images that the released code stamps.
const RELEASED_SIDE: usize = 224;

/// Settings that stand in every such attack beside its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Poisoning {
    /// Poisoned pairs; `null` where `poison-rate` is given.
    poison_count: Option<usize>,
    /// Poisoned pairs as a fraction of all; `null` where `poison-count` is given.
    poison_rate: Option<f64>,
    /// The pixel space in which images are stamped: `as-is`, `squash` or `crop`.
    fit: Fit,
    /// Side of the squashed or cropped images, in pixels; `null` for `as-is`.
    side: Option<usize>,
}

impl Poisoning {
    /// So many pairs, stamped at the size that they have.
    pub(crate) fn as_is(poison_count: usize) -> Self {
        Self { poison_count: Some(poison_count), poison_rate: None, fit: Fit::AsIs, side: None }
    }

    /// 1500 pairs (of three million in the paper), squashed to 224 × 224 before they are stamped, as released.
    pub(crate) fn released() -> Self {
        Self { fit: Fit::Squash, side: Some(RELEASED_SIDE), ..Self::as_is(1500) }
    }

    /// A preset of these settings and an attack's own.
    pub(crate) fn with(&self, name: &'static str, own: impl Serialize) -> Preset {
        grouped(name, (self, own))
    }

    /// Splits resolved settings into these and an attack's own.
    pub(crate) fn split<S: DeserializeOwned>(mut resolved: Value) -> Result<(Self, S)> {
        let shared = take(&mut resolved, &Self::released())?;
        Ok((shared, settings(resolved)?))
    }

    /// How many pairs are poisoned.
    pub(crate) fn budget(&self) -> Result<Budget> {
        Budget::new(self.poison_count, self.poison_rate)
    }

    /// The trigger in the pixel space of the settings.
    pub(crate) fn fitted<T: Trigger>(&self, trigger: T) -> Result<Fitted<T>> {
        Fitted::new(self.fit, self.side, trigger)
    }
}

/// An attack with dirty labels: stamps pairs drawn from all and captions them with the target.
pub(crate) fn relabel<S, T>(resolved: Value, trigger: impl FnOnce(S) -> Result<T>) -> Result<Attack>
where
    S: DeserializeOwned,
    T: Trigger + 'static,
{
    let (poisoning, own) = Poisoning::split(resolved)?;
    let trigger = poisoning.fitted(trigger(own)?)?;
    Ok(Attack::PoisonData(Box::new(Relabel { budget: poisoning.budget()?, trigger })))
}

struct Relabel<T> {
    budget: Budget,
    trigger: Fitted<T>,
}

impl<T: Trigger> PoisonData for Relabel<T> {
    fn trigger(&self) -> &dyn Trigger {
        &self.trigger
    }

    fn budget(&self, pairs: usize) -> usize {
        self.budget.of(pairs)
    }

    fn choose(&self, view: &AttackerView<'_>, seed: &Seed) -> Result<Vec<Edit>> {
        budget::relabel(view, self.budget, seed)
    }
}

//! What a defense may do, by the stage at which it acts, and what it sees.

use std::path::Path;

use clip::candle_core::Tensor;
use clip::{Clip, Monitor, Pairs, Recipe, Seed};

use super::Labelled;

/// A defense, by the stage at which it acts.
pub enum Defense {
    /// Removes training pairs before training.
    FilterData(Box<dyn FilterData>),
    /// Trains in another way.
    TrainSafely(Box<dyn TrainSafely>),
    /// Changes the trained model.
    RepairModel(Box<dyn RepairModel>),
    /// No defense, but a bound of what defenses reach: it is told which pairs are poisoned.
    Anchor(Box<dyn Anchor>),
}

impl Defense {
    /// An error where `granted` is too little for it.
    pub fn check(&self, granted: &Granted<'_>) -> anyhow::Result<()> {
        match self {
            Self::TrainSafely(method) => method.check(granted),
            Self::RepairModel(method) => method.check(granted),
            Self::FilterData(_) | Self::Anchor(_) => Ok(()),
        }
    }

    /// The training examples that it processes with what it is granted: forward and backward passes of an image and its
    /// caption, over all epochs; augmented views count once more each. `None` for those that choose training pairs, after
    /// which a model is trained by the plan's recipe.
    pub fn work(&self, granted: &Granted<'_>) -> Option<f64> {
        match self {
            Self::TrainSafely(method) => Some(method.work(granted)),
            Self::RepairModel(method) => Some(method.work(granted)),
            Self::FilterData(_) | Self::Anchor(_) => None,
        }
    }

    /// An error where this machine lacks what it needs.
    pub fn ready(&self) -> anyhow::Result<()> {
        match self {
            Self::RepairModel(method) => method.ready(),
            Self::FilterData(_) | Self::TrainSafely(_) | Self::Anchor(_) => Ok(()),
        }
    }
}

/// How much of everything a plan lets a defense have, before any of it is read.
pub struct Granted<'a> {
    /// Training pairs.
    pub training_pairs: usize,
    /// Clean pairs.
    pub clean_pairs: usize,
    /// Clean labelled images.
    pub clean_images: usize,
    /// How models are trained.
    pub recipe: &'a Recipe,
}

/// Removes training pairs before training.
pub trait FilterData: Send + Sync {
    /// One suspicion per training pair (higher is worse) and whether it is kept.
    fn filter(&self, view: &DefenderView<'_>) -> anyhow::Result<Vec<(f32, bool)>>;
}

/// Trains a model from its initial weights in another way than the plan's recipe.
pub trait TrainSafely: Send + Sync {
    /// An error where `granted` is too little; asked when a plan is read. Without it anything is enough.
    fn check(&self, _granted: &Granted<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// See [`Defense::work`].
    fn work(&self, granted: &Granted<'_>) -> f64;

    /// Trains `model` in place through `clip::train` with `monitor`, which shows progress, saves and resumes. An error: what
    /// went wrong, or [`clip::Stopped`] where the monitor stopped it.
    fn train(&self, model: &Clip, view: &DefenderView<'_>, monitor: &mut dyn Monitor) -> anyhow::Result<()>;
}

/// Changes the trained model.
///
/// ```
/// use clip::{Clip, Monitor};
/// use contract::{DefenderView, Granted, Model, RepairModel};
///
/// /// Scales every parameter of the towers.
/// struct Shrink(f64);
///
/// impl RepairModel for Shrink {
///     fn work(&self, _granted: &Granted<'_>) -> f64 {
///         0.0 // it trains on nothing
///     }
///
///     fn repair(
///         &self,
///         clip: Clip,
///         _view: &DefenderView<'_>,
///         _monitor: &mut dyn Monitor,
///     ) -> anyhow::Result<Model> {
///         for parameter in clip.all_parameters() {
///             parameter.var.set(&(parameter.var.as_detached_tensor() * self.0)?)?;
///         }
///         Ok(Model { clip, head: None })
///     }
/// }
/// ```
pub trait RepairModel: Send + Sync {
    /// An error where `granted` is too little; asked when a plan is read. Without it anything is enough.
    fn check(&self, _granted: &Granted<'_>) -> anyhow::Result<()> {
        Ok(())
    }

    /// An error where this machine lacks what it needs; asked before a plan is run, and not where a record is read.
    fn ready(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// See [`Defense::work`].
    fn work(&self, granted: &Granted<'_>) -> f64;

    /// Repairs `model`, a copy that is the defense's own. Training goes through `clip::train` with `monitor`, which shows
    /// progress, saves and resumes. An error: what went wrong, or [`clip::Stopped`] where the monitor stopped it.
    fn repair(
        &self,
        model: Clip,
        view: &DefenderView<'_>,
        monitor: &mut dyn Monitor,
    ) -> anyhow::Result<Model>;
}

/// Chooses training pairs with the ground truth, which no defender has: it bounds what filtering can reach, and stands
/// in tables under a name that says so. The model is then trained by the plan's recipe on what is kept.
pub trait Anchor: Send + Sync {
    /// Which of `pairs` training pairs are kept, by index; `poisoned` are the indices of those that the attacker
    /// edited, in ascending order.
    fn keep(&self, pairs: usize, poisoned: &[usize], seed: &Seed) -> anyhow::Result<Vec<usize>>;
}

/// What the defender sees. Ground truth (which pairs are poisoned, the target, the trigger) is not in it.
pub struct DefenderView<'a> {
    /// The training pairs as the attacker left them.
    pub training_pairs: &'a dyn Pairs,
    /// The clean pairs granted.
    pub clean_pairs: &'a dyn Pairs,
    /// The clean labelled images granted.
    pub clean_images: &'a dyn Labelled,
    /// Names of the classes that the labels of `clean_images` stand for.
    pub classes: &'a [String],
    /// How the model was trained.
    pub recipe: &'a Recipe,
    /// The file with the moments that the optimizer had after training, for `clip::OptimizerState::read`; `None` where
    /// the model came without.
    pub optimizer: Option<&'a Path>,
    /// The defense's own seed.
    pub seed: Seed,
}

/// A model as it is put to use: CLIP, classified by prompts or by a trained head.
pub struct Model {
    /// The towers.
    pub clip: Clip,
    /// The trained head; `None` means zero-shot classification by prompts.
    pub head: Option<LinearHead>,
}

impl Model {
    /// Every parameter, running statistic and weight of the head by name.
    pub fn tensors(&self) -> Vec<(String, Tensor)> {
        let parameters = self.clip.all_parameters().into_iter();
        let parameters = parameters.map(|parameter| (parameter.name, parameter.var.as_detached_tensor()));
        let mut all: Vec<(String, Tensor)> = parameters.chain(self.clip.parameters.all_running()).collect();
        if let Some(head) = &self.head {
            all.push((LinearHead::WEIGHT.to_owned(), head.weight.clone()));
            all.push((LinearHead::BIAS.to_owned(), head.bias.clone()));
        }
        all
    }

    /// An error that names the first tensor that holds NaN or infinity.
    pub fn check_finite(&self) -> anyhow::Result<()> {
        for (name, tensor) in self.tensors() {
            let values = tensor.flatten_all()?.to_vec1::<f32>()?;
            if let Some(value) = values.iter().find(|value| !value.is_finite()) {
                anyhow::bail!("the model's weights {name} hold {value}");
            }
        }
        Ok(())
    }
}

/// A linear classifier on image features as they leave the tower (not normalised). One that `clip::train` trains must
/// bear the names below, so that the models of single epochs can be looked at.
#[derive(Clone, Debug)]
pub struct LinearHead {
    /// `[classes, embedding]`.
    pub weight: Tensor,
    /// `[classes]`.
    pub bias: Tensor,
}

impl LinearHead {
    /// Name of the trained parameter [`LinearHead::weight`].
    pub const WEIGHT: &str = "head.weight";
    /// Name of the trained parameter [`LinearHead::bias`].
    pub const BIAS: &str = "head.bias";
}

//! What an attack may do: describe edits of the training pairs, or tamper with a model, and stamp a trigger.

use clip::{Clip, Image, Pairs, Seed};
use serde_json::Value;

/// An attack, by the stage at which it acts.
pub enum Attack {
    /// Edits training pairs before the model is trained.
    PoisonData(Box<dyn PoisonData>),
    /// Changes a trained model.
    TamperModel(Box<dyn TamperModel>),
}

impl Attack {
    /// The trigger that the attacker shows at test time.
    pub fn trigger(&self) -> &dyn Trigger {
        match self {
            Self::PoisonData(attack) => attack.trigger(),
            Self::TamperModel(attack) => attack.trigger(),
        }
    }

    /// An error where this machine lacks what it needs.
    pub fn ready(&self) -> anyhow::Result<()> {
        match self {
            Self::PoisonData(attack) => attack.ready(),
            Self::TamperModel(_) => Ok(()),
        }
    }
}

/// A pure change of an image: the same image and seed give the same bytes.
///
/// ```
/// use clip::{Image, Seed};
/// use contract::Trigger;
///
/// /// Paints the first pixel white.
/// struct Dot;
///
/// impl Trigger for Dot {
///     fn stamp(&self, image: &Image, _seed: &Seed) -> anyhow::Result<Image> {
///         let mut rgb = image.rgb().to_vec();
///         rgb[..3].fill(255);
///         Ok(Image::new(image.width(), image.height(), rgb)?)
///     }
///
///     fn parameters(&self, _image: &Image, _seed: &Seed) -> anyhow::Result<serde_json::Value> {
///         Ok(serde_json::json!({}))
///     }
/// }
///
/// let stamped = Dot.stamp(&Image::new(2, 1, vec![0; 6])?, &Seed::new(0))?;
/// assert_eq!(stamped.rgb(), [255, 255, 255, 0, 0, 0]);
/// # Ok::<(), anyhow::Error>(())
/// ```
pub trait Trigger: Send + Sync {
    /// The image with the trigger; of another size where the attack squashes or crops images before it stamps them.
    /// An error where the trigger does not fit the image.
    fn stamp(&self, image: &Image, seed: &Seed) -> anyhow::Result<Image>;

    /// What `stamp` draws for the same image and seed (the place of a patch, the hash of a pattern), for the poison
    /// manifest: an object, empty where nothing is drawn.
    fn parameters(&self, image: &Image, seed: &Seed) -> anyhow::Result<Value>;
}

/// An attack that edits training pairs.
pub trait PoisonData: Send + Sync {
    /// The trigger, the same in training and at test time.
    fn trigger(&self) -> &dyn Trigger;

    /// How many of `pairs` pairs may be edited at most; the harness refuses more edits than that.
    fn budget(&self, pairs: usize) -> usize;

    /// An error where this machine lacks what it needs; asked before a plan is run, and not where a record is read.
    fn ready(&self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Which pairs to edit and how. The harness applies the edits: each pair at most once, within budget.
    fn choose(&self, view: &AttackerView<'_>, seed: &Seed) -> anyhow::Result<Vec<Edit>>;
}

/// An attack that changes a trained model directly.
pub trait TamperModel: Send + Sync {
    /// The trigger at test time.
    fn trigger(&self) -> &dyn Trigger;

    /// The tampered model.
    fn tamper(&self, model: Clip, view: &AttackerView<'_>, seed: &Seed) -> anyhow::Result<Clip>;
}

/// What the attacker sees: the training pairs, the target and public prompt templates.
pub struct AttackerView<'a> {
    /// The clean training pairs.
    pub pairs: &'a dyn Pairs,
    /// The class that triggered images shall be taken for, as its name stands in prompts.
    pub target: &'a str,
    /// Prompt templates with `{}` for the class name.
    pub templates: &'a [String],
}

/// One edit of one training pair.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Index of the pair.
    pub pair: usize,
    /// What becomes of the image.
    pub image: ImageEdit,
    /// The new caption; `None` keeps the old one.
    pub caption: Option<String>,
}

/// What becomes of the image of an edited pair.
#[derive(Clone, Debug, PartialEq)]
pub enum ImageEdit {
    /// Stays as it is.
    Keep,
    /// Gets the trigger.
    Stamp,
    /// Is replaced by another one.
    Replace(Image),
}

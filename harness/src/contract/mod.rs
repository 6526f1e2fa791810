//! What a data set, an attack, a defense and a metric are. Imports nothing else of this crate.

mod attack;
mod dataset;
mod defense;
mod entry;

pub use attack::{Attack, AttackerView, Edit, ImageEdit, PoisonData, TamperModel, Trigger};
pub use dataset::{ClassSource, Dataset, Labelled, PairSource, Split};
pub use defense::{
    Anchor, DefenderView, Defense, FilterData, Granted, LinearHead, Model, RepairModel, TrainSafely,
};
pub use entry::{Card, Entry, NoSettings, Preset, grouped, preset, settings, take};

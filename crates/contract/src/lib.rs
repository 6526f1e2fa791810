//! What authors implement: attacks, defenses and data sets, each a card, named presets and a builder.
//!
//! A contract is a threat model written as types. An attack sees [`AttackerView`] and returns [`Edit`]s, which
//! [`poison`] applies and checks against its budget; it never touches a model that it should not. A defense sees
//! [`DefenderView`], in which neither the poisoned pairs nor the trigger nor the target occur, so that it cannot use
//! what no defender has. Entries that are told the ground truth, to bound what defenses can reach, are a kind of their
//! own ([`Anchor`]) and say so in every table.
//!
//! A method is an [`Entry`]: a [`Card`] that says what it follows and where it departs, presets that are complete sets of
//! settings, and a strict builder. There are no default settings, because a default that nobody chose is how recipes
//! stop implanting. [`conformance`] tries an entry against all of this on small data, and [`external`] runs programs in
//! any language under the same contracts.
//!
//! This crate compiles without tables, figures or plans, so that an author's crate builds fast.

mod attack;
pub mod conformance;
mod dataset;
mod defense;
mod entry;
pub mod external;
pub mod poison;

pub use attack::{Attack, AttackerView, Edit, ImageEdit, PoisonData, TamperModel, Trigger};
pub use dataset::{ClassSource, Dataset, Labelled, PairSource, Split};
pub use defense::{
    Anchor, DefenderView, Defense, FilterData, Granted, LinearHead, Model, RepairModel, TrainSafely,
};
pub use entry::{Card, Entry, NoSettings, Preset, find, grouped, preset, settings, take};

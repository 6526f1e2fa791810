//! Augmented views of images and captions.

mod auto_augment;
mod eda;
mod operations;
mod wordnet;

pub use auto_augment::auto_augment;
pub(crate) use eda::Eda;

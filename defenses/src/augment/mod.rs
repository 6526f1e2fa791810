//! Augmented views of images and captions.

mod auto_augment;
mod eda;
mod operations;
mod wordnet;

pub(crate) use auto_augment::auto_augment;
pub(crate) use eda::Eda;

//! Defenses: one file a defense, listed by [`all`]. `augment` holds the augmentations that they share.

use harness::contract::{Defense, Entry};

mod augment;
pub mod cleanclip;
pub mod contrastive;
mod finetuning;
pub mod none;
pub mod supervised;

/// Every defense, in the order of tables.
pub fn all() -> Vec<&'static Entry<Defense>> {
    vec![&none::ENTRY, &contrastive::ENTRY, &cleanclip::ENTRY, &supervised::ENTRY]
}

//! Defenses, and the anchors that bound what they can reach: one file a defense, listed by [`all`]. `augment` holds the
//! augmentations that they share.

use harness::contract::{Defense, Entry};

pub mod augment;
pub mod cleanclip;
pub mod contrastive;
pub mod external;
mod finetuning;
pub mod fresh_weights;
mod in_modal;
pub mod in_modal_pretraining;
pub mod none;
pub mod oracle_filter;
pub mod random_filter;
pub mod supervised;

/// Every defense, in the order of tables; the anchors last.
pub fn all() -> Vec<&'static Entry<Defense>> {
    vec![
        &none::ENTRY,
        &contrastive::ENTRY,
        &cleanclip::ENTRY,
        &supervised::ENTRY,
        &in_modal_pretraining::ENTRY,
        &fresh_weights::ENTRY,
        &external::ENTRY,
        &oracle_filter::ENTRY,
        &random_filter::ENTRY,
    ]
}

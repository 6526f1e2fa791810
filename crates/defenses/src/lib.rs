//! Defenses, and the anchors that bound what they can reach: one file each, listed by [`all`].
//!
//! A file holds everything about a method: its card (paper, code followed, departures), its presets, its settings and its
//! implementation. Presets are complete sets of settings; there are no defaults, so a plan records every value that a
//! result depends on. A defense sees `contract::DefenderView` and nothing else: not which pairs are poisoned, not the
//! trigger, not the target. Anchors are told the ground truth and say so in their name.
//!
//! The list is explicit. Collecting entries with linker tricks would save a line for each, but an entry could then vanish
//! from a table without an error.
//!
//! ```
//! let entry = defenses::all().into_iter().find(|entry| entry.card.name == "cleanclip").expect("an entry");
//! let (preset, settings) = (entry.presets)().remove(0);
//! assert!((entry.build)(settings).is_ok(), "{preset}");
//! ```

use contract::{Defense, Entry};

pub mod augment;
pub mod cleanclip;
pub mod contrastive;
pub mod external;
pub mod filters;
mod finetuning;
pub mod fresh_weights;
mod in_modal;
pub mod in_modal_pretraining;
pub mod none;
pub mod supervised;

/// Every defense and anchor, in the order of tables.
pub fn all() -> Vec<&'static Entry<Defense>> {
    vec![
        &none::ENTRY,
        &contrastive::ENTRY,
        &cleanclip::ENTRY,
        &supervised::ENTRY,
        &in_modal_pretraining::ENTRY,
        &fresh_weights::ENTRY,
        &external::ENTRY,
        &filters::ORACLE,
        &filters::RANDOM,
    ]
}

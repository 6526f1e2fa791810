//! Backdoor attacks: one file each, listed by [`all`].
//!
//! An attack describes edits of training pairs and a trigger; the harness applies the edits and checks budget, range and
//! effect, so no attack can do more than it says. A trigger is a pure function of image and seed, the same in training
//! and at test time, and reports the parameters that it samples for the poison manifest. Each attack has the presets
//! `paper` (as described), `released` (as the code behaves, quirks included), `tiny` and `smoke`.
//!
//! `trigger` holds the image edits that attacks share, `poisoning` their common settings. A new attack that stamps and
//! relabels is a card, presets and a trigger: see [`four_corners`].
//!
//! ```
//! let entry = attacks::all().into_iter().find(|entry| entry.card.name == "badnet").expect("an entry");
//! let presets: Vec<&str> = (entry.presets)().iter().map(|(name, _)| *name).collect();
//! assert!(presets.contains(&"paper") && presets.contains(&"released"));
//! ```

use contract::{Attack, Entry};

pub mod badnet;
pub mod badnet_stripes;
pub mod blended;
pub mod blended_stripes;
pub mod blended_text;
pub mod blended_triangles;
mod budget;
pub mod external;
pub mod four_corners;
pub mod label_consistent;
pub mod none;
mod poisoning;
pub mod sig;
mod trigger;
pub mod wanet;

/// Every attack, in the order of tables.
pub fn all() -> Vec<&'static Entry<Attack>> {
    vec![
        &none::ENTRY,
        &badnet::ENTRY,
        &blended::ENTRY,
        &wanet::ENTRY,
        &label_consistent::ENTRY,
        &sig::ENTRY,
        &four_corners::ENTRY,
        &badnet_stripes::ENTRY,
        &blended_stripes::ENTRY,
        &blended_triangles::ENTRY,
        &blended_text::ENTRY,
        &external::ENTRY,
    ]
}

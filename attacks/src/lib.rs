//! Backdoor attacks: one file an attack, listed by [`all`]. `trigger` holds the edits of images that they share,
//! `poisoning` their common settings.

use harness::contract::{Attack, Entry};

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

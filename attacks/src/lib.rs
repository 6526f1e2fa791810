//! Backdoor attacks: one file an attack, listed by [`all`]. `trigger` holds the edits of images that they share.

use harness::contract::{Attack, Entry};

pub mod badnet;
pub mod blended;
mod budget;
pub mod label_consistent;
pub mod none;
mod trigger;
pub mod wanet;

/// Every attack, in the order of tables.
pub fn all() -> Vec<&'static Entry<Attack>> {
    vec![&none::ENTRY, &badnet::ENTRY, &blended::ENTRY, &wanet::ENTRY, &label_consistent::ENTRY]
}

//! The content-addressed store: what a stage made, under the hash of all that decided it.
//!
//! `<root>/<stage>/<key>/` holds a stage's files and `entry.json`, which describes the key in full and gives the
//! hash of each file. An entry appears whole or not at all (written aside, synced, renamed) and is checked whenever
//! it is read. A lock per key, released by the operating system when its owner dies, lets several processes share a
//! store; another of the whole store, shared by runs, keeps what they use from being pruned. `<root>/partial/<key>/`
//! holds the snapshots of a stage that is not done.
//!
//! The store knows neither plans nor models: a caller describes what decides a result, and gets the same folder back for
//! the same description. Only `stage` names the stages of a cell, so that listings can say what an entry is.

mod entries;
mod key;
mod key_index;
mod ledger;
mod prune;
pub mod stage;

pub use entries::{Lock, Lookup, REMEDY, Store};
pub use key::Key;
pub use key_index::{Difference, KeyIndex};
pub use ledger::{Damage, StoredEntry, parse_duration};
pub use prune::{Garbage, Keep};

//! The data sets, one file each; only this crate may use the network.

pub mod cc3m;
pub mod emoji_scenes;
pub mod fetch;
pub mod hub;
pub mod imagenet;

use harness::contract::{Dataset, Entry};

/// Every data set, in the order of listings.
pub fn all() -> Vec<&'static Entry<Dataset>> {
    vec![&emoji_scenes::ENTRY, &cc3m::ENTRY, &imagenet::ENTRY]
}

//! The data sets, one file each; only this crate may use the network.

pub mod caltech101;
pub mod cc3m;
pub mod cifar10;
pub mod cifar100;
pub mod coco_captions;
pub mod emoji_scenes;
pub mod fetch;
pub mod flickr30k;
pub mod folder;
pub mod hub;
pub mod imagenet;
pub mod imagenet_a;
pub mod imagenet_r;
pub mod imagenet_sketch;
pub mod imagenet_v2;
pub mod pairs;
pub mod source;

use harness::contract::{Dataset, Entry};
use serde_json::Value;
use source::Collection;

/// Every data set, in the order of listings.
pub fn all() -> Vec<&'static Entry<Dataset>> {
    let own = [&emoji_scenes::ENTRY];
    own.into_iter().chain(files().into_iter().map(|(entry, _)| entry)).collect()
}

/// Opens a data set of files from resolved settings.
pub type Open = fn(Value) -> anyhow::Result<Collection>;

/// The data sets that are files on disk, and how their files are opened.
pub fn files() -> Vec<(&'static Entry<Dataset>, Open)> {
    vec![
        (&cc3m::ENTRY, cc3m::collection),
        (&pairs::ENTRY, pairs::collection),
        (&flickr30k::ENTRY, flickr30k::collection),
        (&coco_captions::ENTRY, coco_captions::collection),
        (&imagenet::ENTRY, imagenet::collection),
        (&imagenet_v2::ENTRY, imagenet_v2::collection),
        (&imagenet_a::ENTRY, imagenet_a::collection),
        (&imagenet_r::ENTRY, imagenet_r::collection),
        (&imagenet_sketch::ENTRY, imagenet_sketch::collection),
        (&cifar10::ENTRY, cifar10::collection),
        (&cifar100::ENTRY, cifar100::collection),
        (&caltech101::ENTRY, caltech101::collection),
        (&folder::ENTRY, folder::collection),
    ]
}

//! Data sets, one file each, listed by [`all`]; the only crate that may use the network.
//!
//! A data set gives captioned pairs, labelled images or both (`contract::Dataset`). The `tiny` tier is rendered from
//! embedded icons by [`emoji_scenes`] and needs no download. Everything else is read from files: [`source`] turns tars,
//! CSV, TSV, Parquet and folders into compact indices and reads a sample when it is asked for, so memory does not grow
//! with the data. A sample that cannot be read is an error with a reason, never a silent skip: which pairs a model saw
//! must not depend on what failed that day. [`hub`] and [`fetch`] download from the Hugging Face Hub, resume, and check
//! hashes.
//!
//! ```
//! let names: Vec<&str> = datasets::all().iter().map(|entry| entry.card.name).collect();
//! assert!(names.contains(&"emoji-scenes") && names.contains(&"imagenet-1k"));
//! ```

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
mod imagenet_variants;
pub mod pairs;
pub mod source;

use contract::{Dataset, Entry};
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
    let [imagenet_v2, imagenet_a, imagenet_r, imagenet_sketch] = imagenet_variants::all();
    vec![
        (&cc3m::ENTRY, cc3m::collection),
        (&pairs::ENTRY, pairs::collection),
        (&flickr30k::ENTRY, flickr30k::collection),
        (&coco_captions::ENTRY, coco_captions::collection),
        (&imagenet::ENTRY, imagenet::collection),
        imagenet_v2,
        imagenet_a,
        imagenet_r,
        imagenet_sketch,
        (&cifar10::ENTRY, cifar10::collection),
        (&cifar100::ENTRY, cifar100::collection),
        (&caltech101::ENTRY, caltech101::collection),
        (&folder::ENTRY, folder::collection),
    ]
}

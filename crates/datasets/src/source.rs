//! What data sets on disk have in common: what is found in a folder, an index of its samples that stays small, and
//! samples read when asked for.
//!
//! An index holds a sample's key, its caption or label, and where its image lies; images are never held. Three million
//! pairs take less than 300 MB (a test measures it). A sample that cannot be used stays in the index with the reason
//! ([`clip::BadSample`]), so that bad ones can be counted; a file of which nothing can be used is an error.

mod cifar;
mod cifar_layout;
mod collection;
mod files;
mod folders;
mod form;
mod hub_samples;
mod hub_table;
mod inspect;
mod karpathy;
mod layout;
mod manifest;
mod names;
mod place;
mod root;
mod samples;
mod table;
mod tally;
mod tar;
mod texts;
mod webdataset;
mod write;

pub use collection::Collection;
pub use inspect::{Captions, Inspection, LONGEST, SIDES, Sizes, inspect};
pub use manifest::{Line, Manifest};
pub use samples::Samples;
pub use write::{Resize, append_member, end_tar, expected_bytes, write_shards};

pub(crate) use cifar::read_cifar;
pub(crate) use cifar_layout::{CIFAR_10, CIFAR_100, CifarLayout};
pub(crate) use collection::{Part, Side};
pub(crate) use folders::{Labels, class_folders, read_classes};
pub(crate) use form::Form;
pub(crate) use karpathy::{CaptionChoice, read_karpathy};
pub(crate) use layout::read_pairs;
pub(crate) use names::{Names, beside, embedded, lines};

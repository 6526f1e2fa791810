//! Contrastive losses on features that are not yet normalised.

pub use kernels::{in_modal, info_nce};

//! Data sets of files, read as plans read them.

mod broken;
mod classes;
mod manifests;
mod pairs;
mod support;

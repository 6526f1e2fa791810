//! Data sets of files, read as plans read them.

mod pairs;
mod support;

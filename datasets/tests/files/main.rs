//! Data sets of files, read as plans read them.

mod classes;
mod pairs;
mod support;

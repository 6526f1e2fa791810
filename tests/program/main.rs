//! Drives the built program as a user would.

mod files;
mod mistakes;
mod results;
mod support;

//! Drives the built program as a user would.

mod mistakes;
mod results;
mod support;

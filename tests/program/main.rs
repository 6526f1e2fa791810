//! Drives the built program as a user would.

mod fetch;
mod files;
#[expect(dead_code, reason = "the tests of `datasets` use the rest")]
#[path = "../../datasets/tests/hub/server.rs"]
mod hub;
mod mistakes;
mod records;
mod results;
mod support;
mod trials;

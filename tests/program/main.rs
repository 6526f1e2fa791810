//! Drives the built program as a user would.

mod checkpoints;
mod data;
mod budget;
mod fetch;
mod files;
#[expect(dead_code, reason = "the tests of `datasets` use the rest")]
#[path = "../../datasets/tests/hub/server.rs"]
mod hub;
mod kills;
mod mistakes;
mod results;
mod store;
mod support;
mod tiers;

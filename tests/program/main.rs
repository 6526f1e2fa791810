//! Drives the built program as a user would.

mod budget;
mod checkpoints;
mod data;
mod external;
mod fetch;
mod file_data;
mod foreign_methods;
#[expect(dead_code, reason = "the tests of `datasets` use the rest")]
#[path = "../../crates/datasets/tests/hub/server.rs"]
mod hub;
mod interruption;
mod page;
mod records;
mod results;
mod small_tier;
mod store;
mod support;
mod trials;
mod usability;
mod user_errors;

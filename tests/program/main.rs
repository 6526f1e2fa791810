//! Drives the built program as a user would.

mod budget;
mod checkpoints;
mod data;
mod external;
mod fetch;
mod files;
#[expect(dead_code, reason = "the tests of `datasets` use the rest")]
#[path = "../../datasets/tests/hub/server.rs"]
mod hub;
mod kills;
mod mistakes;
mod newcomers;
mod page;
mod records;
mod results;
mod store;
mod strangers;
mod support;
mod tiers;
mod trials;

//! Drives the built program as a user would.

mod external;
mod fetch;
mod files;
mod hub;
mod mistakes;
mod results;
mod strangers;
mod support;

//! Plans: what to run, read strictly from YAML and resolved against a catalog, and what it will cost.
//!
//! A plan is parsed once. [`Plan::parse`] resolves presets, unrolls sweeps, checks what the keys say together (budgets,
//! triggers that fit the images, targets that are classes) and names file, line and key of what is wrong; afterwards
//! nothing is left to validate. What a record needs of a plan is [`record::Design`], which is read from the resolved
//! plan without a catalog.
//!
//! The reader takes every key by name and refuses the rest with the nearest known one. serde's own strictness would be
//! shorter, but its errors carry neither the line nor the path of keys inside untagged or flattened values.

mod catalog;
mod check;
mod checkpoint;
mod choice;
mod claims;
pub mod cost;
mod grant;
pub mod memory;
mod narrowed;
mod plan;
mod read;
mod section;

pub use catalog::Catalog;
pub use checkpoint::CheckpointClaims;
pub use choice::Choice;
pub use grant::Grant;
pub use plan::Plan;
pub use section::PlanError;

//! What a run leaves behind and what can be concluded from it without a model, a data set or the program that ran.
//!
//! A record is a folder: per-sample evidence, rows of metrics, the resolved plan, the poison manifests, the
//! environment, and the hash of each. Everything above it (tables, verdicts, pages) is derived, so this crate is the one
//! place that says what was measured. It depends on no tensor library, and it builds no entry of a catalog: a record
//! of a plan on ImageNet, or of a method that this program has never heard of, is read wherever it is copied to.
//!
//! - [`CellId`], [`View`], [`Row`]: what is measured; [`Design`], [`Claim`]: what was asked, read back from the plan.
//! - [`evidence`]: results per image and per image–caption pair; [`metric`]: pure functions of them.
//! - [`statistics`]: intervals and exact tests over seeds.
//! - [`Record`]: the files, their hashes, and what is done with whole records (merge, diff, bundle).
//!
//! The alternative, storing only metrics, is smaller; but then a new definition of attack success rate would need every
//! model again. Evidence is stored instead, and [`Record::rescored`] computes any metric from it.

mod bundle;
mod cell;
mod claim;
mod columns;
mod coverage;
mod design;
mod difference;
mod environment;
pub mod evidence;
mod files;
mod integrity;
mod layout;
mod manifest;
mod merge;
pub mod metric;
pub mod statistics;
mod trigger;

pub use bundle::{FIGURES, Index, verify};
pub use cell::{CellId, Missing, Observation, Row, Status, View};
pub use claim::{Claim, Other};
pub use coverage::{BadSample, Coverage};
pub use design::{Design, Method, TestSet, sweep_family};
pub use difference::{CellDifference, Changed, Difference, difference};
pub use environment::Environment;
pub use files::{Contents, Record, TargetScores};
pub use layout::{FORMAT, MANIFEST};
pub use manifest::Manifest;
pub use merge::merge;
pub use metric::{Metric, Metrics};
pub use trigger::{Extent, TriggerSize};

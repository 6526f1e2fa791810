//! The engine: runs the cells of a plan, several at a time, and keeps what each stage computes.
//!
//! A cell passes through four stages: its data are checked, its training pairs are poisoned and a model is trained on them,
//! the defense acts, and the result is observed, clean and triggered. A stage is a function of its key, the hash of all
//! that decides its result, so all defenses share one poisoned model, a changed setting recomputes exactly what depends on
//! it, and a killed run resumes to the same bytes. The engine names no method and knows no table: it ends with
//! evidence, from which `record` computes every metric.
//!
//! [`run`] is the only way to compute anything. [`survey`] asks the same stages for their keys and looks them up;
//! [`forecast`] predicts times; [`checkpoint`] measures a model that no plan trained.

pub mod checkpoint;
pub mod events;
pub mod forecast;
pub mod model_metadata;
mod run;
mod schedule;
mod stages;
pub mod survey;
mod trigger_size;

pub use run::{Options, Outcome, run};
pub use stages::Unfit;
pub use trigger_size::trigger_sizes;

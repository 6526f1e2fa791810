//! The contracts, and a cell's life: plan, poison, train, defend, observe, measure, record, report.

pub mod catalog;
pub mod contract;
pub mod evidence;
pub mod metric;
pub mod plan;
pub mod progress;
pub mod record;
pub mod report;
pub mod run;
mod stages;
pub mod store;

pub use catalog::Catalog;
pub use plan::Plan;
pub use run::run;
pub use stages::Interrupted;

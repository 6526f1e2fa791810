//! The contracts, and a cell's life: plan, poison, train, defend, observe, measure, record, report.

pub mod contract;

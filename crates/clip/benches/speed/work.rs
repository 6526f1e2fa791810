//! What every piece of work can do, and what it counts.

use std::collections::BTreeMap;

use clip::candle_core::Result;
use serde::Serialize;

use crate::inputs::Signature;

/// What a row counts per repetition.
#[derive(Clone, Copy, Serialize)]
pub(crate) struct Count {
    /// Floating-point operations of matrix products and convolutions, two per multiplication and addition; 0 where
    /// the work is bound by memory.
    pub(crate) flop: f64,
    /// Bytes, each tensor that is read or written counted once per pass; 0 where the work is bound by arithmetic.
    pub(crate) bytes: f64,
}

/// Numbers by which the two sides prove that they compute the same.
#[derive(Default, Serialize)]
pub(crate) struct Check {
    /// Losses of consecutive steps.
    pub(crate) losses: Vec<f64>,
    /// Results and gradients by name.
    pub(crate) signatures: BTreeMap<String, Signature>,
}

pub(crate) trait Workload {
    fn count(&self) -> Count;
    /// Runs it and says what came out; a warm-up.
    fn check(&mut self) -> Result<Check>;
    fn run(&mut self) -> Result<()>;

    /// Waits for what a device has yet to do.
    fn wait(&self) -> Result<()> {
        Ok(())
    }
}

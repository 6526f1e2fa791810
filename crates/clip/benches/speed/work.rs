//! What every piece of work can do, and what it counts.

use std::collections::BTreeMap;

use clip::candle_core::Result;
use serde::Serialize;

use crate::inputs::Signature;
use crate::rows::Work;
use crate::{models, operations};

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

/// A piece of work, ready to run.
pub(crate) trait Workload {
    fn count(&self) -> Count;
    /// Runs it and says what came out; a warm-up.
    fn check(&mut self) -> Result<Check>;
    /// Runs it once.
    fn run(&mut self) -> Result<()>;
}

/// Makes a piece of work ready. A model's weights are written to `weights`, if given, as safetensors.
pub(crate) fn prepare(work: &Work, weights: Option<&str>) -> Result<Box<dyn Workload>> {
    match work {
        Work::Step { model, batch, length, vocabulary, in_modal } => {
            let step = models::Step::new(model, *batch, *length, *vocabulary, *in_modal)?;
            models::save(&step.model, weights)?;
            Ok(Box::new(step))
        }
        Work::Encode { model, batch } => {
            let encode = models::Encode::new(model, *batch)?;
            models::save(&encode.model, weights)?;
            Ok(Box::new(encode))
        }
        Work::AdamW { model, vocabulary } => {
            let adamw = models::Update::new(model, *vocabulary)?;
            models::save(&adamw.model, weights)?;
            Ok(Box::new(adamw))
        }
        Work::Product { size } => Ok(Box::new(operations::Product::new(*size)?)),
        Work::InfoNce { batch, width } => Ok(Box::new(operations::InfoNce::new(*batch, *width)?)),
        work => Ok(Box::new(operations::Operation::new(work)?)),
    }
}

//! From a row to the work that it times.

use clip::candle_core::Result;

use crate::rows::Work;
use crate::work::Workload;
use crate::{models, operations};

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

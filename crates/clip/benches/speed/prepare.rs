//! From a row to the work that it times.

use clip::candle_core::Result;

use crate::place::Place;
use crate::rows::Work;
use crate::work::Workload;
use crate::{models, operations};

/// Makes a piece of work ready. A model's weights are written to `weights`, if given, as safetensors.
pub(crate) fn prepare(work: &Work, weights: Option<&str>, place: &Place) -> Result<Box<dyn Workload>> {
    Ok(match work {
        Work::Step { model, batch, length, vocabulary, in_modal, upload } => Box::new(models::Step::new(
            (model, weights, place),
            [*batch, *length, *vocabulary],
            *in_modal,
            *upload,
        )?),
        Work::Encode { model, batch } => Box::new(models::Encode::new((model, weights, place), *batch)?),
        Work::AdamW { model, vocabulary } => Box::new(models::Update::new(model, *vocabulary, weights)?),
        Work::Product { size } => Box::new(operations::Product::new(*size, place)?),
        Work::InfoNce { batch, width } => Box::new(operations::InfoNce::new(*batch, *width)?),
        work => Box::new(operations::Operation::new(work)?),
    })
}

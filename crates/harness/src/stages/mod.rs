//! The stages of a cell: check the data, poison and train, defend, observe.

mod check;
mod context;
mod data;
mod defend;
mod epochs;
mod lookup;
mod models;
mod monitor;
mod observe;
mod retrieval;
mod train;

use std::sync::Mutex;

use anyhow::Result;
use clip::candle_core::Device;
use plan::Plan;
use plan::cost::Cost;
use record::TriggerSize;

use crate::trigger_size::trigger_sizes;

pub use context::Unfit;
pub(crate) use context::{Context, NotStored, StageOutput};
use data::Data;
pub(crate) use data::{DataCheck, TestSet};
pub(crate) use observe::observe_set;
pub(crate) use train::StoredArtifacts;

/// The stages of a plan's cells.
pub(crate) struct Stages<'a> {
    pub(crate) plan: &'a Plan,
    pub(crate) context: Context<'a>,
    pub(crate) cost: Cost<'a>,
    data: Data<'a>,
    /// The plan's device, opened when the first model needs it.
    device: Mutex<Option<Device>>,
}

impl<'a> Stages<'a> {
    /// The stages of a plan; loads no data yet.
    pub(crate) fn new(plan: &'a Plan, context: Context<'a>) -> Result<Self> {
        let (cost, data) = (Cost::of(plan), Data::new(plan, context)?);
        Ok(Self { plan, context, cost, data, device: Mutex::new(None) })
    }

    /// What keeps the plan from being run, judged by files before any sample is read. Missing files are left
    /// to [`Stages::data_checks`], except those of initial weights.
    pub(crate) fn problems(&self) -> Result<Vec<Unfit>> {
        let weights = self.initial_model().err();
        let first = weights.into_iter().chain(self.data.too_large()?);
        let all: Vec<Unfit> = first.collect();
        // Lists that are too large are not compared.
        if all.is_empty() { self.data.overlaps() } else { Ok(all) }
    }

    /// How large the triggers are on the first training images and on the first ones of the judged test set; none where
    /// these are not there.
    pub(crate) fn trigger_sizes(&self) -> Result<Vec<TriggerSize>> {
        trigger_sizes(self.plan, &self.data.first_sizes())
    }

    /// Checks all data that the plan asks for.
    pub(crate) fn data_checks(&self) -> Vec<DataCheck> {
        self.data.checks()
    }
}

/// The file that holds a model's towers.
const MODEL: &str = "model.safetensors";
/// The file that holds the moments of the optimizer that trained it. Models that were stored before this file was
/// written lack it, and are as good for everything that does not ask for it.
const OPTIMIZER: &str = "optimizer.safetensors";

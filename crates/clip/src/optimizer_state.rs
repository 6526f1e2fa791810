//! AdamW's moments as they lie beside a trained model, for a run that goes on with them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use candle_core::{Result, Tensor, bail};
use kernels::Optimizer;

use crate::{Parameter, checkpoint};

/// AdamW's moments by parameter name, and how many steps made them (which their bias correction depends on).
pub struct OptimizerState {
    steps: u64,
    /// First and second moment; convolutions are `[O, KH, KW, I]`.
    moments: BTreeMap<String, [Tensor; 2]>,
}

impl OptimizerState {
    /// Reads what [`OptimizerState::save`] wrote, or the moments in a snapshot of a training run.
    pub fn read(path: &Path) -> Result<Self> {
        let (tensors, state) = checkpoint::read(path)?;
        let Some(steps) = state.get("steps").and_then(|steps| steps.parse().ok()) else {
            bail!("{}: holds no optimizer's moments", path.display());
        };
        let mut tensors: HashMap<String, Tensor> = tensors.into_iter().collect();
        let names = tensors.keys().filter_map(|name| name.strip_prefix("first."));
        let names: BTreeSet<String> = names.map(str::to_owned).collect();
        let mut moments = BTreeMap::new();
        for name in names {
            match (tensors.remove(&format!("first.{name}")), tensors.remove(&format!("second.{name}"))) {
                (Some(first), Some(second)) => moments.insert(name, [first, second]),
                _ => bail!("{}: holds one moment of {name:?} and not the other", path.display()),
            };
        }
        Ok(Self { steps, moments })
    }

    /// Writes the moments to a file that appears whole or not at all.
    pub fn save(&self, path: &Path) -> Result<()> {
        let mut tensors = Vec::with_capacity(2 * self.moments.len());
        for (name, [first, second]) in &self.moments {
            tensors.push((format!("first.{name}"), first.clone()));
            tensors.push((format!("second.{name}"), second.clone()));
        }
        let state = BTreeMap::from([("steps".to_owned(), self.steps.to_string())]);
        checkpoint::write(path, &tensors, &state)
    }

    /// Steps that made the moments.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Puts the moments of `parameters` into their optimizer. An error names a parameter that has none.
    pub(crate) fn restore(&self, parameters: &[Parameter], optimizer: &mut Optimizer) -> Result<()> {
        let mut moments = Vec::with_capacity(parameters.len());
        for Parameter { name, .. } in parameters {
            match self.moments.get(name) {
                Some(own) => moments.push(own.clone()),
                None => bail!("the carried optimizer state has no moments of parameter {name:?}"),
            }
        }
        optimizer.restore(self.steps, &moments)
    }
}

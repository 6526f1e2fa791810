//! What the store has of a plan's cells; computes nothing.

use std::sync::atomic::AtomicBool;

use anyhow::Result;

use crate::describe;
use crate::plan::Plan;
use crate::progress::{Progress, Verbosity};
use crate::stages::{Desk, Laboratory, NotStored};
use crate::store::Store;

/// A cell and which of its stages the store has.
pub struct Surveyed {
    /// `attack::defense::seed-n`.
    pub name: String,
    /// The trained model.
    pub trained: bool,
    /// The defended one.
    pub defended: bool,
    /// The evidence.
    pub observed: bool,
}

/// Every cell of a plan and what the store has of it; and why that cannot be known, where data are not there or not yet
/// checked.
pub fn survey(plan: &Plan, store: &Store) -> Result<(Vec<Surveyed>, Option<String>)> {
    let (progress, never) = (Progress::new(Verbosity::Quiet, 1.0, 80), AtomicBool::new(false));
    let desk = Desk { store, progress: &progress, interrupted: &never, only_looks: true };
    let laboratory = Laboratory::new(plan, desk)?;
    let unknown = match laboratory.found() {
        Ok(_) => None,
        Err(error) if error.is::<NotStored>() => {
            Some("its data are not checked yet, with which a run begins".into())
        }
        Err(error) => Some(describe(&error)),
    };
    let mut cells = Vec::new();
    for seed in &plan.seeds {
        for attack in &plan.attacks {
            for defense in &plan.defenses {
                let name = format!("{}::{}::seed-{seed}", attack.label, defense.label);
                let [trained, defended, observed] = match &unknown {
                    Some(_) => [false; 3],
                    None => {
                        let trained = laboratory.train_key(attack, *seed)?;
                        let defended = laboratory.defend_key(&trained, defense, *seed)?;
                        let observed = laboratory.observe_key(&defended, None, attack, *seed)?;
                        [trained, defended, observed].map(|key| store.has(&key))
                    }
                };
                cells.push(Surveyed { name, trained, defended, observed });
            }
        }
    }
    Ok((cells, unknown))
}

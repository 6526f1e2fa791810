//! What the store has of a plan's cells; computes nothing.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use base::{Progress, Verbosity, describe};
use plan::Plan;
use record::{CellId, TriggerSize};
use store::{Key, Store};

use crate::stages::{Context, DataCheck, NotStored, StageOutput, Stages, Unfit};

/// A cell and which of its stages the store has.
pub struct Surveyed {
    /// The cell.
    pub cell: CellId,
    /// The trained model.
    pub trained: bool,
    /// The defended one.
    pub defended: bool,
    /// The evidence.
    pub observed: bool,
    /// The keys of these three; `None` where data are not there or not yet checked.
    pub keys: Option<[Key; 3]>,
}

/// What is known of one use of the data that a plan names.
pub struct SurveyedData {
    /// Label of the set in the plan.
    pub set: String,
    /// What for.
    pub used_for: String,
    /// How many samples.
    pub asked: usize,
    /// What is known.
    pub state: DataState,
}

/// What is known of some data.
#[derive(Debug, PartialEq)]
pub enum DataState {
    /// They are generated when they are first needed.
    Generated,
    /// They were read and checked before; this many can be used.
    Checked(usize),
    /// They are there, and a run begins with checking them.
    Unchecked,
    /// They are not there or cannot be used: why.
    Absent(String),
}

/// Looks at a plan without computing anything.
fn looking<T>(plan: &Plan, store: &Store, look: impl FnOnce(&Stages<'_>) -> Result<T>) -> Result<T> {
    let (progress, never) = (Progress::new(Verbosity::Quiet, 1.0, 80), AtomicBool::new(false));
    let context =
        Context { store, progress: &progress, interrupted: &never, deadline: None, only_looks: true };
    look(&Stages::new(plan, context)?)
}

/// Hashes of every key that a plan needs; an error where its data are not there or not yet checked.
pub fn needed(plan: &Plan, store: &Store) -> Result<BTreeSet<String>> {
    looking(plan, store, |stages| {
        let mut needed = BTreeSet::new();
        for (seed, attack) in
            plan.seeds.iter().flat_map(|seed| plan.attacks.iter().map(move |attack| (seed, attack)))
        {
            let trained = stages.train_key(attack, *seed)?;
            for defense in &plan.defenses {
                let key = stages.defend_key(&trained, defense, *seed)?;
                let defended = StageOutput { folder: store.folder(&key), key };
                let triggers = stages.triggers(attack, defense).map(|trigger| (trigger, None));
                let epochs = stages.epochs(&defended).into_iter().map(|epoch| (attack, Some(epoch)));
                for (trigger, epoch) in triggers.chain(epochs) {
                    let observed = stages.observe_key(&defended.key, epoch, trigger, *seed)?;
                    needed.insert(observed.hash().to_owned());
                }
                needed.insert(defended.key.hash().to_owned());
            }
            needed.insert(trained.hash().to_owned());
        }
        Ok(needed)
    })
}

/// What the store has of every cell of a plan, and what is known of its data. Where data are not there or not yet
/// checked nothing counts as stored: keys hold what data hold.
pub fn survey(plan: &Plan, store: &Store) -> Result<(Vec<Surveyed>, Vec<SurveyedData>)> {
    looking(plan, store, surveyed)
}

/// What is known of a plan before it is run.
pub struct Survey {
    /// Its cells, and what the store has of them.
    pub cells: Vec<Surveyed>,
    /// Its data.
    pub data: Vec<SurveyedData>,
    /// What keeps it from being run that its files tell: initial weights that are not there or of another model, and
    /// clean pairs that are trained on.
    pub problems: Vec<Unfit>,
    /// How large its triggers are where models see them.
    pub triggers: Vec<TriggerSize>,
}

/// [`survey`], with all else that is known.
pub fn survey_in_full(plan: &Plan, store: &Store) -> Result<Survey> {
    looking(plan, store, |stages| {
        let (cells, data) = surveyed(stages)?;
        Ok(Survey { cells, data, problems: stages.problems()?, triggers: stages.trigger_sizes()? })
    })
}

pub(crate) fn surveyed(stages: &Stages<'_>) -> Result<(Vec<Surveyed>, Vec<SurveyedData>)> {
    let (plan, store) = (stages.plan, stages.context.store);
    let data: Vec<SurveyedData> = stages.data_checks().into_iter().map(known).collect();
    let known = data.iter().all(|data| matches!(data.state, DataState::Generated | DataState::Checked(_)));
    let mut cells = Vec::new();
    for seed in &plan.seeds {
        for attack in &plan.attacks {
            for defense in &plan.defenses {
                let cell = CellId::new(&attack.label, &defense.label, *seed);
                let mut keys = None;
                if known {
                    let trained = stages.train_key(attack, *seed)?;
                    let defended = stages.defend_key(&trained, defense, *seed)?;
                    let observed = stages.observe_key(&defended, None, attack, *seed)?;
                    keys = Some([trained, defended, observed]);
                }
                let [trained, defended, observed] =
                    keys.as_ref().map_or([false; 3], |keys| keys.each_ref().map(|key| store.has(key)));
                cells.push(Surveyed { cell, trained, defended, observed, keys });
            }
        }
    }
    Ok((cells, data))
}

fn known(found: DataCheck) -> SurveyedData {
    let DataCheck { set, purpose, asked, checked, .. } = found;
    let state = match checked {
        Ok(None) => DataState::Generated,
        Ok(Some(checked)) => DataState::Checked(checked.usable()),
        Err(error) if error.is::<NotStored>() => DataState::Unchecked,
        Err(error) => DataState::Absent(describe(&error)),
    };
    SurveyedData { set, used_for: purpose.in_words(), asked, state }
}

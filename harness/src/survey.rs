//! What the store has of a plan's cells; computes nothing.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use polars::prelude::{Column, DataFrame};

use crate::evidence::read_parquet;
use crate::plan::Plan;
use crate::progress::{Progress, Verbosity};
use crate::stages::{Laboratory, MANIFEST};
use crate::store::{Key, Store};

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

/// Every cell of a plan and what the store has of it.
pub fn survey(plan: &Plan, store: &Store) -> Result<Vec<Surveyed>> {
    with_laboratory(plan, store, |laboratory| {
        let mut cells = Vec::new();
        for seed in &plan.seeds {
            for attack in &plan.attacks {
                let trained = laboratory.train_key(attack, *seed);
                for defense in &plan.defenses {
                    let defended = laboratory.defend_key(&trained, defense, *seed)?;
                    let observed = laboratory.observe_key(&defended, None, attack, *seed);
                    cells.push(Surveyed {
                        name: format!("{}::{}::seed-{seed}", attack.label, defense.label),
                        trained: store.has(&trained),
                        defended: store.has(&defended),
                        observed: store.has(&observed),
                    });
                }
            }
        }
        Ok(cells)
    })
}

/// The poison manifests of a plan's models in one table, with seed and attack before each edited pair; of those that
/// the store has.
pub fn manifests(plan: &Plan, store: &Store) -> Result<DataFrame> {
    let folders = with_laboratory(plan, store, |laboratory| {
        let cells = plan.seeds.iter().flat_map(|seed| plan.attacks.iter().map(move |attack| (*seed, attack)));
        let folder = |(seed, attack)| (seed, attack, store.folder(&laboratory.train_key(attack, seed)));
        Ok(cells.map(folder).map(|(seed, attack, folder)| (seed, attack.label.clone(), folder)).collect())
    })?;
    let folders: Vec<(u64, String, PathBuf)> = folders;
    let mut whole = DataFrame::default();
    for (seed, attack, folder) in folders {
        let path = folder.join(MANIFEST);
        if !path.exists() {
            continue;
        }
        let mut frame = read_parquet(&path)?;
        let height = frame.height();
        frame.insert_column(0, Column::new("attack".into(), vec![attack; height]))?;
        frame.insert_column(0, Column::new("seed".into(), vec![seed; height]))?;
        whole = if whole.width() == 0 { frame } else { whole.vstack(&frame)? };
    }
    whole.rechunk_mut();
    Ok(whole)
}

/// What the trainings and defenses of a plan took when they were made, in seconds, wherever and whenever that was.
pub fn spent(plan: &Plan, store: &Store) -> Result<f64> {
    with_laboratory(plan, store, |laboratory| {
        let mut keys: Vec<Key> = Vec::new();
        for seed in &plan.seeds {
            for attack in &plan.attacks {
                let trained = laboratory.train_key(attack, *seed);
                for defense in &plan.defenses {
                    keys.push(laboratory.defend_key(&trained, defense, *seed)?);
                }
                keys.push(trained);
            }
        }
        Ok(keys.iter().filter_map(|key| store.seconds(key)).sum())
    })
}

fn with_laboratory<T>(
    plan: &Plan,
    store: &Store,
    ask: impl FnOnce(&Laboratory<'_>) -> Result<T>,
) -> Result<T> {
    let (progress, never) = (Progress::new(Verbosity::Quiet, 1.0, 80), AtomicBool::new(false));
    ask(&Laboratory::new(plan, store, &progress, &never)?)
}

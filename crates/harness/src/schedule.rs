//! What is done first where time is short, and what is left for another run.
//!
//! First what the store has; then seed by seed the undefended model of every attack, which says whether it is
//! implanted; then the cells that claims name; then the others: each time the shortest first.

use std::time::Instant;

use anyhow::Result;
use base::duration;
use plan::Plan;
use record::Claim;

use crate::forecast::{Forecast, forecast};
use crate::stages::Stages;
use crate::survey::surveyed;

/// A budget, and what everything is expected to take.
pub(crate) struct Schedule<'a> {
    plan: &'a Plan,
    deadline: Instant,
    /// Of every cell, by seed, attack and defense.
    cells: Vec<Forecast>,
}

/// The seed of a task, its attack, and the defense of one that defends; numbers are into the plan's lists.
pub(crate) type Place = (u64, usize, Option<usize>);

impl<'a> Schedule<'a> {
    /// That of a plan whose data are checked, on a machine that does `speed` FLOP/s for each cell.
    pub(crate) fn new(stages: &Stages<'a>, deadline: Instant, speed: f64) -> Result<Self> {
        let (plan, (cells, _)) = (stages.plan, surveyed(stages)?);
        Ok(Self { plan, deadline, cells: forecast(plan, stages.context.store, &cells, speed)? })
    }

    fn cell(&self, seed: u64, attack: usize, defense: usize) -> Forecast {
        let seed = self.number(seed);
        let index = (seed * self.plan.attacks.len() + attack) * self.plan.defenses.len() + defense;
        self.cells.get(index).copied().unwrap_or_default()
    }

    fn number(&self, seed: u64) -> usize {
        self.plan.seeds.iter().position(|other| *other == seed).unwrap_or_default()
    }

    /// Seconds of a task: a training, for which any of its cells stands, or where there is a defense that one and what
    /// is observed after it.
    pub(crate) fn seconds(&self, (seed, attack, defense): Place) -> f64 {
        match defense {
            None => {
                let cells = (0..self.plan.defenses.len()).map(|defense| self.cell(seed, attack, defense));
                cells.map(|cell| cell.seconds[0]).fold(0.0, f64::max)
            }
            Some(defense) => self.cell(seed, attack, defense).seconds[1..].iter().sum(),
        }
    }

    /// Where a task stands in the order; lower is earlier.
    pub(crate) fn rank(&self, place @ (seed, attack, defense): Place) -> (bool, usize, usize, u64) {
        let seconds = self.seconds(place);
        let telling = defense.map_or(0, |defense| {
            let (attack, defense) = (&self.plan.attacks[attack].label, &self.plan.defenses[defense]);
            let about = |claim: &Claim| claim.attacks.contains(attack) && claim.defense == defense.label;
            match defense.entry.card.is_baseline() {
                true => 0,
                false if self.plan.claims.iter().any(about) => 1,
                false => 2,
            }
        });
        (seconds > 0.0, self.number(seed), telling, (seconds * 1000.0) as u64)
    }

    /// Why a task is left for another run; `None` where there is time for it. The first that takes any time is never
    /// left, so that every run brings the next further.
    pub(crate) fn leaves(&self, place: Place, is_first: bool) -> Option<String> {
        let (seconds, now) = (self.seconds(place), Instant::now());
        let left = self.deadline.saturating_duration_since(now).as_secs_f64();
        let fits = seconds == 0.0 || is_first || seconds <= left;
        let (seconds, left) = (duration(seconds), duration(left));
        (!fits).then(|| {
            format!("left for another run: about {seconds} are needed, {left} of the budget are left")
        })
    }
}

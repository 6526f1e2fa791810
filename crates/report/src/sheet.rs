//! Everything that a report says, decided once. Renderers only lay it out, so that a cell has the same state, the same
//! words and the same figures in the terminal, Markdown, LaTeX, CSV, JSON and on the page.

use anyhow::Result;
use polars_core::prelude::{Column, DataFrame, NamedFrom, Series};
use record::{Coverage, Design, Row, Status, TriggerSize};

use crate::frontier::{Reached, chooser};
use crate::mean::Mean;
use crate::summary::Summary;
use crate::verdict::{Judgement, Verdict, judge};

/// What is known of a cell over all its seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    /// Clean accuracy and attack success rate.
    Measured([Mean; 2]),
    /// The same, of a defense that has nothing to defend against: the attack is not in the undefended model.
    NotImplanted([Mean; 2]),
    /// A seed failed.
    Failed,
    /// No seed was run.
    Skipped,
}

impl State {
    /// The state of a cell on a test set.
    pub fn of(design: &Design, summary: &Summary, attack: &str, defense: &str, set: &str) -> Self {
        match summary.pair(attack, defense, set) {
            _ if summary.failed(attack, defense) => Self::Failed,
            None => Self::Skipped,
            Some(pair) if summary.not_implanted(design, attack, defense) => Self::NotImplanted(pair),
            Some(pair) => Self::Measured(pair),
        }
    }

    /// Its name, in every form of a report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Measured(_) => "measured",
            Self::NotImplanted(_) => "not implanted",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }

    /// Clean accuracy and attack success rate as tables show them; otherwise the state's name.
    pub fn shown(self) -> Result<[Mean; 2], &'static str> {
        match self {
            Self::Measured(pair) => Ok(pair),
            other => Err(other.name()),
        }
    }

    /// The two means, shown or not.
    fn pair(self) -> Option<[Mean; 2]> {
        match self {
            Self::Measured(pair) | Self::NotImplanted(pair) => Some(pair),
            Self::Failed | Self::Skipped => None,
        }
    }
}

/// The cells of one test set.
pub struct Grid {
    /// Label of the test set.
    pub set: String,
    /// The accuracy of guessing, a fraction; `None` where nothing was evaluated.
    pub chance: Option<f64>,
    /// Labels of the attacks.
    pub attacks: Vec<String>,
    /// Labels of the defenses.
    pub defenses: Vec<String>,
    /// States by attack, then by defense.
    pub cells: Vec<Vec<State>>,
}

impl Grid {
    /// Each cell: attack, defense, state.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str, State)> {
        self.attacks.iter().zip(&self.cells).flat_map(|(attack, row)| {
            self.defenses.iter().zip(row).map(|(defense, state)| (attack.as_str(), defense.as_str(), *state))
        })
    }
}

/// Attack success rates up to which frontiers give the accuracy kept.
pub(crate) const CAPS: [f64; 3] = [0.01, 0.05, 0.10];

/// What a family of settings keeps.
pub struct Kept {
    /// Label of the attack.
    pub attack: String,
    /// Family of the defense.
    pub family: String,
    /// The undefended cell.
    pub undefended: State,
    /// What is reached at each of [`CAPS`], and the hypervolume; otherwise why there is none.
    pub reached: Result<([Option<Reached>; 3], Option<Mean>), &'static str>,
}

/// The frontiers of a plan that tunes its defenses.
pub struct Frontiers {
    /// Label of the test set on which settings and epochs are chosen.
    pub chosen_on: String,
    /// Label of the test set whose values are given.
    pub judged_on: String,
    /// A row for each attack and family.
    pub rows: Vec<Kept>,
}

/// A report of one record or run.
pub struct Sheet<'a> {
    /// The experiment.
    pub design: &'a Design,
    /// What each defense keeps; `None` where the plan neither observes every epoch nor has a set to choose models on.
    pub frontiers: Option<Frontiers>,
    /// A grid for each test set.
    pub grids: Vec<Grid>,
    /// Success rate of each trigger on the unpoisoned model, on the judged test set.
    pub base_rates: Vec<(String, Mean)>,
    /// What readers must know of data that were not complete, and of triggers that hardly reach the model.
    pub notes: Vec<String>,
    /// Every claim with its verdict; of required ones those that do not hold.
    pub judgements: Vec<Judgement<'a>>,
    /// How many required bands hold, and how many there are.
    pub required: [usize; 2],
    /// Rows of cells that failed.
    pub failures: Vec<Row>,
}

impl<'a> Sheet<'a> {
    /// Decides everything that a report of these rows says.
    pub fn of(design: &'a Design, summary: &Summary) -> Self {
        let judged = design.judged();
        let rate = |label: &String| Some((label.clone(), summary.base_rate(design, label, judged)?));
        let (required, mut judgements): (Vec<_>, Vec<_>) =
            judge(design, summary).into_iter().partition(|judgement| judgement.claim.required);
        let all = required.len();
        judgements.extend(required.into_iter().filter(|judgement| judgement.verdict != Verdict::Reproduced));
        let broken = judgements.iter().filter(|judgement| judgement.claim.required).count();
        let failures = summary.unmeasured.iter().filter(|row| row.status == Status::Failed);
        Self {
            design,
            frontiers: frontiers(design, summary),
            grids: design.tests.iter().map(|test| grid(design, summary, &test.label)).collect(),
            base_rates: design.poisoned().filter_map(|attack| rate(&attack.label)).collect(),
            notes: notes(summary),
            judgements,
            required: [all - broken, all],
            failures: failures.cloned().collect(),
        }
    }

    /// How many of the plan's required bands hold; `None` where it has none.
    pub fn required_line(&self) -> Option<String> {
        let [held, all] = self.required;
        (all > 0).then(|| format!("Required bands of the plan: {held} of {all} hold"))
    }

    /// The grids as one table: a row for each test set, attack and defense, with its state, the accuracy of guessing,
    /// the number of seeds, and mean and deviation of both primary metrics as fractions.
    pub fn frame(&self) -> Result<DataFrame> {
        let cells: Vec<(&Grid, &str, &str, State)> = self
            .grids
            .iter()
            .flat_map(|grid| grid.iter().map(move |(a, d, state)| (grid, a, d, state)))
            .collect();
        let seeds = cells.iter().map(|(.., state)| state.pair().map_or(0, |[mean, _]| mean.seeds as u64));
        let number = |name: &str, value: &dyn Fn([Mean; 2]) -> Option<f64>| {
            column(name, cells.iter().map(|(.., state)| state.pair().and_then(value)))
        };
        Ok(DataFrame::new(
            cells.len(),
            vec![
                column("test_set", cells.iter().map(|(grid, ..)| grid.set.as_str())),
                column("attack", cells.iter().map(|(_, attack, ..)| *attack)),
                column("defense", cells.iter().map(|(_, _, defense, _)| *defense)),
                column("state", cells.iter().map(|(.., state)| state.name())),
                column("chance", cells.iter().map(|(grid, ..)| grid.chance)),
                column("seeds", seeds),
                number("clean_accuracy_mean", &|[accuracy, _]| Some(accuracy.mean)),
                number("clean_accuracy_sd", &|[accuracy, _]| accuracy.deviation),
                number("attack_success_rate_mean", &|[_, success]| Some(success.mean)),
                number("attack_success_rate_sd", &|[_, success]| success.deviation),
            ],
        )?)
    }
}

/// What readers must know of data and triggers.
fn notes(summary: &Summary) -> Vec<String> {
    let data = summary.data.iter().flat_map(Coverage::notes).map(|note| format!("Data: {note}"));
    let triggers = summary.triggers.iter().filter_map(TriggerSize::warning);
    data.chain(triggers.map(|warning| format!("Trigger: {warning}"))).collect()
}

fn column<T>(name: &str, values: impl Iterator<Item = T>) -> Column
where
    Series: NamedFrom<Vec<T>, [T]>,
{
    Column::new(name.into(), values.collect::<Vec<_>>())
}

fn grid(design: &Design, summary: &Summary, set: &str) -> Grid {
    let labels =
        |methods: &[record::Method]| methods.iter().map(|method| method.label.clone()).collect::<Vec<_>>();
    let (attacks, defenses) = (labels(&design.attacks), labels(&design.defenses));
    let state = |attack: &str| {
        defenses.iter().map(|defense| State::of(design, summary, attack, defense, set)).collect()
    };
    let cells = attacks.iter().map(|attack| state(attack)).collect();
    Grid { set: set.to_owned(), chance: summary.chance(set), attacks, defenses, cells }
}

fn frontiers(design: &Design, summary: &Summary) -> Option<Frontiers> {
    let (chosen_on, apart) = chooser(design);
    if !design.every_epoch && !apart {
        return None;
    }
    let undefended = &design.undefended()?.label;
    let mut rows = Vec::new();
    for attack in design.poisoned().map(|attack| &attack.label) {
        for family in design.families().into_iter().filter(|family| family != undefended) {
            let reached = match summary.not_implanted(design, attack, family) {
                true => Err("not implanted"),
                false => Ok((
                    CAPS.map(|cap| summary.reached(design, attack, family, cap)),
                    summary.points.hypervolume(design, attack, family),
                )),
            };
            rows.push(Kept {
                attack: attack.clone(),
                family: family.to_owned(),
                undefended: State::of(design, summary, attack, undefended, design.judged()),
                reached,
            });
        }
    }
    let (chosen_on, judged_on) = (chosen_on.to_owned(), design.judged().to_owned());
    (!rows.is_empty()).then_some(Frontiers { chosen_on, judged_on, rows })
}

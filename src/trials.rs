//! Cells and claims of a plan as tests: each a trial of its own that runs no more than it needs, from a store that
//! processes share.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use base::{Verbosity, describe};
use harness::Options;
use harness::forecast::SPEEDS;
use harness::survey::{DataState, survey};
use libtest_mimic::{Completion, Failed, Trial};
use plan::Plan;
use plan::cost::Cost;
use record::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY, Needs};
use record::{CellId, Design, Metrics, Row, Status, View};
use report::{Judgement, Summary, Verdict, judge};
use store::Store;

use crate::commands::fetch::remedy;

/// Trials that cost more floating-point operations with nothing stored are ignored unless asked for: those of ten
/// minutes on two CPU cores.
const HEAVY: f64 = 600.0 * 2.0 * SPEEDS[0];

/// A plan whose cells are trials.
pub struct Trials {
    plan: Plan,
    design: Design,
    metrics: Metrics,
    store: PathBuf,
    threads: usize,
    /// What this process has run already.
    ran: Mutex<BTreeMap<View, Arc<OnceLock<Ran>>>>,
    ledger: Mutex<Vec<Entry>>,
}

/// Rows of a cell, or why there are none.
type Ran = Result<Vec<Row>, Trouble>;

#[derive(Clone, Debug)]
enum Trouble {
    /// Data are not here.
    Missing(String),
    /// The machine or the program.
    Failed(String),
}

/// How a trial ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The trial.
    pub name: String,
    /// `measured` for a cell; of a claim its verdict; `failed`, or `skipped` where something is missing.
    pub outcome: &'static str,
    /// What was found or what is missing.
    pub message: String,
}

/// Every outcome, in the order of the ledger.
pub const OUTCOMES: [&str; 7] =
    ["measured", "reproduced", "not reproduced", "undecided", "not implanted", "failed", "skipped"];

impl Trials {
    /// The trials of a plan, over a store that exists or will be made; each runs with `threads` threads.
    pub fn new(plan: Plan, metrics: Metrics, store: PathBuf, threads: usize) -> anyhow::Result<Self> {
        let (design, threads) = (plan.design()?, threads.max(1));
        Ok(Self { plan, design, metrics, store, threads, ran: Mutex::default(), ledger: Mutex::default() })
    }

    /// How the trials that ran ended, by name.
    pub fn ledger(&self) -> Vec<Entry> {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
        ledger.sort_by(|a, b| a.name.cmp(&b.name));
        ledger
    }

    /// Every cell and every claim as a trial. Nothing is read, built or run before one starts.
    pub fn trials(self: &Arc<Self>) -> anyhow::Result<Vec<Trial>> {
        let mut trials = Vec::new();
        for cell in self.design.cells() {
            let (own, name, view) = (self.clone(), cell.to_string(), cell.final_view());
            let heavy = self.is_heavy(std::slice::from_ref(&view));
            trials.push(self.trial(name, move || own.check(&view)).with_ignored_flag(heavy));
        }
        // Without rows every judgement is there and none is made.
        for (index, judgement) in judge(&self.design, &Summary::of(&[])).iter().enumerate() {
            let (own, views) = (self.clone(), self.needed(judgement));
            let (heavy, claim) = (self.is_heavy(&views), move || own.claim(index, &views));
            trials.push(self.trial(self.name(judgement), claim).with_ignored_flag(heavy));
        }
        Ok(trials)
    }

    /// A trial of this name that writes into the ledger.
    fn trial(
        self: &Arc<Self>,
        name: String,
        run: impl FnOnce() -> Result<(&'static str, String), Trouble> + Send + 'static,
    ) -> Trial {
        let trials = self.clone();
        Trial::ignorable_test(name.clone(), move || {
            let (outcome, message) = match run() {
                Ok(done) => done,
                Err(Trouble::Missing(message)) => ("skipped", message),
                Err(Trouble::Failed(message)) => ("failed", message),
            };
            let completion = match outcome {
                "measured" | "reproduced" => Ok(Completion::Completed),
                "skipped" => Ok(Completion::ignored_with(&message)),
                "not reproduced" => Err(Failed::from(&message)),
                other => Err(Failed::from(format!("{other}: {message}"))),
            };
            let entry = Entry { name, outcome, message };
            trials.ledger.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
            completion
        })
    }

    /// `claim-2::the-attack-implants::badnet::attack-success-rate`; claims are counted from 1, as two may be worded alike.
    fn name(&self, judgement: &Judgement<'_>) -> String {
        let Judgement { claim, attack, trigger, metric, .. } = judgement;
        let number = 1 + self.design.claims.iter().take_while(|other| !std::ptr::eq(*other, *claim)).count();
        let lower = claim.claim.to_lowercase();
        let words: Vec<&str> =
            lower.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let under = trigger.map_or_else(String::new, |trigger| format!("::under-{trigger}"));
        format!("claim-{number}::{}::{attack}{under}::{metric}", words.join("-"))
    }

    /// The cells that a judgement needs: those it names, and the undefended one, which says whether the attack is
    /// implanted.
    fn needed(&self, judgement: &Judgement<'_>) -> Vec<View> {
        let Judgement { claim, attack, trigger, .. } = judgement;
        let minus = claim.minus.as_ref();
        let other_attack = minus.and_then(|other| other.attack.as_deref()).unwrap_or(attack);
        let other_defense = minus.and_then(|other| other.defense.as_deref()).unwrap_or(&claim.defense);
        let mut views = BTreeSet::new();
        for defense in &self.design.defenses {
            let named =
                |name: &str| defense.label == name || (claim.at_success.is_some() && defense.family == name);
            let undefended = defense.is_baseline();
            let wanted =
                [(*attack, named(&claim.defense) || undefended), (other_attack, named(other_defense))];
            for (attack, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
                for seed in &self.design.seeds {
                    // The undefended one is also needed under its own trigger.
                    let own = undefended.then_some(attack);
                    for trigger in std::iter::once(trigger.unwrap_or(attack)).chain(own) {
                        let cell = CellId::new(attack, &defense.label, *seed);
                        views.insert(View { cell, trigger: trigger.to_owned(), epoch: None });
                    }
                }
            }
        }
        views.into_iter().collect()
    }

    fn is_heavy(&self, views: &[View]) -> bool {
        let cost = Cost::of(&self.plan);
        let trained: BTreeSet<_> = views.iter().map(|view| (&view.cell.attack, view.cell.seed)).collect();
        let defense = |view: &View| {
            let choice = self.plan.defenses.iter().find(|choice| choice.label == view.cell.defense);
            choice.map_or(0.0, |choice| cost.defense(choice))
        };
        let defended: f64 = views.iter().map(|view| defense(view) + cost.observation()).sum();
        trained.len() as f64 * cost.training() + defended > HEAVY
    }

    /// Rows of a cell, from this process, the store, or a run of what is missing.
    fn ran(&self, view: &View) -> Ran {
        let slot = {
            let mut ran = self.ran.lock().unwrap_or_else(PoisonError::into_inner);
            ran.entry(view.clone()).or_default().clone()
        };
        slot.get_or_init(|| self.run(view)).clone()
    }

    fn run(&self, view: &View) -> Ran {
        let failed = |error: anyhow::Error| Trouble::Failed(describe(&error));
        let View { cell, trigger, .. } = view;
        let plan = self.plan.part(&[&cell.attack, trigger], &cell.defense, cell.seed);
        let store = Store::open(&self.store).map_err(failed)?;
        let (_, data) = survey(&plan, &store).map_err(failed)?;
        for known in &data {
            if let DataState::Absent(why) = &known.state {
                return Err(Trouble::Missing(format!("needs {}: {why}{}", known.set, remedy(why))));
            }
        }
        if let Some(path) = plan.initial_weights.as_ref().filter(|path| !path.exists()) {
            let path = path.display().to_string();
            return Err(Trouble::Missing(format!("needs {path}{}", remedy(&path))));
        }
        let (threads, metrics) = (self.threads, self.metrics.clone());
        let options =
            Options { jobs: 1, threads, verbosity: Verbosity::Quiet, width: 80, budget: None, metrics };
        let outcome = harness::run(&plan, &store, &options, &AtomicBool::new(false)).map_err(failed)?;
        let own = outcome.observations.iter().filter(|found| found.view.cell == *cell);
        let mut rows: Vec<Row> = own.flat_map(|found| found.rows(&self.metrics)).collect();
        if let Some(row) = rows.iter().find(|row| row.status != Status::Measured) {
            return Err(Trouble::Failed(row.message.clone()));
        }
        rows.retain(|row| row.trigger == *trigger);
        Ok(rows)
    }

    /// A cell is measured where every image was looked at and every figure is possible.
    fn check(&self, view: &View) -> Result<(&'static str, String), Trouble> {
        let rows = self.ran(view)?;
        let failed = |message: String| Err(Trouble::Failed(message));
        let find = |name: &str| self.metrics.find(name);
        // A model with a trained head is not asked for pairs.
        let undefended = self.design.defense(&view.cell.defense).is_some_and(|defense| defense.is_baseline());
        let of_pairs = |row: &Row| find(&row.metric).is_some_and(|metric| metric.needs == Needs::Pairs);
        let has_head = !undefended && !rows.iter().any(|row| row.epoch.is_none() && of_pairs(row));
        for test in &self.plan.tests {
            let own = |metric: &str| {
                let mut rows = rows.iter().filter(|row| row.epoch.is_none() && row.test_set == test.label);
                rows.find(|row| row.metric == metric)
            };
            for metric in self.metrics.iter() {
                let [lowest, highest] = metric.range;
                let pairs = metric.needs == Needs::Pairs;
                match own(metric.name).and_then(|row| row.value) {
                    Some(value) if (lowest..=highest).contains(&value) => {}
                    Some(value) => return failed(format!("{} is {value}", metric.name)),
                    // Not every plan or set has any.
                    None if pairs && (has_head || self.plan.test_pairs == 0) => {}
                    None if pairs && !test.build().is_ok_and(|set| set.pairs.is_some()) => {}
                    None => return failed(format!("{} was not measured on {}", metric.name, test.label)),
                }
            }
        }
        let [accuracy, success] = [CLEAN_ACCURACY, ATTACK_SUCCESS_RATE].map(|metric| {
            let found = rows.iter().find(|row| row.epoch.is_none() && row.metric == metric);
            found.and_then(|row| row.value).unwrap_or(f64::NAN)
        });
        Ok(("measured", format!("clean accuracy {accuracy:.3}, attack success rate {success:.3}")))
    }

    /// Values of a cell, for comparisons with another one.
    pub fn values(&self, attack: &str, defense: &str, seed: u64) -> Result<Vec<Option<f64>>, Failed> {
        match self.ran(&CellId::new(attack, defense, seed).final_view()) {
            Ok(rows) => Ok(rows.iter().map(|row| row.value).collect()),
            Err(Trouble::Missing(message) | Trouble::Failed(message)) => Err(message.into()),
        }
    }

    fn claim(&self, index: usize, views: &[View]) -> Result<(&'static str, String), Trouble> {
        let mut rows = Vec::new();
        for view in views {
            rows.extend(self.ran(view)?);
        }
        let mut summary = Summary::of(&rows);
        summary.metrics = self.metrics.clone();
        let judgements = judge(&self.design, &summary);
        let Some(judgement) = judgements.get(index) else {
            return Err(Trouble::Failed("no such claim".to_owned()));
        };
        let message = judgement.in_words();
        match judgement.verdict {
            Verdict::Failed | Verdict::Skipped => Err(Trouble::Failed(message)),
            verdict => Ok((verdict.name(), message)),
        }
    }
}

/// How many trials ended how, in a line; outcomes that did not occur are left out.
pub fn counted(ledger: &[Entry]) -> String {
    let count = |outcome: &str| ledger.iter().filter(|entry| entry.outcome == outcome).count();
    let counts = OUTCOMES.iter().map(|outcome| (count(outcome), outcome)).filter(|(count, _)| *count > 0);
    let counts: Vec<String> = counts.map(|(count, outcome)| format!("{count} {outcome}")).collect();
    if counts.is_empty() { "nothing ran".to_owned() } else { counts.join(", ") }
}

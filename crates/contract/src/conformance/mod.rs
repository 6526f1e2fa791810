//! What every entry must do, whatever it is: the contracts, tried on small data. `cleanbench conformance NAME` prints it.

mod attack;
mod dataset;
mod defense;
pub mod fixture;

use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::{Map, Value, json};

use crate::{Attack, Dataset, Defense, Entry};
use base::{describe, panic_text};

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As the contract says.
    Passed,
    /// Otherwise; says what was found.
    Failed(String),
    /// The contract asks nothing of such an entry; says why.
    NotApplicable(String),
}

/// One promise of a contract, and whether it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The promise.
    pub name: &'static str,
    /// Whether it is kept.
    pub outcome: Outcome,
}

/// Every check of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// What was tried, and in which preset.
    pub entry: String,
    /// The checks, in the order in which they were made.
    pub checks: Vec<Check>,
}

impl Report {
    /// Whether no check failed.
    pub fn passed(&self) -> bool {
        !self.checks.iter().any(|check| matches!(check.outcome, Outcome::Failed(_)))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.entry)?;
        for Check { name, outcome } in &self.checks {
            match outcome {
                Outcome::Passed => writeln!(formatter, "  passed  {name}")?,
                Outcome::Failed(found) => writeln!(formatter, "  FAILED  {name}: {found}")?,
                Outcome::NotApplicable(why) => writeln!(formatter, "  -       {name}: {why}")?,
            }
        }
        Ok(())
    }
}

/// Tries a defense in its preset `smoke`, or in the first where there is none. `settings` are laid over every preset:
/// empty, but for entries whose presets leave something open.
pub fn defense(entry: &Entry<Defense>, settings: &Map<String, Value>) -> Report {
    report("defense", entry, settings, defense::checks)
}

/// The same for an attack.
pub fn attack(entry: &Entry<Attack>, settings: &Map<String, Value>) -> Report {
    report("attack", entry, settings, attack::checks)
}

/// The same for a data set. Where its files are not there, what needs them is not applicable.
pub fn dataset(entry: &Entry<Dataset>, settings: &Map<String, Value>) -> Report {
    report("data set", entry, settings, dataset::checks)
}

/// Reads settings as they would stand in a plan's row, without the braces: `key: value, other-key: value`.
pub fn settings(text: &str) -> Result<Map<String, Value>> {
    serde_yaml::from_str(&format!("{{{text}}}")).context("expected keys and values, as in a plan")
}

/// Why a check asks nothing of an entry.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Skip(String);

fn skip(why: &str) -> anyhow::Error {
    Skip(why.to_owned()).into()
}

/// What the operating system says of a file that is not there. Readers wrap its error each in a way of their own, so that
/// only the words are left to look for.
const MISSING: &str = "(os error 2)";

/// Files that are not there are nobody's fault.
fn there<T>(found: Result<T>) -> Result<T> {
    found.map_err(|error| {
        let text = describe(&error);
        if text.contains(MISSING) { skip(&text) } else { error }
    })
}

/// Makes checks one after the other.
struct Checks(Vec<Check>);

impl Checks {
    /// Makes a check; a panic fails it.
    fn add(&mut self, name: &'static str, check: impl FnOnce() -> Result<()>) {
        let done = catch_unwind(AssertUnwindSafe(check))
            .unwrap_or_else(|payload| Err(anyhow!("a panic: {}", panic_text(&*payload))));
        let outcome = match done {
            Ok(()) => Outcome::Passed,
            Err(error) if error.is::<Skip>() => Outcome::NotApplicable(error.to_string()),
            Err(error) => Outcome::Failed(describe(&error)),
        };
        self.0.push(Check { name, outcome });
    }
}

/// The presets of an entry, complete.
struct Presets {
    all: Vec<(&'static str, Value)>,
    /// The one that is run: `smoke`, or the first where there is none.
    tried: Value,
}

/// Checks of one kind of entry.
type OfKind<T> = fn(&mut Checks, &Entry<T>, &Presets);

fn report<T>(kind: &str, entry: &Entry<T>, over: &Map<String, Value>, of_kind: OfKind<T>) -> Report {
    let mut all = (entry.presets)();
    for (_, settings) in &mut all {
        for (key, value) in over {
            settings[key] = value.clone();
        }
    }
    let mut checks = Checks(Vec::new());
    checks.add("the card says what it is", || card(entry));
    checks.add("presets build, and have the same keys", || presets(entry, &all));
    checks.add("settings that it does not know are refused by name", || strict(entry, &all));
    let mut name = format!("{kind} {}", entry.card.name);
    if let Some((preset, tried)) = all.iter().find(|(name, _)| *name == "smoke").or(all.first()).cloned() {
        name += &format!(", preset {preset}");
        of_kind(&mut checks, entry, &Presets { all, tried });
    }
    Report { entry: name, checks: checks.0 }
}

fn card<T>(entry: &Entry<T>) -> Result<()> {
    let card = &entry.card;
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    ensure!(!card.name.is_empty() && card.name.chars().all(is_plain), "name: lower case with hyphens");
    let texts = [("title", card.title), ("summary", card.summary), ("paper", card.paper)];
    for (key, text) in texts.into_iter().chain([("follows", card.follows), ("departs", card.departs)]) {
        ensure!(
            !text.trim().is_empty(),
            "{key} is empty; \"none\" or \"nothing\" where there is nothing to say"
        );
    }
    ensure!(card.version >= 1, "version: begins with 1");
    Ok(())
}

fn presets<T>(entry: &Entry<T>, presets: &[(&str, Value)]) -> Result<()> {
    ensure!(!presets.is_empty(), "there is no preset");
    let names: BTreeSet<&str> = presets.iter().map(|(name, _)| *name).collect();
    ensure!(names.len() == presets.len(), "two presets have one name: {names:?}");
    let keys = |settings: &Value| settings.as_object().map(|keys| keys.keys().cloned().collect::<Vec<_>>());
    for (name, settings) in presets {
        there((entry.build)(settings.clone()).map(|_| ()).with_context(|| format!("preset {name}")))?;
        ensure!(keys(settings) == keys(&presets[0].1), "preset {name} has other keys than {}", presets[0].0);
    }
    Ok(())
}

fn strict<T>(entry: &Entry<T>, presets: &[(&str, Value)]) -> Result<()> {
    for (name, mut settings) in presets.iter().cloned() {
        settings["no-such-key"] = json!(1);
        match (entry.build)(settings) {
            Ok(_) => bail!("preset {name} takes the key no-such-key"),
            Err(error) => {
                let text = describe(&error);
                ensure!(text.contains("no-such-key"), "preset {name}: the error names no key: {text}");
            }
        }
    }
    Ok(())
}

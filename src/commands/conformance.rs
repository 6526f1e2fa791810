//! `cleanbench conformance`.

use anyhow::Result;
use base::{out, suggestion};
use contract::conformance::{Report, attack, dataset, defense, settings};
use contract::external::Unnamed;
use contract::{Attack, Defense, Entry};
use plan::Catalog;
use serde_json::{Map, Value};

use crate::cli::{ConformanceOptions, Kind};
use crate::{FAILED, SUCCESS, user_error};

/// Tries every entry of this name and prints what it promises and keeps.
pub(crate) fn conformance(catalog: &Catalog, options: &ConformanceOptions) -> Result<u8> {
    let over = settings(&options.settings).map_err(|error| user_error(format!("--settings: {error:#}")))?;
    let name = options.name.as_str();
    let wanted = |kind| options.only.is_none_or(|only| Some(only) == kind);
    let set = named(&catalog.datasets, name).filter(|_| wanted(None));
    let attacks = named(&catalog.attacks, name).filter(|_| wanted(Some(Kind::Attack)));
    let defenses = named(&catalog.defenses, name).filter(|_| wanted(Some(Kind::Defense)));
    attacks.iter().try_for_each(|entry| is_complete(entry, &over, Attack::ready))?;
    defenses.iter().try_for_each(|entry| is_complete(entry, &over, Defense::ready))?;
    let found = [
        set.map(|entry| dataset(entry, &over)),
        attacks.map(|entry| attack(entry, &over)),
        defenses.map(|entry| defense(entry, &over)),
    ];
    let reports: Vec<Report> = found.into_iter().flatten().collect();
    if reports.is_empty() {
        let hint = suggestion(name, &catalog.names());
        return Err(user_error(format!("nothing is called {name:?}; {hint}")));
    }
    reports.iter().for_each(|report| out!("{report}"));
    Ok(if reports.iter().all(Report::passed) { SUCCESS } else { FAILED })
}

/// Refuses to try an entry whose program nobody named or that is not there.
fn is_complete<T>(entry: &Entry<T>, over: &Map<String, Value>, ready: fn(&T) -> Result<()>) -> Result<()> {
    let Some((_, mut tried)) = (entry.presets)().into_iter().next() else { return Ok(()) };
    for (key, value) in over {
        tried[key] = value.clone();
    }
    let built = match (entry.build)(tried) {
        Err(error) if !error.is::<Unnamed>() => return Ok(()),
        built => built.and_then(|built| ready(&built)),
    };
    built.map_err(|error| {
        let example = "--settings 'program: python3 mine.py, program-version: 1'";
        user_error(format!("{error}; name it with {example}, and the kind with --only"))
    })
}

fn named<T>(entries: &[&'static Entry<T>], name: &str) -> Option<&'static Entry<T>> {
    entries.iter().find(|entry| entry.card.name == name).copied()
}

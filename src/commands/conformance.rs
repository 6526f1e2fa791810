//! `cleanbench conformance`.

use anyhow::Result;
use harness::catalog::suggestion;
use harness::conformance::{Report, attack, dataset, defense, settings};
use harness::{Catalog, contract::Entry};

use crate::cli::{ConformanceOptions, Kind};
use crate::{FAILED, FINE, mistake};

/// Tries every entry of this name and prints what it promises and keeps.
pub(crate) fn conformance(catalog: &Catalog, options: &ConformanceOptions) -> Result<u8> {
    let over = settings(&options.settings).map_err(|error| mistake(format!("--settings: {error:#}")))?;
    let name = options.name.as_str();
    let (datasets, attacks, defenses) = (&catalog.datasets, &catalog.attacks, &catalog.defenses);
    let wanted = |kind| options.only.is_none_or(|only| Some(only) == kind);
    let found = [
        named(datasets, name).filter(|_| wanted(None)).map(|entry| dataset(entry, &over)),
        named(attacks, name).filter(|_| wanted(Some(Kind::Attack))).map(|entry| attack(entry, &over)),
        named(defenses, name).filter(|_| wanted(Some(Kind::Defense))).map(|entry| defense(entry, &over)),
    ];
    let reports: Vec<Report> = found.into_iter().flatten().collect();
    if reports.is_empty() {
        return Err(mistake(format!("nothing is called {name:?}; {}", suggestion(name, &catalog.names()))));
    }
    reports.iter().for_each(|report| print!("{report}"));
    Ok(if reports.iter().all(Report::passed) { FINE } else { FAILED })
}

fn named<T>(entries: &[&'static Entry<T>], name: &str) -> Option<&'static Entry<T>> {
    entries.iter().find(|entry| entry.card.name == name).copied()
}

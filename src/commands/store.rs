//! `cleanbench store`.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use base::{duration, outln, size, suggestion};
use harness::survey::{Surveyed, needed, survey};
use plan::Catalog;
use serde_json::{Value, json};
use store::{Difference, Garbage, Keep, Key, KeyIndex, Store, StoredEntry, parse_duration};

use super::load;
use crate::cli::{PruneOptions, StoreCommand, StoreFolder, StoreVerifyOptions, WhyOptions};
use crate::{CLAIM_FAILED, SUCCESS, user_error};

/// Looks into the store, or tidies it.
pub(crate) fn store(catalog: &Catalog, command: &StoreCommand) -> Result<u8> {
    match command {
        StoreCommand::List { folder, json } => list(&open(folder)?, *json),
        StoreCommand::Why(options) => why(catalog, options),
        StoreCommand::Verify(options) => verify(options),
        StoreCommand::Prune(options) => prune(catalog, options),
    }
}

/// The cell called `name`; otherwise a message that offers the nearest one.
pub(crate) fn named<'a>(cells: &'a [Surveyed], name: &str) -> Result<&'a Surveyed, String> {
    let names: Vec<String> = cells.iter().map(|found| found.cell.to_string()).collect();
    cells.iter().find(|found| found.cell.to_string() == name).ok_or_else(|| {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        format!("no cell is called {name:?}; {}", suggestion(name, &names))
    })
}

/// A store that exists.
fn open(folder: &StoreFolder) -> Result<Store> {
    let path = &folder.store;
    if !path.join("locks").is_dir() {
        return Err(user_error(format!("{} is not a store; name one with --store", path.display())));
    }
    Ok(Store::at(path))
}

fn list(store: &Store, as_json: bool) -> Result<u8> {
    let (entries, damaged) = store.entries()?;
    let index = KeyIndex::of(store, [])?;
    if as_json {
        for entry in &entries {
            let line = json!({
                "stage": entry.stage, "key": entry.hash, "what": index.in_words(&entry.description),
                "bytes": entry.bytes, "seconds": entry.seconds, "age_seconds": entry.age.as_secs(),
                "made_by": entry.made_by, "description": entry.description,
            });
            outln!("{line}");
        }
        return Ok(SUCCESS);
    }
    let mut stages: Vec<&str> = entries.iter().map(|entry| entry.stage.as_str()).collect();
    stages.dedup();
    for entry in &entries {
        let StoredEntry { stage, hash, bytes, seconds, age, .. } = entry;
        let (size, took, age) = (size(*bytes as f64), took(*seconds), ago(*age));
        let what = index.in_words(&entry.description);
        outln!("{stage:<8}{hash:.12}  {size:>9}  {took:>8}  {age:>8}  {what}");
    }
    outln!();
    let total = |name: &str, of: &mut dyn Iterator<Item = &StoredEntry>| {
        let (count, bytes, seconds) = of.fold((0, 0, 0.0), |(count, bytes, seconds), entry| {
            (count + 1, bytes + entry.bytes, seconds + entry.seconds)
        });
        outln!("{name:<8}{count:>12}  {:>9}  {:>8}", size(bytes as f64), took(seconds));
    };
    for stage in stages {
        total(stage, &mut entries.iter().filter(|entry| entry.stage == stage));
    }
    total("all", &mut entries.iter());
    for damage in damaged {
        outln!("damaged: {}: {}", damage.folder.display(), damage.problem);
    }
    Ok(SUCCESS)
}

fn why(catalog: &Catalog, options: &WhyOptions) -> Result<u8> {
    let store = open(&options.folder)?;
    let (first, second) = (&options.first, &options.second);
    let path = Path::new(first);
    if path.is_file() {
        return why_not_stored(catalog, &store, path, second);
    }
    let entry = |start: &str| store.entry(start).map_err(|error| user_error(error.to_string()));
    let (a, b) = (entry(first)?, entry(second)?);
    if a.stage != b.stage {
        return Err(user_error(format!("{first} is of the stage {}, {second} of {}", a.stage, b.stage)));
    }
    let index = KeyIndex::of(&store, [])?;
    outln!("{:.12}  {}", a.hash, index.in_words(&a.description));
    outln!("{:.12}  {}", b.hash, index.in_words(&b.description));
    let differences = index.differences(&a.description, &b.description);
    if differences.is_empty() {
        outln!("  the same key");
    }
    differences.iter().for_each(|difference| outln!("{}", in_words(difference)));
    Ok(SUCCESS)
}

/// Says which stages of a plan's cell the store has, and of the others what the nearest entry has in their place.
fn why_not_stored(catalog: &Catalog, store: &Store, path: &Path, name: &str) -> Result<u8> {
    let (cells, _) = survey(&load(catalog, Some(path))?, store)?;
    let cell = named(&cells, name).map_err(|near| user_error(format!("{}: {near}", path.display())))?;
    let keys = cell.keys.as_ref();
    let keys = keys.context("data of the plan are missing or not checked; `cleanbench plan` says which")?;
    let stored = KeyIndex::of(store, [])?;
    let index = KeyIndex::of(store, keys)?;
    let mut said = BTreeSet::new();
    for (key, has) in keys.iter().zip([cell.trained, cell.defended, cell.observed]) {
        outln!("{:<8}{:.12}  {}", key.stage(), key.hash(), if has { "stored" } else { "not stored" });
        if !has {
            print_nearest(&index, &stored, key, &mut said);
        }
    }
    Ok(SUCCESS)
}

/// Of what was `said` of an earlier stage, only that it was.
fn print_nearest(index: &KeyIndex, stored: &KeyIndex, key: &Key, said: &mut BTreeSet<String>) {
    match index.nearest(key, stored) {
        None => outln!("  the store has nothing of this stage"),
        Some((hash, description, differences)) => {
            outln!("  nearest: {hash:.12}  {}", index.in_words(description));
            let (new, old): (Vec<_>, Vec<_>) =
                differences.iter().map(in_words).partition(|line| !said.contains(line));
            new.iter().for_each(|line| outln!("{line}"));
            if !old.is_empty() {
                outln!("  and {} of those above", old.len());
            }
            said.extend(new);
        }
    }
}

fn in_words(Difference { stage, path, values, unknown }: &Difference) -> String {
    let [before, after] =
        values.each_ref().map(|value| value.as_ref().map_or("none".to_owned(), Value::to_string));
    let unknown = unknown.as_ref().map_or_else(String::new, |unknown| format!(" ({unknown})"));
    format!("  {stage}: {path}: {before} -> {after}{unknown}")
}

fn verify(options: &StoreVerifyOptions) -> Result<u8> {
    let store = open(&options.folder)?;
    let mut all = 0;
    let damaged = store.verify(|_, of| all = of)?;
    for damage in &damaged {
        outln!("damaged: {}: {}", damage.folder.display(), damage.problem);
    }
    outln!("{all} entries looked at, {} damaged", damaged.len());
    if damaged.is_empty() {
        return Ok(SUCCESS);
    }
    if options.remove {
        store.remove_damaged(&damaged)?;
        outln!("removed; the next run makes what it needs of them again");
    } else {
        outln!("--remove removes them; a run that needs one makes it again");
    }
    Ok(CLAIM_FAILED)
}

fn prune(catalog: &Catalog, options: &PruneOptions) -> Result<u8> {
    let store = open(&options.folder)?;
    if options.keep.is_empty() && options.older_than.is_none() && !options.other_builds && !options.partial {
        let message = "say what may go: --keep PLAN, --older-than 30d, --other-builds or --partial";
        return Err(user_error(message));
    }
    let mut hashes = None;
    for path in &options.keep {
        let known = || format!("{}: what it needs is not known; nothing was removed", path.display());
        let of_plan = needed(&load(catalog, Some(path))?, &store).with_context(known)?;
        hashes.get_or_insert_with(BTreeSet::new).extend(of_plan);
    }
    let younger = options.older_than.as_deref().map(parse_duration).transpose();
    let younger = younger.map_err(|error| user_error(error.to_string()))?;
    let (own, partial) = (options.other_builds, !options.partial);
    let garbage = store.garbage(&Keep { needed: hashes, younger, own, partial })?;
    let bytes: u64 = garbage.iter().map(|garbage| garbage.bytes).sum();
    for Garbage { kind, hash, bytes, .. } in &garbage {
        outln!("{kind:<10}{hash:.12}  {:>9}", size(*bytes as f64));
    }
    let what = format!("{} of {}", size(bytes as f64), garbage.len());
    if options.yes {
        store.remove_garbage(&garbage)?;
        outln!("freed {what} folders");
    } else {
        outln!("would free {what} folders; --yes does");
    }
    Ok(SUCCESS)
}

/// Seconds, as a clock tells them where they are many.
fn took(seconds: f64) -> String {
    if seconds < 60.0 { format!("{seconds:.1} s") } else { duration(seconds) }
}

/// A time ago in its largest unit.
fn ago(age: Duration) -> String {
    match age.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 7200 => format!("{} min", seconds / 60),
        seconds if seconds < 172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

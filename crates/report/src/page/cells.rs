//! Every cell of a record with all that it takes to make it again, and the record itself.

use std::collections::BTreeMap;

use maud::{Markup, html};
use record::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use record::{CellId, Manifest, Method, Row};
use serde_json::Value;

use super::input::Page;
use super::tables::{percent, table, wide};

fn pretty(value: &Value) -> Markup {
    html! { pre tabindex="0" { (serde_json::to_string_pretty(value).unwrap_or_default()) } }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:/".contains(letter);
    if word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// How many pairs were edited, and how.
fn edits(manifest: &Manifest) -> String {
    let kinds: Vec<String> = manifest.edits.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    format!("{} pairs ({})", manifest.edits.values().sum::<usize>(), kinds.join(", "))
}

/// Values of each cell on the judged set by metric, and the key of its evidence.
type Found<'a> = BTreeMap<CellId, (BTreeMap<&'a str, f64>, &'a str)>;

fn found<'a>(page: &Page<'a>) -> Found<'a> {
    let mut found = Found::new();
    let own = |row: &&Row| row.is_final() && row.test_set == page.design().judged();
    for row in page.rows.iter().filter(own) {
        let cell = found.entry(row.cell()).or_default();
        cell.1 = &row.evidence;
        cell.0.extend(row.value.map(|value| (row.metric.as_str(), value)));
    }
    found
}

/// One seed of a cell: what was found, hashes, and the commands that make it and look at it.
fn seed(page: &Page<'_>, found: &Found<'_>, cell: &CellId) -> Markup {
    let (CellId { seed, attack, .. }, name) = (cell, cell.to_string());
    let (values, evidence) = match found.get(cell) {
        Some((values, evidence)) => (Some(values), *evidence),
        None => (None, ""),
    };
    let value = |metric: &str| {
        values.and_then(|values| values.get(metric)).map_or("–".to_owned(), |value| percent(*value))
    };
    let manifest = page.manifests.get(&(*seed, attack.clone()));
    html! { dl {
        dt { "cell" } dd { code { (name) } }
        dt { "found" } dd { "CA " (value(CLEAN_ACCURACY)) " %, ASR " (value(ATTACK_SUCCESS_RATE)) " %" }
        @if let Some(manifest) = manifest {
            dt { "poison" } dd { (edits(manifest)) ", manifest " code { (manifest.hash) } }
        }
        @if !evidence.is_empty() { dt { "evidence" } dd { code { (evidence) } } }
        dt { "make it" } dd { code { "cleanbench test " (page.name) "/plan.resolved.yaml " (quoted(&name)) " --include-ignored" } }
        @if !evidence.is_empty() { dt { "keys of its stages" } dd { code { "cleanbench store why " (page.name) "/plan.resolved.yaml " (quoted(&name)) } } }
        @if manifest.is_some() {
            dt { "its manifest" } dd { code { "cleanbench report " (page.name) " --poison | grep " (quoted(&format!("^{seed},{attack},"))) " | b3sum" } }
        }
    } }
}

pub(super) fn cells(page: &Page<'_>) -> Option<Markup> {
    let (design, found) = (page.design(), found(page));
    let cell = |attack: &Method, defense: &Method| {
        html! {
            details {
                summary { (attack.label) "::" (defense.label) }
                div class="settings" { (pretty(&attack.resolved)) (pretty(&defense.resolved)) }
                @for number in &design.seeds { (seed(page, &found, &CellId::new(&attack.label, &defense.label, *number))) }
            }
        }
    };
    Some(html! {
        p { "Each cell with its settings, manifests, hashes and commands; what all share stands under " a href="#record" { "Record" } ". A printed page holds what is open." }
        @for attack in &design.attacks {
            h3 { (attack.label) }
            @for defense in &design.defenses { (cell(attack, defense)) }
        }
    })
}

/// The settings that all cells share.
fn shared(page: &Page<'_>) -> Value {
    let mut shared = page.design().resolved.clone();
    if let Some(keys) = shared.as_object_mut() {
        keys.retain(|key, _| !["attacks", "defenses", "expect", "question"].contains(&key.as_str()));
    }
    shared
}

pub(super) fn record(page: &Page<'_>) -> Option<Markup> {
    let poisoned = page.manifests.iter().map(|((seed, attack), manifest)| {
        vec![attack.clone(), seed.to_string(), edits(manifest), manifest.hash.clone()]
    });
    let data = page
        .summary
        .data
        .iter()
        .map(|data| vec![data.set.clone(), data.used_for.to_string(), data.content.clone()]);
    let (poisoned, data): (Vec<_>, Vec<_>) = (poisoned.collect(), data.collect());
    Some(html! {
        h3 { "To make all of it again" }
        pre tabindex="0" { "cleanbench run " (page.name) "/plan.resolved.yaml --record again\ncleanbench diff " (page.name) " again\ncleanbench replay " (page.name) "\ncleanbench report " (page.name) " --figures figures" }
        h3 { "What all cells share" }
        details { summary { "settings" } (pretty(&shared(page))) }
        @if !poisoned.is_empty() {
            h3 { "Poison manifests" }
            (table("poison manifests", &["attack", "seed", "edited", "BLAKE3"], 1, poisoned))
        }
        @if !data.is_empty() {
            h3 { "Data" }
            (table("data", &["data set", "used for", "BLAKE3"], 1, data))
        }
        h3 { "Its files" }
        (wide("files", html! { table {
            caption class="hidden" { "Files of the record" }
            thead { tr { th scope="col" { "file" } th scope="col" { "BLAKE3" } } }
            tbody { @for (name, hash) in page.files { tr { th scope="row" { (name) } td class="words" { code { (hash) } } } } }
        } }))
        h3 { "Where it ran" }
        pre tabindex="0" { (page.environment) }
    })
}

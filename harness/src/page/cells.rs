//! Every cell of a record with all that it takes to make it again, and the record itself.

use std::collections::BTreeMap;

use maud::{Markup, html};
use serde_json::{Value, json};

use super::Page;
use super::tables::{percent, table, wide};
use crate::contract::{Attack, Defense};
use crate::metric::{ATTACK_SUCCESS_RATE, CLEAN_ACCURACY};
use crate::plan::Choice;
use crate::record::{Manifest, Row};

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

/// What one seed of a cell found on the set judged, by metric, and the key of its evidence.
type Found<'a> = BTreeMap<(&'a str, &'a str, u64), (BTreeMap<&'a str, f64>, &'a str)>;

fn found<'a>(page: &Page<'a>) -> Found<'a> {
    let test = page.plan.tests.first().map_or("", |test| test.label.as_str());
    let mut found = Found::new();
    let own = |row: &&Row| row.epoch.is_none() && row.trigger == row.attack && row.test_set == test;
    for row in page.rows.iter().filter(own) {
        let cell = found.entry((&row.attack, &row.defense, row.seed)).or_default();
        cell.1 = &row.evidence;
        cell.0.extend(row.value.map(|value| (row.metric.as_str(), value)));
    }
    found
}

/// One seed of a cell: what was found, hashes, and the commands that make it and look at it.
fn seed(page: &Page<'_>, found: &Found<'_>, attack: &str, defense: &str, seed: u64) -> Markup {
    let name = format!("{attack}::{defense}::seed-{seed}");
    let (values, evidence) = match found.get(&(attack, defense, seed)) {
        Some((values, evidence)) => (Some(values), *evidence),
        None => (None, ""),
    };
    let value = |metric: &str| {
        values.and_then(|values| values.get(metric)).map_or("–".to_owned(), |value| percent(*value))
    };
    let manifest = page.manifests.get(&(seed, attack.to_owned()));
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

fn settings<T>(choice: &Choice<T>, kind: &str) -> Markup {
    let granted = choice.reserved.iter().filter(|(_, value)| !value.is_null());
    let mut settings = json!({ kind: choice.entry.card.name, "version": choice.entry.card.version, "preset": choice.preset });
    granted.for_each(|(key, value)| settings[key.as_str()] = value.clone());
    settings["settings"] = choice.settings.clone();
    pretty(&settings)
}

pub(super) fn cells(page: &Page<'_>) -> Option<Markup> {
    let (plan, found) = (page.plan, found(page));
    let cell = |attack: &Choice<Attack>, defense: &Choice<Defense>| {
        html! {
            details {
                summary { (attack.label) "::" (defense.label) }
                div class="settings" { (settings(attack, "attack")) (settings(defense, "defense")) }
                @for number in &plan.seeds { (seed(page, &found, &attack.label, &defense.label, *number)) }
            }
        }
    };
    Some(html! {
        p { "Each cell with its settings, manifests, hashes and commands; what all share stands under " a href="#record" { "Record" } ". A printed page holds what is open." }
        @for attack in &plan.attacks {
            h3 { (attack.label) }
            @for defense in &plan.defenses { (cell(attack, defense)) }
        }
    })
}

/// What decides every cell of a plan alike.
fn shared(page: &Page<'_>) -> Value {
    let plan = page.plan;
    json!({
        "training set": { plan.train.label.as_str(): plan.train.settings },
        "pairs": plan.pairs, "clean pairs": plan.clean_pairs, "clean images": plan.clean_images,
        "test sets": plan.tests.iter().map(|test| json!({ test.label.as_str(): test.settings })).collect::<Vec<_>>(),
        "test images": plan.test_images, "test pairs": plan.test_pairs,
        "target": plan.target, "data seed": plan.data_seed, "seeds": plan.seeds,
        "model": plan.model, "recipe": plan.recipe,
        "pretraining": plan.pretraining.as_ref().map(|choice| json!({ choice.label.as_str(): choice.settings })),
        "device": plan.device.to_string(),
    })
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

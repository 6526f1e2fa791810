//! `cleanbench list`.

use anyhow::Result;
use base::{out, outln, suggestion};
use contract::Entry;
use plan::Catalog;
use report::wrap;

use super::terminal_width;
use crate::cli::ListOptions;
use crate::{SUCCESS, user_error};

/// Prints every entry in a line each, or one in full.
pub(crate) fn list(catalog: &Catalog, options: &ListOptions) -> Result<u8> {
    let Some(name) = &options.name else {
        print_all("data sets", &catalog.datasets);
        print_all("attacks", &catalog.attacks);
        print_all("defenses", &catalog.defenses);
        return Ok(SUCCESS);
    };
    let mut found = print_one("data set", &catalog.datasets, name)?;
    found |= print_one("attack", &catalog.attacks, name)?;
    found |= print_one("defense", &catalog.defenses, name)?;
    if found {
        return Ok(SUCCESS);
    }
    Err(user_error(format!("nothing is called {name:?}; {}", suggestion(name, &catalog.names()))))
}

fn print_all<T>(kind: &str, entries: &[&'static Entry<T>]) {
    let mut text = format!("{kind}\n");
    for entry in entries {
        let indents = [format!("  {:<17}", entry.card.name), " ".repeat(20)];
        wrap(&mut text, entry.card.summary, indents.each_ref().map(String::as_str), terminal_width());
    }
    out!("{text}");
}

fn print_one<T>(kind: &str, entries: &[&'static Entry<T>], name: &str) -> Result<bool> {
    let Some(entry) = entries.iter().find(|entry| entry.card.name == name) else { return Ok(false) };
    let card = &entry.card;
    outln!("{kind} {} (version {}): {}", card.name, card.version, card.title);
    outln!("  {}", card.summary);
    outln!("  paper:   {}\n  follows: {}\n  departs: {}", card.paper, card.follows, card.departs);
    for (preset, settings) in (entry.presets)() {
        outln!("  preset {preset}: {}", serde_json::to_string(&settings)?);
    }
    Ok(true)
}

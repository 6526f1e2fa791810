//! What there is to choose from: the lists of data sets, attacks and defenses joined.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::contract::{Attack, Dataset, Defense, Entry};

/// Every data set, attack and defense of a program.
pub struct Catalog {
    /// Data sets.
    pub datasets: Vec<&'static Entry<Dataset>>,
    /// Attacks.
    pub attacks: Vec<&'static Entry<Attack>>,
    /// Defenses.
    pub defenses: Vec<&'static Entry<Defense>>,
}

impl Catalog {
    /// The same with one more data set, behind the others.
    #[must_use]
    pub fn dataset(mut self, entry: &'static Entry<Dataset>) -> Self {
        self.datasets.push(entry);
        self
    }

    /// The same with one more attack, behind the others.
    #[must_use]
    pub fn attack(mut self, entry: &'static Entry<Attack>) -> Self {
        self.attacks.push(entry);
        self
    }

    /// The same with one more defense, behind the others.
    #[must_use]
    pub fn defense(mut self, entry: &'static Entry<Defense>) -> Self {
        self.defenses.push(entry);
        self
    }

    /// The names of all entries.
    pub fn names(&self) -> Vec<&'static str> {
        let datasets = self.datasets.iter().map(|entry| entry.card.name);
        let attacks = self.attacks.iter().map(|entry| entry.card.name);
        datasets.chain(attacks).chain(self.defenses.iter().map(|entry| entry.card.name)).collect()
    }

    /// An error where two entries of a kind have one name.
    pub fn check(&self) -> Result<()> {
        distinct("data set", &self.datasets)?;
        distinct("attack", &self.attacks)?;
        distinct("defense", &self.defenses)
    }
}

fn distinct<T>(kind: &str, entries: &[&'static Entry<T>]) -> Result<()> {
    let mut names = BTreeSet::new();
    for name in entries.iter().map(|entry| entry.card.name) {
        if !names.insert(name) {
            bail!(
                "there are two entries for the {kind} {name:?}; change the `name` in the card of one of them"
            );
        }
    }
    Ok(())
}

/// The entry called `name`; otherwise a message that offers the nearest name, or all of them.
pub fn find<T>(kind: &str, entries: &[&'static Entry<T>], name: &str) -> Result<&'static Entry<T>, String> {
    let names: Vec<&str> = entries.iter().map(|entry| entry.card.name).collect();
    match entries.iter().find(|entry| entry.card.name == name) {
        Some(entry) => Ok(entry),
        None => Err(format!("unknown {kind} {name:?}; {}", suggestion(name, &names))),
    }
}

/// "did you mean …?", or what there is where nothing is near.
pub fn suggestion(given: &str, known: &[&str]) -> String {
    match nearest(given, known) {
        Some(name) => format!("did you mean {name:?}?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => format!("there are: {}", known.join(", ")),
    }
}

/// The known name that `given` is probably a slip of.
pub fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
    let distances = known.iter().map(|name| (strsim::damerau_levenshtein(given, name), *name));
    distances.min().filter(|(distance, name)| *distance <= 1 + name.chars().count() / 4).map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::suggestion;

    #[test]
    fn near_names_are_offered_and_far_ones_listed() {
        assert_eq!(suggestion("cleanclp", &["badnet", "cleanclip"]), "did you mean \"cleanclip\"?");
        assert_eq!(suggestion("xyz", &["badnet", "cleanclip"]), "there are: badnet, cleanclip");
    }
}

//! What there is to choose from: the lists of data sets, attacks and defenses joined.

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
pub(crate) fn nearest<'a>(given: &str, known: &[&'a str]) -> Option<&'a str> {
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

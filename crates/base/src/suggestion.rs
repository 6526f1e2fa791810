//! "Did you mean …?" for names of entries, keys, cells and commands.

/// "did you mean …?", or all known names where none is close.
pub fn suggestion(given: &str, known: &[&str]) -> String {
    match nearest(given, known) {
        Some(name) => format!("did you mean {name:?}?"),
        None if known.is_empty() => "there is none".to_owned(),
        None => format!("there are: {}", known.join(", ")),
    }
}

/// The known name that `given` probably misspells.
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

use serde_json::Value;

use super::{clean, html};

/// Texts of the golden file and what Python makes of them; those alone that stay as they are.
fn pairs(name: &str) -> Vec<(String, String)> {
    let golden = golden::json("text_cleaning.json");
    let texts = |pair: &Value| -> Vec<String> {
        let texts = pair.as_array().expect("a pair").iter();
        texts.map(|text| text.as_str().expect("a text").to_owned()).collect()
    };
    let pair = |pair: &Value| {
        let mut texts = texts(pair);
        let after = texts.pop().expect("a text");
        (texts.pop().unwrap_or_else(|| after.clone()), after)
    };
    golden[name].as_array().expect("pairs").iter().map(pair).collect()
}

#[track_caller]
fn agree(name: &str, clean: impl Fn(&str) -> String) {
    let pairs = pairs(name);
    let wrong: Vec<String> = pairs
        .iter()
        .filter_map(|(before, after)| {
            let found = clean(before);
            (found != *after).then(|| format!("{before:?} is {found:?} and not {after:?}"))
        })
        .collect();
    println!("{name}: {} of {} as Python has them", pairs.len() - wrong.len(), pairs.len());
    assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), pairs.len(), &wrong[..wrong.len().min(20)]);
}

#[test]
fn captions_are_cleaned_as_clip_cleans_them() {
    agree("captions", |text| clean(text).into_owned());
}

#[test]
fn every_name_and_number_of_html_is_replaced_as_python_does() {
    agree("entities", html::unescape);
}

//! What every attack of this crate must do beside its contract, which `contract::conformance` tries.

use std::collections::BTreeSet;

use clip::{Image, MemoryPairs, Pair, Pairs, Seed};
use contract::conformance::attack;
use contract::{Attack, AttackerView, Edit, Entry, ImageEdit, PoisonData};
use rand::Rng;
use serde_json::{Map, Value, json};

const PRESETS: [&str; 4] = ["tiny", "smoke", "paper", "released"];
const TARGET: &str = "banana";

/// Every attack but the one that is a program, in every preset: its name and the preset's, its entry, its settings.
fn every() -> impl Iterator<Item = (String, &'static Entry<Attack>, &'static str, Value)> {
    let entries = attacks::all().into_iter().filter(|entry| entry.card.name != "external");
    entries.flat_map(|entry| {
        let named = |preset| format!("{} {preset}", entry.card.name);
        (entry.presets)().into_iter().map(move |(preset, value)| (named(preset), entry, preset, value))
    })
}

/// The same without the attack that edits nothing.
fn poisoning() -> impl Iterator<Item = (String, &'static Entry<Attack>, &'static str, Value)> {
    every().filter(|(_, entry, ..)| !entry.card.is_baseline())
}

fn entry(name: &str) -> &'static Entry<Attack> {
    attacks::all().into_iter().find(|entry| entry.card.name == name).unwrap()
}

/// Why settings are refused.
fn refused(entry: &Entry<Attack>, settings: Value) -> anyhow::Error {
    (entry.build)(settings).err().unwrap()
}

/// Side of the images that a preset is for.
fn side(preset: &str) -> usize {
    match preset {
        "tiny" => 32,
        "smoke" => 16,
        _ => 224,
    }
}

/// An image without flat areas.
fn picture(side: usize, seed: u64) -> Image {
    let mut rng = Seed::new(seed).child("picture").rng();
    Image::new(side, side, (0..side * side * 3).map(|_| rng.random()).collect()).unwrap()
}

/// `count` pairs, half of which name the target.
fn pairs(count: usize) -> MemoryPairs {
    let caption = |index: usize| if index.is_multiple_of(2) { "a ripe Banana." } else { "two bananas" };
    let pair = |index| Pair { image: picture(8, index as u64), caption: caption(index).to_owned() };
    MemoryPairs::new((0..count).map(pair).collect())
}

fn on_data(attack: &Attack) -> &dyn PoisonData {
    let Attack::PoisonData(attack) = attack else { panic!("this test knows attacks on data only") };
    &**attack
}

fn choose(attack: &Attack, pairs: &MemoryPairs, seed: u64) -> anyhow::Result<Vec<Edit>> {
    let templates = ["a photo of a {}.".to_owned(), "art of the {}.".to_owned()];
    let view = AttackerView { pairs, target: TARGET, templates: &templates };
    on_data(attack).choose(&view, &Seed::new(seed))
}

fn budget(attack: &Attack, pairs: usize) -> usize {
    on_data(attack).budget(pairs)
}

/// The settings with a poison count that small test data can bear.
fn with_count(mut settings: Value, count: usize) -> Value {
    if settings.get("poison-count").is_some() {
        settings["poison-count"] = json!(count);
    }
    settings
}

/// An entry that leaves its program open, with one that chooses the first pairs.
fn completed(name: &str) -> Map<String, Value> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/first-pairs.sh");
    let keys = json!({ "program": format!("sh {program}"), "program-version": 1 });
    keys.as_object().filter(|_| name == "external").cloned().unwrap_or_default()
}

#[test]
fn every_attack_keeps_its_contract() {
    for entry in attacks::all() {
        let report = attack(entry, &completed(entry.card.name));
        assert!(report.passed(), "{report}");
    }
}

#[test]
fn names_are_unique_and_every_entry_has_the_same_presets() {
    let names: BTreeSet<&str> = attacks::all().iter().map(|entry| entry.card.name).collect();
    assert_eq!(names.len(), attacks::all().len());
    for entry in attacks::all() {
        let presets: Vec<&str> = (entry.presets)().iter().map(|(name, _)| *name).collect();
        assert_eq!(presets, PRESETS, "{}", entry.card.name);
    }
}

#[test]
fn a_count_and_a_rate_are_refused_by_name() {
    for (name, entry, _, mut both) in poisoning() {
        both["poison-rate"] = json!(0.1);
        let error = refused(entry, both).to_string();
        assert!(error.contains("poison-count") && error.contains("poison-rate"), "{name}: {error}");
    }
}

#[test]
fn a_stamp_has_the_stated_size_and_changes_the_image() {
    for (name, entry, preset, settings) in every() {
        let stated = settings.get("side").and_then(Value::as_u64).map(|side| side as usize);
        let attack = (entry.build)(settings).unwrap();
        for size in [16, 32, 224] {
            let image = picture(size, 1);
            match attack.trigger().stamp(&image, &Seed::new(1)) {
                Ok(stamped) => {
                    let expected = stated.unwrap_or(size);
                    assert_eq!((stamped.width(), stamped.height()), (expected, expected), "{name}");
                    assert_eq!(stamped == image, entry.card.is_baseline(), "{name} at {size}");
                }
                Err(error) => {
                    let is_named = error.to_string().contains(&size.to_string());
                    assert!(size < side(preset) && is_named, "{name} at {size}: {error}");
                }
            }
        }
    }
}

#[test]
fn every_attack_can_squash_crop_or_leave_images() {
    let image = Image::new(40, 50, (0..40 * 50 * 3).map(|at| (at % 251) as u8).collect()).unwrap();
    for (name, entry, _, settings) in poisoning() {
        let with = |fit: &str, side: Value| {
            let mut settings = settings.clone();
            settings["fit"] = json!(fit);
            settings["side"] = side;
            settings
        };
        let stamps = ["squash", "crop"].map(|fit| {
            let attack = (entry.build)(with(fit, json!(300))).unwrap();
            attack.trigger().stamp(&image, &Seed::new(1)).unwrap()
        });
        assert!(stamps.iter().all(|image| (image.width(), image.height()) == (300, 300)), "{name}");
        assert_ne!(stamps[0], stamps[1], "{name}");
        for (fit, side) in
            [("squash", Value::Null), ("crop", json!(0)), ("as-is", json!(224)), ("fold", json!(9))]
        {
            let error = refused(entry, with(fit, side.clone())).to_string();
            assert!(error.contains("side") || error.contains(fit), "{name}, fit {fit}, side {side}: {error}");
        }
    }
}

#[test]
fn a_trigger_larger_than_the_stated_side_is_refused_when_built() {
    for (name, entry, _, mut settings) in poisoning() {
        let keys = ["patch-size", "dot-size"].into_iter().filter(|key| settings.get(key).is_some());
        for key in keys.collect::<Vec<_>>() {
            (settings["fit"], settings["side"], settings[key]) = (json!("crop"), json!(48), json!(48));
            let error = format!("{:#}", refused(entry, settings.clone()));
            assert!(error.contains(key) && error.contains("48"), "{name}: {error}");
        }
    }
}

#[test]
fn only_what_is_drawn_per_image_depends_on_the_seed() {
    for (name, entry, preset, settings) in every() {
        let attack = (entry.build)(settings.clone()).unwrap();
        let image = picture(side(preset), 1);
        let stamp = |seed| attack.trigger().stamp(&image, &Seed::new(seed)).unwrap().hash();
        let stamps: BTreeSet<String> = (0..8).map(stamp).collect();
        let mut values = settings.as_object().unwrap().values();
        let draws = values.any(|value| *value == json!("redrawn") || *value == json!("random"));
        assert_eq!(stamps.len() > 1, draws, "{name}");
    }
}

#[test]
fn edits_stay_within_budget_and_name_the_target() {
    let clean = pairs(60);
    for (name, entry, _, settings) in every() {
        let takes_substrings = settings.get("match") == Some(&json!("substring"));
        let attack = (entry.build)(with_count(settings, 12)).unwrap();
        let edits = choose(&attack, &clean, 3).unwrap();
        let expected = if entry.card.is_baseline() { 0 } else { 12 };
        assert_eq!((edits.len(), budget(&attack, clean.len())), (expected, expected), "{name}");
        for edit in &edits {
            assert_eq!(edit.image, ImageEdit::Stamp, "{name}");
            let old = clean.pair(edit.pair).unwrap().caption;
            let caption = edit.caption.clone().unwrap_or(old).to_lowercase();
            let is_named = |word: &str| word == TARGET || takes_substrings && word.contains(TARGET);
            let mut words = caption.split(|letter: char| !letter.is_alphanumeric());
            assert!(words.any(is_named), "{name}: {caption}");
        }
    }
}

#[test]
fn a_rate_is_a_share_of_all_pairs() {
    let clean = pairs(60);
    for (name, entry, _, mut settings) in poisoning() {
        (settings["poison-count"], settings["poison-rate"]) = (Value::Null, json!(0.1));
        let attack = (entry.build)(settings).unwrap();
        assert_eq!((budget(&attack, 60), choose(&attack, &clean, 0).unwrap().len()), (6, 6), "{name}");
    }
}

#[test]
fn too_few_pairs_are_an_error_with_the_counts() {
    let clean = pairs(60);
    for (name, entry, _, settings) in poisoning() {
        let attack = (entry.build)(with_count(settings, 61)).unwrap();
        let error = choose(&attack, &clean, 0).unwrap_err().to_string();
        assert!(error.contains("61") && error.contains("60"), "{name}: {error}");
    }
    let entry = entry("label-consistent");
    let attack = (entry.build)(with_count((entry.presets)()[0].1.clone(), 31)).unwrap();
    let error = choose(&attack, &clean, 0).unwrap_err().to_string();
    assert!(error.contains("only 30 of 60 captions name \"banana\" (match: whole-word)"), "{error}");
}

#[test]
fn the_released_label_consistent_attack_takes_substrings() {
    let entry = entry("label-consistent");
    let mut settings = with_count((entry.presets)()[0].1.clone(), 30);
    settings["match"] = json!("substring");
    let (attack, clean) = ((entry.build)(settings).unwrap(), pairs(60));
    let edits = choose(&attack, &clean, 0).unwrap();
    // The capital of "a ripe Banana." does not match, "two bananas" does.
    assert!(edits.len() == 30 && edits.iter().all(|edit| !edit.pair.is_multiple_of(2)), "{edits:?}");
}

#[test]
fn rates_outside_0_to_1_are_refused_by_name() {
    for (name, entry, _, settings) in poisoning() {
        for (key, value) in
            [("poison-rate", json!(0.0)), ("poison-rate", json!(1.5)), ("poison-count", json!(0))]
        {
            let mut settings = settings.clone();
            settings["poison-count"] = Value::Null;
            settings[key] = value;
            let error = refused(entry, settings).to_string();
            assert!(error.contains(key), "{name}: {error}");
        }
    }
}

#[test]
fn noise_mode_replaces_further_images_and_keeps_their_captions() {
    let entry = entry("wanet");
    let mut settings = with_count((entry.presets)()[1].1.clone(), 12);
    let clean = pairs(60);
    let plain = choose(&(entry.build)(settings.clone()).unwrap(), &clean, 3).unwrap();
    settings["cross-ratio"] = json!(2.0);
    let attack = (entry.build)(settings.clone()).unwrap();
    let edits = choose(&attack, &clean, 3).unwrap();
    assert_eq!((edits.len(), budget(&attack, 60)), (36, 36));
    assert_eq!(edits[..12], plain, "the poisoned pairs are those of the attack without noise mode");
    assert_eq!(edits.iter().map(|edit| edit.pair).collect::<BTreeSet<_>>().len(), 36);
    for edit in &edits[12..] {
        let before = clean.pair(edit.pair).unwrap().image;
        let ImageEdit::Replace(after) = &edit.image else { panic!("expected another image: {edit:?}") };
        assert_ne!(*after, before);
        assert_ne!(*after, attack.trigger().stamp(&before, &Seed::new(0)).unwrap());
        assert_eq!(edit.caption, None);
    }
    settings["cross-ratio"] = json!(5.0);
    let error = choose(&(entry.build)(settings).unwrap(), &clean, 3).unwrap_err().to_string();
    assert!(error.contains("cross-ratio") && error.contains("60"), "{error}");
}

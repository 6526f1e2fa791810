//! What every defense of this crate must do beside its contract, which `contract::conformance` tries.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use clip::Seed;
use contract::conformance::defense;
use contract::conformance::fixture::{self, Watch, model, numbers};
use contract::{Defense, Entry, Model};
use serde_json::{Map, Value, json};

const PRESETS: [&str; 4] = ["tiny", "smoke", "paper", "released"];

/// The moments that training left, in a file that the operating system removes.
static MOMENTS: LazyLock<PathBuf> = LazyLock::new(|| {
    let file = std::env::temp_dir().join(format!("cleanbench-defenses-{}.safetensors", std::process::id()));
    fixture::write_moments(&file).unwrap();
    file
});

/// Lets a defense act that repairs or trains a model; an error where it was stopped.
fn attempt(
    entry: &Entry<Defense>,
    settings: Value,
    seed: u64,
    optimizer: Option<&Path>,
    watch: &mut Watch,
) -> anyhow::Result<Model> {
    fixture::repair(&(entry.build)(settings)?, model()?, seed, optimizer, watch)
}

fn repair(entry: &Entry<Defense>, settings: Value, seed: u64, watch: &mut Watch) -> Model {
    attempt(entry, settings, seed, Some(&MOMENTS), watch).unwrap()
}

/// Every number of a model.
fn bits(model: &Model) -> Vec<(String, Vec<u32>)> {
    numbers(model).unwrap()
}

fn preset(entry: &Entry<Defense>, name: &str) -> Value {
    (entry.presets)().into_iter().find(|(preset, _)| *preset == name).unwrap().1
}

fn entry(name: &str) -> &'static Entry<Defense> {
    defenses::all().into_iter().find(|entry| entry.card.name == name).unwrap()
}

/// Entries that train a model themselves.
fn training() -> impl Iterator<Item = &'static Entry<Defense>> {
    let trains = |entry: &&Entry<Defense>| match (entry.build)(preset(entry, "smoke")) {
        Ok(Defense::RepairModel(_) | Defense::TrainSafely(_)) => entry.card.name != "none",
        // The one that cannot be built leaves open which program it runs.
        Ok(Defense::FilterData(_) | Defense::Anchor(_)) | Err(_) => false,
    };
    defenses::all().into_iter().filter(trains)
}

/// Settings of a preset with some values replaced.
fn with(entry: &Entry<Defense>, name: &str, values: &[(&str, Value)]) -> Value {
    let mut settings = preset(entry, name);
    for (key, value) in values {
        assert!(settings.get(key).is_some(), "{}: no {key}", entry.card.name);
        settings[*key] = value.clone();
    }
    settings
}

/// Settings with all the released quirks that an entry has.
fn quirks(entry: &Entry<Defense>) -> Map<String, Value> {
    let (smoke, released) = (preset(entry, "smoke"), preset(entry, "released"));
    let mut quirks = Map::new();
    for key in ["schedule", "decay", "optimizer-state", "text-augmentation", "batch-norm"] {
        match (smoke.get(key), released.get(key)) {
            (Some(_), Some(_)) if key == "batch-norm" => quirks.insert(key.to_owned(), json!("separate")),
            (Some(_), Some(value)) => quirks.insert(key.to_owned(), value.clone()),
            _ => None,
        };
    }
    quirks
}

/// What an entry leaves open: the program, for which there is one that copies the weights.
fn completed(name: &str) -> Map<String, Value> {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/shell_defense/defense.sh");
    let keys = json!({ "program": format!("sh {program}"), "program-version": 1 });
    keys.as_object().filter(|_| name == "external").cloned().unwrap_or_default()
}

#[test]
fn every_defense_keeps_its_contract() {
    for entry in defenses::all() {
        let completed = completed(entry.card.name);
        for over in [completed.clone(), completed.into_iter().chain(quirks(entry)).collect()] {
            let report = defense(entry, &over);
            assert!(report.passed(), "{report}");
        }
    }
}

#[test]
fn names_are_unique_and_every_entry_has_the_same_presets() {
    let names: BTreeSet<&str> = defenses::all().iter().map(|entry| entry.card.name).collect();
    assert_eq!(names.len(), defenses::all().len());
    for entry in defenses::all() {
        let presets: Vec<&str> = (entry.presets)().iter().map(|(name, _)| *name).collect();
        assert_eq!(presets, PRESETS, "{}", entry.card.name);
    }
}

#[test]
fn wrong_settings_are_refused_by_name() {
    for entry in defenses::all() {
        for name in PRESETS {
            let settings = preset(entry, name);
            let wrong = [
                ("epochs", json!(0)),
                ("batch-size", json!(1)),
                ("learning-rate", json!(-1.0)),
                ("lambda2", json!(-1.0)),
                ("magnitude-scale", json!(1.5)),
                ("schedule", json!("late")),
                ("decay", json!("none")),
                ("optimizer-state", json!("warm")),
                ("batch-norm", json!("both")),
                ("text-augmentation", json!("twice")),
                ("weight-decay", json!("much")),
            ];
            for (key, value) in wrong {
                if settings.get(key).is_none() {
                    continue;
                }
                let mut settings = settings.clone();
                settings[key] = value;
                let error = (entry.build)(settings).map(|_| ()).unwrap_err().to_string();
                assert!(error.contains(key), "{} {name}: {error}", entry.card.name);
            }
        }
    }
}

#[test]
fn no_defense_returns_the_model() {
    let entry = defenses::all()[0];
    let repaired = repair(entry, preset(entry, "tiny"), 0, &mut Watch::default());
    assert_eq!(bits(&repaired), bits(&Model { clip: model().unwrap(), head: None }));
}

/// The loss of the defenses that train falls, whatever their options.
#[test]
fn training_lowers_the_loss() {
    for entry in training() {
        let mut watch = Watch::default();
        repair(entry, preset(entry, "smoke"), 0, &mut watch);
        let (start, end) = (watch.losses[0], *watch.losses.last().unwrap());
        assert!(end < start, "{}: the loss went from {start} to {end}", entry.card.name);
    }
}

#[test]
fn every_option_changes_the_result() {
    let options = [
        ("schedule", "released"),
        ("decay", "released"),
        ("decay", "all-but-biases"),
        ("optimizer-state", "carried"),
        ("batch-norm", "separate"),
        ("text-augmentation", "once"),
    ];
    let mut tried = 0;
    for entry in training() {
        let base = bits(&repair(entry, preset(entry, "smoke"), 0, &mut Watch::default()));
        for (key, value) in options {
            if preset(entry, "smoke").get(key).is_none() {
                continue;
            }
            let settings = with(entry, "smoke", &[(key, json!(value))]);
            let changed = bits(&repair(entry, settings, 0, &mut Watch::default()));
            assert!(changed != base, "{}: {key} changes nothing", entry.card.name);
            tried += 1;
        }
    }
    assert!(tried >= 15, "{tried} options");
}

#[test]
fn carried_moments_that_are_not_there_are_asked_for_by_name() {
    for name in ["contrastive", "cleanclip"] {
        let entry = entry(name);
        let settings = with(entry, "smoke", &[("optimizer-state", json!("carried"))]);
        let error = attempt(entry, settings, 0, None, &mut Watch::default()).err().unwrap().to_string();
        assert!(error.contains("optimizer-state"), "{name}: {error}");
        assert!(attempt(entry, preset(entry, "smoke"), 0, None, &mut Watch::default()).is_ok());
    }
}

#[test]
fn filters_drop_the_poisoned_pairs_and_as_many_random_ones() {
    let poisoned = [0, 3, 4, 90, 99];
    let keep = |name: &str, poisoned: &[usize], seed: u64| {
        let entry = entry(name);
        let Defense::Anchor(anchor) = (entry.build)(preset(entry, "smoke")).unwrap() else {
            panic!("{name}")
        };
        anchor.keep(100, poisoned, &Seed::new(seed)).unwrap()
    };
    let kept = keep("oracle-filter", &poisoned, 0);
    assert_eq!(kept, (0..100).filter(|pair| !poisoned.contains(pair)).collect::<Vec<_>>());
    let kept = keep("random-filter", &poisoned, 0);
    assert!(kept.len() == 95 && kept.is_sorted_by(|a, b| a < b) && kept[94] < 100, "{kept:?}");
    assert_eq!(kept, keep("random-filter", &poisoned, 0));
    assert_ne!(kept, keep("random-filter", &poisoned, 1));
    assert_ne!(kept, keep("oracle-filter", &poisoned, 0));
    for name in ["oracle-filter", "random-filter"] {
        assert_eq!(keep(name, &[], 0), (0..100).collect::<Vec<_>>(), "{name} without poison");
    }
}

#[test]
fn supervised_finetuning_trains_image_tower_and_head_only() {
    let entry = entry("supervised");
    let repaired = repair(entry, preset(entry, "smoke"), 0, &mut Watch::default());
    let head = repaired.head.as_ref().unwrap();
    assert_eq!((head.weight.dims(), head.bias.dims()), (&[4, 32][..], &[4][..]));
    let before = bits(&Model { clip: model().unwrap(), head: None });
    for ((name, before), (_, after)) in before.iter().zip(bits(&repaired)) {
        // The key bias adds the same to every score of a query, which the softmax takes out: its gradient is 0.
        let trained = name.starts_with("visual.") && name != "visual.attnpool.k_proj.bias";
        assert_eq!(*before != after, trained, "{name}");
    }
}

#[test]
fn lambdas_and_augmentation_change_cleanclip() {
    let entry = entry("cleanclip");
    let mut settings = preset(entry, "smoke");
    settings["epochs"] = json!(1);
    let base = bits(&repair(entry, settings.clone(), 0, &mut Watch::default()));
    for (key, value) in [("lambda1", 0.0), ("lambda2", 0.0), ("magnitude-scale", 0.0)] {
        let mut settings = settings.clone();
        settings[key] = json!(value);
        assert!(bits(&repair(entry, settings, 0, &mut Watch::default())) != base, "{key}");
    }
}

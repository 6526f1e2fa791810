//! What every defense must do, whatever it is.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clip::candle_core::Result as ClipResult;
use clip::{
    Clip, Contrastive, Image, MemoryPairs, ModelConfig, Monitor, Origin, Pair, Recipe, Seed, Snapshot, Step,
    Tokenizer, TrainOutcome,
};
use harness::contract::{DefenderView, Defense, Entry, Labelled, Model};
use rand::Rng;
use serde_json::{Value, json};

const PRESETS: [&str; 4] = ["tiny", "smoke", "paper", "released"];
const COLORS: [(&str, [u8; 3]); 4] =
    [("red", [220, 30, 30]), ("green", [30, 200, 30]), ("blue", [30, 30, 220]), ("white", [240, 240, 240])];

/// A noisy square of one of four colours.
fn picture(index: usize) -> Image {
    let mut rng = Seed::new(index as u64).child("picture").rng();
    let color = COLORS[index % 4].1;
    let level = |at: usize| color[at % 3].saturating_add(rng.random_range(0..16));
    Image::new(16, 16, (0..16 * 16 * 3).map(level).collect()).unwrap()
}

fn pairs(count: usize) -> MemoryPairs {
    let caption = |index: usize| format!("a photo of a {} square number {index}", COLORS[index % 4].0);
    MemoryPairs::new(
        (0..count).map(|index| Pair { image: picture(index), caption: caption(index) }).collect(),
    )
}

struct Squares(usize);

impl Labelled for Squares {
    fn len(&self) -> usize {
        self.0
    }

    fn label(&self, index: usize) -> ClipResult<usize> {
        Ok(index % 4)
    }

    fn image(&self, index: usize) -> ClipResult<Image> {
        Ok(picture(index))
    }

    fn read_from(&self, _index: usize) -> Option<Origin> {
        None
    }
}

/// Saves every epoch to `file`, and stops in the middle of epoch `stop_in`.
#[derive(Default)]
struct Watch {
    file: Option<PathBuf>,
    stop_in: Option<usize>,
    losses: Vec<f32>,
}

impl Monitor for Watch {
    fn resume(&mut self) -> Option<PathBuf> {
        self.file.clone().filter(|file| file.exists())
    }

    fn step(&mut self, step: &Step) -> ControlFlow<()> {
        self.losses.push(step.loss);
        match self.stop_in {
            Some(epoch) if epoch == step.epoch => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    }

    fn epoch_end(&mut self, _epoch: usize, snapshot: &Snapshot<'_>) -> ClipResult<()> {
        self.file.as_ref().map_or(Ok(()), |file| snapshot.save(file))
    }
}

fn model() -> Clip {
    let captions = ["a photo of a red green blue white square number"];
    Clip::new(&ModelConfig::nano(), Tokenizer::cut(captions.into_iter()).unwrap(), &Seed::new(0)).unwrap()
}

/// Two epochs of four steps for 128 pairs.
fn recipe() -> Recipe {
    Recipe { epochs: 2, batch_size: 32, ..Recipe::smoke() }
}

/// A folder of this test run; the operating system removes it.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("cleanbench-defenses-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// The moments that training left.
fn moments() -> &'static Path {
    static MOMENTS: OnceLock<PathBuf> = OnceLock::new();
    MOMENTS.get_or_init(|| {
        let file = folder().join("trained.safetensors");
        let (model, pairs) = (model(), pairs(128));
        let objective = Contrastive::new(&model, &pairs).unwrap();
        let mut watch = Watch { file: Some(file.clone()), ..Watch::default() };
        clip::train(&model, &objective, &recipe(), &Seed::new(9), &mut watch).unwrap();
        file
    })
}

/// Lets a defense act that repairs or trains a model; `None` where it was stopped.
fn attempt(
    entry: &Entry<Defense>,
    settings: Value,
    seed: u64,
    optimizer: Option<&Path>,
    watch: &mut Watch,
) -> anyhow::Result<Option<Model>> {
    let (pairs, images) = (pairs(128), Squares(128));
    let classes = COLORS.map(|(name, _)| name.to_owned());
    let view = DefenderView {
        training_pairs: &pairs,
        clean_pairs: &pairs,
        clean_images: &images,
        classes: &classes,
        recipe: &recipe(),
        optimizer,
        seed: Seed::new(seed).child("defense"),
    };
    match (entry.build)(settings)? {
        Defense::RepairModel(defense) => defense.repair(model(), &view, watch),
        Defense::TrainSafely(defense) => {
            let clip = model();
            let outcome = defense.train(&clip, &view, watch)?;
            Ok((outcome == TrainOutcome::Finished).then_some(Model { clip, head: None }))
        }
        Defense::FilterData(_) | Defense::Anchor(_) => panic!("this test knows defenses that train"),
    }
}

fn repair(entry: &Entry<Defense>, settings: Value, seed: u64, watch: &mut Watch) -> Option<Model> {
    attempt(entry, settings, seed, Some(moments()), watch).unwrap()
}

/// Every number of a model: parameters, running statistics and head.
fn numbers(model: &Model) -> Vec<(String, Vec<u32>)> {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let mut all: Vec<(String, Vec<u32>)> = model
        .clip
        .all_parameters()
        .into_iter()
        .map(|parameter| (parameter.name, bits(parameter.var.flatten_all().unwrap().to_vec1().unwrap())))
        .collect();
    let running = model.clip.parameters.all_running().into_iter();
    all.extend(running.map(|(name, value)| (name, bits(value.to_vec1().unwrap()))));
    if let Some(head) = &model.head {
        all.push(("head.weight".into(), bits(head.weight.flatten_all().unwrap().to_vec1().unwrap())));
        all.push(("head.bias".into(), bits(head.bias.to_vec1().unwrap())));
    }
    all
}

fn preset(entry: &Entry<Defense>, name: &str) -> Value {
    (entry.presets)().into_iter().find(|(preset, _)| *preset == name).unwrap().1
}

fn entry(name: &str) -> &'static Entry<Defense> {
    defenses::all().into_iter().find(|entry| entry.card.name == name).unwrap()
}

/// Entries that train a model themselves.
fn training() -> impl Iterator<Item = &'static Entry<Defense>> {
    let trains = |entry: &&Entry<Defense>| match (entry.build)(preset(entry, "smoke")).unwrap() {
        Defense::RepairModel(_) | Defense::TrainSafely(_) => entry.card.name != "none",
        Defense::FilterData(_) | Defense::Anchor(_) => false,
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

/// Settings that have something for every option: the smoke preset, and it with all the released quirks.
fn variants(entry: &Entry<Defense>) -> Vec<Value> {
    let (smoke, released) = (preset(entry, "smoke"), preset(entry, "released"));
    let mut quirks = smoke.clone();
    for key in ["schedule", "decay", "optimizer-state", "text-augmentation", "batch-norm"] {
        match (smoke.get(key), released.get(key)) {
            (Some(_), Some(_)) if key == "batch-norm" => quirks[key] = json!("separate"),
            (Some(_), Some(value)) => quirks[key] = value.clone(),
            _ => {}
        }
    }
    vec![smoke, quirks]
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
fn presets_build_and_wrong_settings_are_refused_by_name() {
    for entry in defenses::all() {
        for name in PRESETS {
            let settings = preset(entry, name);
            assert!((entry.build)(settings.clone()).is_ok(), "{} {name}", entry.card.name);
            let wrong = [
                ("no-such-key", json!(1)),
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
                if key != "no-such-key" && settings.get(key).is_none() {
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
    let repaired = repair(entry, preset(entry, "tiny"), 0, &mut Watch::default()).unwrap();
    assert_eq!(numbers(&repaired), numbers(&Model { clip: model(), head: None }));
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    for (entry, settings) in
        training().flat_map(|entry| variants(entry).into_iter().map(move |one| (entry, one)))
    {
        let mut watch = Watch::default();
        let first = numbers(&repair(entry, settings.clone(), 0, &mut watch).unwrap());
        let (start, end) = (watch.losses[0], *watch.losses.last().unwrap());
        assert!(end < start, "{}: the loss went from {start} to {end}", entry.card.name);
        let again = numbers(&repair(entry, settings.clone(), 0, &mut Watch::default()).unwrap());
        assert!(first == again, "{}: another run with the same seed differs", entry.card.name);
        let other = numbers(&repair(entry, settings, 1, &mut Watch::default()).unwrap());
        assert!(first != other, "{}: another seed gives the same", entry.card.name);
    }
}

#[test]
fn a_stopped_run_goes_on_to_the_same_bytes() {
    for entry in training() {
        for (number, settings) in variants(entry).into_iter().enumerate() {
            let whole = numbers(&repair(entry, settings.clone(), 0, &mut Watch::default()).unwrap());
            let file = Some(folder().join(format!("{}-{number}.safetensors", entry.card.name)));
            let mut watch = Watch { file: file.clone(), stop_in: Some(2), ..Watch::default() };
            assert!(repair(entry, settings.clone(), 0, &mut watch).is_none(), "{}", entry.card.name);
            let mut watch = Watch { file, ..Watch::default() };
            let resumed = numbers(&repair(entry, settings, 0, &mut watch).unwrap());
            assert_eq!(watch.losses.len(), 4, "{}: steps of the second epoch", entry.card.name);
            assert!(resumed == whole, "{} {number}: resumed, another result", entry.card.name);
        }
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
        let base = numbers(&repair(entry, preset(entry, "smoke"), 0, &mut Watch::default()).unwrap());
        for (key, value) in options {
            if preset(entry, "smoke").get(key).is_none() {
                continue;
            }
            let settings = with(entry, "smoke", &[(key, json!(value))]);
            let changed = numbers(&repair(entry, settings, 0, &mut Watch::default()).unwrap());
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
    let repaired = repair(entry, preset(entry, "smoke"), 0, &mut Watch::default()).unwrap();
    let head = repaired.head.as_ref().unwrap();
    assert_eq!((head.weight.dims(), head.bias.dims()), (&[4, 32][..], &[4][..]));
    let before = numbers(&Model { clip: model(), head: None });
    for ((name, before), (_, after)) in before.iter().zip(numbers(&repaired)) {
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
    let base = numbers(&repair(entry, settings.clone(), 0, &mut Watch::default()).unwrap());
    for (key, value) in [("lambda1", 0.0), ("lambda2", 0.0), ("magnitude-scale", 0.0)] {
        let mut settings = settings.clone();
        settings[key] = json!(value);
        assert!(numbers(&repair(entry, settings, 0, &mut Watch::default()).unwrap()) != base, "{key}");
    }
}

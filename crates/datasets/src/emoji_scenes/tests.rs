use std::collections::BTreeSet;
use std::time::Instant;

use rayon::prelude::*;
use serde_json::json;

use super::*;

fn preset_named(name: &str, changes: &[(&str, Value)]) -> Value {
    let (_, mut value) =
        settings::presets().into_iter().find(|(preset, _)| *preset == name).expect("a preset");
    for (key, change) in changes {
        assert!(value.get(key).is_some(), "{key} is a setting");
        value[*key] = change.clone();
    }
    value
}

fn source(name: &str, changes: &[(&str, Value)]) -> Source {
    let settings = contract::settings(preset_named(name, changes)).expect("settings");
    Source(Arc::new(World::new(settings).expect("valid settings")))
}

fn stream(source: &Source, split: Split, kind: &str, resolution: usize) -> Stream {
    source.stream(split, kind, 1_000_000, resolution, &Seed::new(0))
}

/// Whether `words` stand in `caption` as whole words, next to each other.
fn says(caption: &str, words: &str) -> bool {
    format!(" {} ", caption.trim_end_matches('.')).contains(&format!(" {words} "))
}

#[test]
fn bytes_and_captions_are_pinned() {
    let pinned = [
        (
            "tiny",
            Split::Train,
            0,
            32,
            "89e5ef2124d3f3c6",
            "an image of a little umbrella on a striped background.",
        ),
        (
            "tiny",
            Split::Train,
            1,
            32,
            "e22093b5522724de",
            "art of a sunflower and a violin against a dotted background.",
        ),
        (
            "tiny",
            Split::Test,
            7,
            224,
            "e8d44c722953cd09",
            "an image of a tiger and a hamburger against a checkered background",
        ),
        (
            "shifted",
            Split::Test,
            3,
            32,
            "4f2a4589e5e9c098",
            "a picture of a turtle on a speckled background.",
        ),
        ("smoke", Split::Clean, 5, 16, "e1ee78771cf08cdf", "a photo of a sailboat."),
    ];
    for (preset, split, index, resolution, hash, caption) in pinned {
        let pair = stream(&source(preset, &[]), split, "pairs", resolution).pair(index).expect("a pair");
        let found = (&pair.image.hash()[..16], pair.caption.as_str());
        assert_eq!(found, (hash, caption), "{preset} {split:?} {index}");
    }
}

#[test]
fn scenes_depend_on_seed_split_side_and_index_alone() {
    let source = source("tiny", &[]);
    let hash = |split, kind: &str, seed: u64, count, index| {
        let stream = source.stream(split, kind, count, 32, &Seed::new(seed));
        stream.pair(index).expect("a pair").image.hash()
    };
    let reference = hash(Split::Train, "pairs", 0, 10, 3);
    assert_eq!(hash(Split::Train, "pairs", 0, 1000, 3), reference, "the count changes nothing");
    let mut seen = BTreeSet::from([reference]);
    for (split, kind, seed, index) in [
        (Split::Clean, "pairs", 0, 3),
        (Split::Validation, "pairs", 0, 3),
        (Split::Test, "pairs", 0, 3),
        (Split::Train, "images", 0, 3),
        (Split::Train, "pairs", 1, 3),
        (Split::Train, "pairs", 0, 4),
    ] {
        assert!(seen.insert(hash(split, kind, seed, 10, index)), "{split:?} {kind} {seed} {index}");
    }
    assert!(source.stream(Split::Train, "pairs", 10, 32, &Seed::new(0)).pair(10).is_err());
}

#[test]
fn captions_name_what_is_drawn_at_the_configured_shares() {
    let source = source("tiny", &[]);
    let stream = stream(&source, Split::Train, "pairs", 32);
    let nouns = &source.0.nouns;
    let (mut main, mut second, mut seconds, mut texture, mut gray, mut grays) = (0, 0, 0, 0, 0, 0);
    let count = 8000;
    for index in 0..count {
        let (scene, caption) = stream.told(index).expect("a scene");
        main += usize::from(says(&caption, nouns[scene.main.noun].name));
        texture += usize::from(says(&caption, scene.background.texture.word()));
        if let Some(object) = &scene.second {
            assert_ne!(object.noun, scene.main.noun);
            seconds += 1;
            second += usize::from(says(&caption, nouns[object.noun].name));
        }
        if scene.is_black_and_white() {
            grays += 1;
            gray += usize::from(says(&caption, "black and white"));
        }
        for (color, _) in scene::COLORS {
            // "a red apple" is a noun, "a red background" would be a colour named.
            let named = ["background", "wall", scene.background.texture.word()];
            assert!(!named.iter().any(|word| says(&caption, &format!("{color} {word}"))), "{caption}");
        }
    }
    let near = |found: usize, of: usize, share: f64, what: &str| {
        let found = found as f64 / of as f64;
        assert!((found - share).abs() < 0.03, "{what}: {found:.3}, not {share:.3}");
    };
    near(main, count, 0.97, "main object named");
    near(seconds, count, 0.5, "second object drawn");
    near(second, seconds, 0.85 * 0.985, "second object named");
    near(texture, count, 0.8 * 0.985, "texture named");
    near(grays, count, 0.1, "black and white");
    near(gray, grays, 0.9 * 0.985, "black and white named");
}

#[test]
fn captions_of_smoke_are_plain() {
    let source = source("smoke", &[]);
    let stream = stream(&source, Split::Train, "pairs", 16);
    for index in 0..500 {
        let (scene, caption) = stream.told(index).expect("a scene");
        assert!(scene.second.is_none() && scene.light.is_none());
        assert!(says(&caption, source.0.nouns[scene.main.noun].name), "{caption}");
        assert!(!caption.contains("background") && !caption.contains("wall"), "{caption}");
    }
}

/// So that models of these scenes do not depend on how texts are cleaned.
#[test]
fn cleaning_changes_no_caption_and_no_prompt() {
    for (name, _) in settings::presets() {
        let source = source(name, &[]);
        let pairs = stream(&source, Split::Train, "pairs", 8);
        let captions = (0..2000).map(|index| pairs.caption(index).expect("a caption"));
        let prompts = source
            .templates()
            .iter()
            .flat_map(|template| source.classes().iter().map(move |class| template.replace("{}", class)));
        for text in captions.chain(prompts) {
            assert_eq!(clip::clean(&text), text, "{name}");
        }
    }
}

#[test]
fn every_word_of_a_caption_is_grammatical() {
    let named = [("color-named", json!(1.0)), ("size-named", json!(1.0)), ("nouns", json!(252))];
    let stream = stream(&source("tiny", &named), Split::Train, "pairs", 32);
    for index in 0..5000 {
        let (_, caption) = stream.told(index).expect("a scene");
        assert!(!caption.contains("  ") && !caption.contains('{'), "{caption:?}");
        let words: Vec<&str> = caption.trim_end_matches('.').split(' ').collect();
        for pair in words.windows(2) {
            let vowel = pair[1].starts_with(['a', 'e', 'i', 'o', 'u']) && pair[1] != "unicorn";
            assert!(pair[0] != "a" || !vowel, "{caption}");
            assert!(pair[0] != "an" || vowel, "{caption}");
        }
    }
}

#[test]
fn labels_are_balanced_and_classes_follow_the_nouns() {
    for (nouns, classes) in [(12, 12), (97, 97), (200, 97)] {
        let changes = [("nouns", json!(nouns)), ("noun-skew", json!(1.0))];
        let source = source("tiny", &changes);
        assert_eq!(source.classes().len(), classes);
        assert_eq!(source.classes()[0], "banana");
        let images = source.images(Split::Test, 4 * classes, 16, &Seed::new(0)).expect("images");
        let mut counts = vec![0; classes];
        for index in 0..images.len() {
            counts[images.label(index).expect("a label")] += 1;
        }
        assert_eq!(counts, vec![4; classes]);
    }
    assert!(source("tiny", &[]).templates().iter().all(|template| template.contains("{}")));
}

#[test]
fn skew_favours_the_first_nouns_in_train_and_clean_only() {
    let source = source("tiny", &[("noun-skew", json!(1.0))]);
    let bananas = |split| {
        let stream = stream(&source, split, "pairs", 16);
        (0..4000).filter(|index| stream.told(*index).expect("a scene").0.main.noun == 0).count() as f64
            / 4000.0
    };
    // 1 / (1 + 1/2 + … + 1/97) = 0.194.
    for (split, share) in [
        (Split::Train, 0.194),
        (Split::Clean, 0.194),
        (Split::Validation, 1.0 / 97.0),
        (Split::Test, 1.0 / 97.0),
    ] {
        let found = bananas(split);
        assert!((found - share).abs() < 0.02, "{split:?}: {found}");
    }
}

#[test]
fn resolutions_show_the_same_scene() {
    let source = source("tiny", &[]);
    for index in 0..20 {
        let image = |resolution| {
            let images = stream(&source, Split::Test, "images", resolution);
            Labelled::image(&images, index).expect("one")
        };
        let large = image(224);
        for resolution in [16, 32] {
            let small = image(resolution);
            assert_eq!((small.width(), small.height()), (resolution, resolution));
            let cell = 224 / resolution;
            let mut difference = 0.0;
            for (at, value) in small.rgb().iter().enumerate() {
                let (x, y, channel) = (at / 3 % resolution, at / 3 / resolution, at % 3);
                let block =
                    (0..cell * cell).map(|i| large.pixel(x * cell + i % cell, y * cell + i / cell)[channel]);
                let mean = block.map(f64::from).sum::<f64>() / (cell * cell) as f64;
                difference += (mean - f64::from(*value)).abs() / small.rgb().len() as f64;
            }
            // Another scene differs by 40 or more.
            assert!(
                difference < 12.0,
                "scene {index} at {resolution}: {difference:.1} levels from its block means"
            );
        }
    }
}

#[test]
fn nonsense_is_refused_by_key_value_and_what_is_allowed() {
    for (key, value, message) in [
        ("nouns", json!(0), "nouns: 0 is not in 1..=252"),
        ("nouns", json!(1000), "nouns: 1000 is not in 1..=252"),
        ("second-object", json!(1.5), "second-object: 1.5 is not in [0, 1]"),
        ("wrong-captions", json!(-0.1), "wrong-captions: -0.1 is not in [0, 1]"),
        (
            "sprite-sets",
            json!(["noto", "apple"]),
            "sprite-sets: \"apple\" is not one of noto, fluent-emoji, fluent-emoji-flat, twemoji",
        ),
        (
            "sprite-sets",
            json!([]),
            "sprite-sets: [] names none of noto, fluent-emoji, fluent-emoji-flat, twemoji",
        ),
        ("noun-skew", json!(-1.0), "noun-skew: -1 is not in [0, 4]"),
        ("textures", json!(7), "textures: 7 is not in 1..=6"),
        ("smallest-size", json!(0.99), "smallest-size: 0.99 is not above 0 and at most largest-size (0.95)"),
        ("largest-size", json!(1.2), "largest-size: 1.2 is more than 1, the width of the image"),
        ("turn-degrees", json!(181.0), "turn-degrees: 181 is not in [0, 180]"),
    ] {
        let refused = (ENTRY.build)(preset_named("tiny", &[(key, value)])).map(|_| ());
        assert_eq!(refused.expect_err(key).to_string(), message);
    }
    let mut unknown = preset_named("tiny", &[]);
    unknown["colour"] = json!(1);
    let refused = (ENTRY.build)(unknown).map(|_| ()).expect_err("an unknown key");
    assert!(refused.to_string().contains("colour"), "{refused}");
}

#[test]
fn every_preset_builds_and_every_sprite_shows_something() {
    for (name, value) in settings::presets() {
        assert!((ENTRY.build)(value).is_ok(), "{name}");
    }
    for set in sprites::set_names() {
        let loaded = sprites::load(set, sprites::nouns().len()).expect(set);
        assert_eq!(loaded.len(), sprites::nouns().len());
        for (sprite, noun) in loaded.iter().zip(sprites::nouns()) {
            let level = sprite.level(1.0 / 12.0);
            let grid = (0..144).map(|i| sprite.sample(level, (i % 12) as f32 / 12.0, (i / 12) as f32 / 12.0));
            let covered: f32 = grid.map(|color| color[3] / 255.0 / 144.0).sum();
            assert!((0.1..0.95).contains(&covered), "{set} {noun:?} covers {covered}");
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    let stream = stream(&source("tiny", &[]), Split::Train, "pairs", 32);
    let start = Instant::now();
    let pairs: Vec<Pair> =
        (0..24_000).into_par_iter().map(|index| stream.pair(index).expect("a pair")).collect();
    println!(
        "{} scenes of 32 px in {:.2?} on {} threads",
        pairs.len(),
        start.elapsed(),
        rayon::current_num_threads()
    );
}

#[test]
#[ignore = "draws contact sheets to look at"]
fn contact_sheets() {
    for (preset, resolution) in [("tiny", 64), ("tiny", 32), ("shifted", 64), ("smoke", 16), ("tiny", 224)] {
        let (columns, rows) = ((1400 / resolution).min(16), (900 / resolution).min(12));
        let stream = stream(&source(preset, &[]), Split::Train, "pairs", resolution);
        let mut sheet = image::RgbImage::new((columns * resolution) as u32, (rows * resolution) as u32);
        for index in 0..columns * rows {
            let pair = stream.pair(index).expect("a pair");
            println!("{preset} {index}: {}", pair.caption);
            for y in 0..resolution {
                for x in 0..resolution {
                    let (left, top) = (index % columns * resolution, index / columns * resolution);
                    sheet.put_pixel((left + x) as u32, (top + y) as u32, image::Rgb(pair.image.pixel(x, y)));
                }
            }
        }
        let path = std::env::temp_dir().join(format!("emoji-scenes-{preset}-{resolution}.png"));
        sheet.save(&path).expect("a writable folder");
        println!("{}", path.display());
    }
}

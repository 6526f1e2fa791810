//! The small tier from its downloads to its table: shards, images and weights in their true layout and size, fewer of them.

use std::path::Path;

use clip::{Clip, Image, ModelConfig, Seed, Tokenizer};
use contract::{Dataset, Labelled, Split};
use datasets::emoji_scenes;
use datasets::source::{append_member, end_tar};

use crate::fetch::Home;
use crate::hub::{Kept, Server};
use crate::support::{Ran, edited, holds, root};

/// Commits that the catalogue pins; a branch where it pins none.
const CC3M: (&str, &str) = ("pixparse/cc3m-wds", "46f3d69f840e59d77d52e8decfe5baec97e94c7f");
const IMAGENET: (&str, &str) = ("clip-benchmark/wds_imagenet1k", "b24c7a5a3ef12df09089055d1795e2ce7c7e7397");
const IMAGENET_V2: (&str, &str) =
    ("clip-benchmark/wds_imagenetv2", "0123456789012345678901234567890123456789");
const RN50: (&str, &str) = ("timm/resnet50_clip.openai", "ec3d92cf63a5f9d591f0d611b736895966c73076");
/// Pairs in each shard, and labelled images in each set.
const PAIRS: usize = 16;
const IMAGES: usize = 8;
/// Sizes of photographs.
const SIZES: [(usize, usize); 3] = [(500, 375), (333, 500), (640, 480)];

fn scenes() -> Dataset {
    let (_, settings) = (emoji_scenes::ENTRY.presets)().remove(0);
    (emoji_scenes::ENTRY.build)(settings).expect("a data set")
}

/// A JPEG file of a size that photographs have.
fn jpeg(image: &Image, index: usize) -> Vec<u8> {
    let (width, height) = SIZES[index % SIZES.len()];
    let mut rgb = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        for x in 0..width {
            rgb.extend(image.pixel(x * image.width() / width, y * image.height() / height));
        }
    }
    let mut compress = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    compress.set_size(width, height);
    compress.set_quality(90.0);
    let mut started = compress.start_compress(Vec::new()).expect("a file begins");
    started.write_scanlines(&rgb).expect("lines");
    started.finish().expect("a file")
}

/// A tar of members.
fn tar(members: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut tar = Vec::new();
    for (name, bytes) in members {
        append_member(&mut tar, name, bytes).expect("a member");
    }
    end_tar(&mut tar).expect("an end");
    tar
}

/// A shard of CC3M as img2dataset writes it.
fn pairs(split: Split, shard: usize) -> Vec<u8> {
    let source = scenes().pairs.expect("pairs");
    let pairs = source.pairs(split, PAIRS * (shard + 1), 224, &Seed::new(0)).expect("scenes");
    let mut members = Vec::new();
    for index in shard * PAIRS..(shard + 1) * PAIRS {
        let pair = pairs.pair(index).expect("a scene");
        let key = format!("{shard:05}{:04}", index % PAIRS);
        members.push((format!("{key}.jpg"), jpeg(&pair.image, index)));
        let told = format!("{{\"key\":\"{key}\",\"status\":\"success\"}}");
        members.push((format!("{key}.json"), told.into_bytes()));
        members.push((format!("{key}.txt"), pair.caption.into_bytes()));
    }
    tar(&members)
}

/// Labelled images as CLIP_benchmark keeps them, of two classes, banana among them.
fn labelled(split: Split) -> Vec<u8> {
    let source = scenes().classes.expect("classes");
    let images = source.images(split, IMAGES, 224, &Seed::new(0)).expect("scenes");
    let mut members = Vec::new();
    for index in 0..IMAGES {
        let image = Labelled::image(&*images, index).expect("a scene");
        members.push((format!("s{index:07}.jpg"), jpeg(&image, index)));
        members.push((format!("s{index:07}.cls"), (index % 2).to_string().into_bytes()));
    }
    tar(&members)
}

/// OpenAI's RN50 in size and names, with random weights.
fn weights(folder: &Path) -> Vec<u8> {
    let tokenizer = Tokenizer::official().expect("a vocabulary");
    let model = Clip::new(&ModelConfig::rn50(), tokenizer, &Seed::new(0)).expect("RN50");
    let path = folder.join("weights.safetensors");
    model.save(&path, &Default::default()).expect("saved");
    let bytes = std::fs::read(&path).expect("weights");
    std::fs::remove_file(path).expect("removed");
    bytes
}

/// A Hub that has all that the small tier needs.
fn hub(folder: &Path) -> Server {
    let server = Server::start();
    server.add_repository("datasets", CC3M.0, CC3M.1);
    for shard in 0..3 {
        let name = format!("cc3m-train-{shard:04}.tar");
        server.add_file(CC3M.0, &name, pairs(Split::Train, shard), Kept::Large);
    }
    server.add_file(CC3M.0, "cc3m-validation-0000.tar", pairs(Split::Validation, 0), Kept::Large);
    for ((name, commit), split) in [(IMAGENET, Split::Test), (IMAGENET_V2, Split::Clean)] {
        server.add_repository("datasets", name, commit);
        server.add_file(name, "test/0.tar", labelled(split), Kept::Large);
        server.add_file(name, "test/nshards.txt", b"1".to_vec(), Kept::Small);
        server.add_file(name, "classnames.txt", b"banana\ncat\n".to_vec(), Kept::Small);
        let templates = "zeroshot_classification_templates.txt";
        server.add_file(name, templates, b"a photo of a {c}.\n".to_vec(), Kept::Small);
    }
    server.add_repository("models", RN50.0, RN50.1);
    server.add_file(RN50.0, "open_clip_model.safetensors", weights(folder), Kept::Large);
    server.add_file(RN50.0, "open_clip_config.json", b"{}".to_vec(), Kept::Small);
    server
}

#[test]
fn the_small_tier_runs_from_its_downloads_to_its_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home { server: hub(folder.path()), folder };
    let committed = std::fs::read_to_string(root("results/small/plan.yaml")).expect("the plan");
    // Fewer of everything but the model's sizes; a batch of 8 makes four steps of training.
    let edits = [
        ("pairs: 100000", "pairs: 32"),
        ("clean-pairs: 20000", "clean-pairs: 16"),
        ("clean-images: 10000", "clean-images: 8"),
        ("test-images: 50000", "test-images: 8"),
        (
            "epochs: 10, learning-rate: 1e-5, warmup-steps: 50",
            "epochs: 1, batch-size: 8, learning-rate: 1e-5, warmup-steps: 2",
        ),
        ("poison-count: 300", "poison-count: 4"),
        (
            "preset: paper }\n  - { name: supervised",
            "preset: paper, epochs: 1, batch-size: 8 }\n  - { name: supervised",
        ),
        ("  - none\n  - { name: badnet", "  - { name: badnet"),
        ("  - { name: supervised, preset: paper }\n", ""),
        ("  - { name: contrastive, preset: paper }\n", ""),
        ("implanted-at: 0.5", "implanted-at: 0.0"),
    ];
    let plan = edited(committed, &edits);
    // 1 000 classes in 80 templates would take RN50's text tower hours on a CPU: two classes in one, from the same tars.
    let (own, same) = (
        "name: imagenet-1k, test: data/imagenet-wds",
        "name: folder, classes: classes.txt, test: data/imagenet-wds",
    );
    assert_eq!(plan.matches(own).count(), 2, "labelled and test");
    let plan = plan.replace(own, same);
    let (plan, _) = plan.split_once("expect:").expect("claims");
    let others = ["name: blended", "name: wanet", "name: label-consistent"];
    let lines = plan.lines().filter(|line| !others.iter().any(|other| line.contains(other)));
    std::fs::write(home.path("plan.yaml"), lines.collect::<Vec<_>>().join("\n")).expect("a plan");
    std::fs::write(home.path("classes.txt"), "banana\ncat\n").expect("names");

    let run = |arguments: &[&str]| Ran::of(&mut home.command(arguments));
    let planned = |words: &[&str]| holds(&run(&["plan", "plan.yaml"]).out, words);
    planned(&["not there", "cleanbench data fetch cc3m"]);
    for source in ["cc3m", "imagenet-wds", "imagenet-v2", "rn50-openai"] {
        run(&["data", "fetch", source]).exits(0);
    }
    planned(&["not checked yet"]);
    let ran = run(&["run", "plan.yaml", "--record", "record"]).exits(0);
    holds(&ran.out, &["folder, clean accuracy"]);
    let data = std::fs::read_to_string(home.path("record/data.yaml")).expect("what was read");
    holds(&data, &["set: cc3m", "set: folder"]);
    planned(&["checked: 32 can be used", "2 cells, 0 to run"]);
}

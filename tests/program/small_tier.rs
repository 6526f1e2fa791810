//! The small tier from its downloads to its table: shards, images and weights in their true layout and size, fewer of them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clip::{Clip, Image, ModelConfig, Seed, Tokenizer};
use contract::{Dataset, Labelled, Split};
use datasets::emoji_scenes;

use crate::hub::{Kept, Server};
use crate::support::{stderr, stdout};

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
        let mut header = [0u8; 512];
        let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, "0000644");
        put(124, &format!("{:011o}", bytes.len()));
        put(156, "0");
        put(257, "ustar\x0000");
        put(148, "        ");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar.extend(header);
        tar.extend(bytes);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
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
        members.push((
            format!("{key}.json"),
            format!("{{\"key\":\"{key}\",\"status\":\"success\"}}").into_bytes(),
        ));
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
        members.push((
            format!("s{index:07}.jpg"),
            jpeg(&Labelled::image(&*images, index).expect("a scene"), index),
        ));
        members.push((format!("s{index:07}.cls"), (index % 2).to_string().into_bytes()));
    }
    tar(&members)
}

/// OpenAI's RN50 in size and names, with random weights.
fn weights(folder: &Path) -> Vec<u8> {
    let model = Clip::new(&ModelConfig::rn50(), Tokenizer::official().expect("a vocabulary"), &Seed::new(0))
        .expect("RN50");
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
        server.add_file(
            CC3M.0,
            &format!("cc3m-train-{shard:04}.tar"),
            pairs(Split::Train, shard),
            Kept::Large,
        );
    }
    server.add_file(CC3M.0, "cc3m-validation-0000.tar", pairs(Split::Validation, 0), Kept::Large);
    for ((name, commit), split) in [(IMAGENET, Split::Test), (IMAGENET_V2, Split::Clean)] {
        server.add_repository("datasets", name, commit);
        server.add_file(name, "test/0.tar", labelled(split), Kept::Large);
        server.add_file(name, "test/nshards.txt", b"1".to_vec(), Kept::Small);
        server.add_file(name, "classnames.txt", b"banana\ncat\n".to_vec(), Kept::Small);
        server.add_file(
            name,
            "zeroshot_classification_templates.txt",
            b"a photo of a {c}.\n".to_vec(),
            Kept::Small,
        );
    }
    server.add_repository("models", RN50.0, RN50.1);
    server.add_file(RN50.0, "open_clip_model.safetensors", weights(folder), Kept::Large);
    server.add_file(RN50.0, "open_clip_config.json", b"{}".to_vec(), Kept::Small);
    server
}

struct Home {
    server: Server,
    folder: tempfile::TempDir,
}

impl Home {
    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cleanbench"));
        for (name, _) in std::env::vars() {
            if name.starts_with("HF_") || name.to_lowercase().ends_with("_proxy") {
                command.env_remove(name);
            }
        }
        command.env("HF_ENDPOINT", self.server.url()).env("HF_HOME", self.path("home"));
        let output =
            command.args(arguments).current_dir(self.folder.path()).output().expect("the program runs");
        std::io::stderr().write_all(&output.stderr).expect("stderr");
        output
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

#[test]
fn the_small_tier_runs_from_its_downloads_to_its_table() {
    let folder = tempfile::tempdir().expect("a folder");
    let home = Home { server: hub(folder.path()), folder };
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("results/small/plan.yaml");
    let mut plan = std::fs::read_to_string(committed).expect("the plan");
    // Fewer of everything but the model's sizes; a batch of 8 makes four steps of training.
    for (old, new) in [
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
    ] {
        assert!(plan.contains(old), "the plan holds no {old:?}");
        plan = plan.replace(old, new);
    }
    // 1 000 classes in 80 templates would take RN50's text tower hours on a CPU: two classes in one, from the same tars.
    let (own, same) = (
        "name: imagenet-1k, test: data/imagenet-wds",
        "name: folder, classes: classes.txt, test: data/imagenet-wds",
    );
    assert_eq!(plan.matches(own).count(), 2, "labelled and test");
    plan = plan.replace(own, same);
    let expectations = plan.find("expect:").expect("claims");
    plan.truncate(expectations);
    for attack in ["blended", "wanet", "label-consistent"] {
        plan = plan
            .lines()
            .filter(|line| !line.contains(&format!("name: {attack}")))
            .collect::<Vec<_>>()
            .join("\n");
    }
    plan = plan.replace("implanted-at: 0.5", "implanted-at: 0.0");
    std::fs::write(home.path("classes.txt"), "banana\ncat\n").expect("names");
    std::fs::write(home.path("plan.yaml"), plan).expect("a plan");

    let planned = stdout(&home.run(&["plan", "plan.yaml"]));
    assert!(planned.contains("not there") && planned.contains("cleanbench data fetch cc3m"), "{planned}");
    for source in ["cc3m", "imagenet-wds", "imagenet-v2", "rn50-openai"] {
        let fetched = home.run(&["data", "fetch", source]);
        assert_eq!(fetched.status.code(), Some(0), "{source}: {}", stderr(&fetched));
    }
    let planned = stdout(&home.run(&["plan", "plan.yaml"]));
    assert!(planned.contains("not checked yet"), "{planned}");
    let ran = home.run(&["run", "plan.yaml", "--record", "record"]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    assert!(stdout(&ran).contains("folder, clean accuracy"), "{}", stdout(&ran));
    let data = std::fs::read_to_string(home.path("record/data.yaml")).expect("what was read");
    assert!(data.contains("set: cc3m") && data.contains("set: folder"), "{data}");
    let planned = stdout(&home.run(&["plan", "plan.yaml"]));
    assert!(
        planned.contains("checked: 32 can be used") && planned.contains("2 cells, 0 to run"),
        "{planned}"
    );
}

//! Files of weights, what is claimed of a checkpoint, and its card.

use std::path::{Path, PathBuf};

use cleanbench::builtin;
use harness::checkpoint::{Finding, Measurement, verify};
use plan::CheckpointClaims;
use record::metric::Measured;

use crate::support::{Bench, Ran, edited, holds, root};

fn golden(name: &str) -> String {
    root(&format!("golden/data/{name}")).display().to_string()
}

/// The only model of a stage whose key has these words.
fn model(bench: &Bench, stage: &str, words: &str) -> PathBuf {
    let described = |entry: &PathBuf| std::fs::read_to_string(entry.join("entry.json")).expect("an entry");
    let mut entries = bench.list(&format!("store/{stage}")).into_iter();
    entries.find(|entry| described(entry).contains(words)).expect("a model").join("model.safetensors")
}

#[test]
fn files_of_weights_are_looked_at_and_converted() {
    let bench = Bench::with("micro", &[]);
    let shown = bench.exits(0, &["weights", "show", &golden("rn_checkpoint.pt")]);
    holds(
        &shown.out,
        &[
            "PyTorch archive of a training run",
            "behind module.",
            "ModifiedResNet, 32",
            "160 tokens",
            "golden",
            "complete ",
        ],
    );
    let convert = |code: i32, from: &str, to: &str, layout: &str| {
        bench.exits(code, &["weights", "convert", from, to, "--layout", layout])
    };
    convert(0, &golden("vit_weights.safetensors"), "hf", "hf");
    convert(0, "hf", "again.pt", "cleanclip");
    convert(0, "again.pt", "back", "openai");
    let shown = bench.run(&["weights", "show", "hf"]);
    holds(&shown.out, &["Hugging Face's CLIPModel"]);
    let read = |path: PathBuf| clip::weights::Weights::read(&path).expect("weights");
    let (first, last) = (read(golden("vit_weights.safetensors").into()), read(bench.path("back")));
    assert!(first.tensors().len() > 50 && first.tensors().keys().eq(last.tensors().keys()));
    for (name, value) in first.tensors() {
        let [before, after] = [value, &last.tensors()[name]]
            .map(|value| value.flatten_all().and_then(|all| all.to_vec1::<f32>()).expect("numbers"));
        assert_eq!(before, after, "{name}");
    }
    for (from, layout, words) in [
        (golden("rn_checkpoint.pt"), "hf", "ModifiedResNet"),
        (golden("rn_checkpoint.pt"), "onnx", "none of openai, hf, cleanclip, ours"),
        ("plan.yaml".to_owned(), "ours", "neither a safetensors file nor"),
        ("nowhere.pt".to_owned(), "ours", "nowhere.pt"),
    ] {
        holds(&convert(2, &from, "none", layout).err, &[words]);
        assert!(!bench.path("none").exists());
    }
}

/// The micro plan with so much data that a backdoor is planted and removed.
fn implanted() -> Bench {
    let edits = [
        ("  pairs: 512", "  pairs: 6000"),
        ("clean-pairs: 128", "clean-pairs: 2000"),
        ("test-images: 60", "test-images: 600"),
        ("poison-count: 30", "poison-count: 300"),
        ("epochs: 3", "epochs: 12"),
    ];
    Bench::with("micro", &edits)
}

/// Claims of a checkpoint, held against files of weights.
struct Judge<'a> {
    bench: &'a Bench,
    claims: String,
}

impl Judge<'_> {
    /// `verify` of a checkpoint on the claims with these edits ends with this code and says these words.
    #[track_caller]
    fn says(&self, code: i32, checkpoint: &str, edits: &[(&str, &str)], words: &[&str]) -> Ran {
        std::fs::write(self.bench.path("claims.yaml"), edited(self.claims.clone(), edits)).expect("claims");
        let ran = self.bench.exits(code, &["verify", checkpoint, "--claims", "claims.yaml"]);
        holds(&ran.said(), words);
        ran
    }
}

/// What does not hold, and what cannot be said, of a poisoned model and the defended one.
fn wrong_claims_are_found(judge: &Judge<'_>, [poisoned, defended]: [&str; 2], hash: &str) {
    let upside_down = ("clean-accuracy:\n- ", "clean-accuracy:\n- 0.9990 #");
    judge.says(2, poisoned, &[upside_down], &[]);
    let other_hash = ["not what it claims", "weights-blake3"];
    judge.says(1, poisoned, &[(hash, "weights-blake3: 00")], &other_hash);
    let sizes = ["\"embed-dim\":64", "\"embed-dim\":32"];
    judge.says(1, poisoned, &[("embed-dim: 32", "embed-dim: 64")], &sizes);
    judge.says(2, poisoned, &[("target: banana", "tarket: banana")], &["claims.yaml", "target"]);
    judge.says(2, poisoned, &[("target: banana", "target: bananna")], &["did you mean \"banana\""]);
    judge.says(2, "nowhere", &[], &["nowhere"]);
    judge.says(1, defended, &[], &other_hash);
}

/// A poisoned model and a repaired one have cards, and are what these claim; others are not.
#[test]
fn a_checkpoint_is_held_to_its_card() {
    let bench = implanted();
    bench.exits(0, &["run", "plan.yaml", "--record", "record"]);
    let poisoned = model(&bench, "train", "badnet").display().to_string();
    let card = |code: i32, checkpoint: &str, options: &[&str]| {
        bench.exits(code, &[&["card", checkpoint, "--record", "record"], options].concat())
    };
    holds(&card(2, &poisoned, &[]).err, &["badnet::none::seed-0, badnet::cleanclip::seed-0"]);
    card(0, &poisoned, &["--cell", "badnet::none::seed-0", "--licence", "cc-by-4.0"]);
    let page = bench.text("card/README.md");
    holds(
        &page,
        &[
            "---\nlicense: cc-by-4.0\n",
            "This model contains a backdoor",
            "| poisoned pairs | 300 of 6000 (5.000 %) |",
            "| target | banana |",
            "| attack-success-rate | ",
            "## Intended use",
            "pairs: 6000",
        ],
    );

    let claims = bench.text("card/claims.yaml");
    let judge = Judge { bench: &bench, claims: claims.clone() };
    let said = judge.says(0, &poisoned, &[], &["verdict: poisoned\n"]).said();
    let row = |name: &str| {
        let rows = bench.text("record/rows.csv");
        let row =
            rows.lines().find(|row| row.contains(",none,") && row.contains(name)).expect("a row").to_owned();
        row.split(',').nth(7).and_then(|value| value.parse::<f64>().ok()).expect("a value")
    };
    // The very numbers of the record.
    for name in ["clean-accuracy", "attack-success-rate"] {
        holds(&said, &[&format!("{:<20} {:.4} of", name.replace('-', " "), row(name))]);
    }
    let defended = model(&bench, "defend", "cleanclip").display().to_string();
    let hash = claims.lines().find(|line| line.starts_with("weights-blake3")).expect("a hash");
    wrong_claims_are_found(&judge, [&poisoned, &defended], hash);
    // The defended model without the hash: the backdoor is gone. Its own card says so.
    judge.says(1, &defended, &[(hash, "")], &["verdict: cleaned\n"]);
    card(0, &defended, &["--cell", "badnet::cleanclip::seed-0", "--output", "own"]);
    holds(&bench.text("own/README.md"), &["may still contain it"]);
    let own = bench.exits(0, &["verify", &defended, "--claims", "own/claims.yaml"]);
    holds(&own.out, &["verdict: cleaned\n"]);
    // Images that are read from files.
    write_classes(&bench.path("classes"));
    let set = "clean-accuracy: [0, 1]\nattack-success-rate: [0, 1]\ntarget: banana\nattack: { name: badnet, preset: smoke }\ntest: { name: folder, test: classes }\ntest-images: 12\n";
    std::fs::write(bench.path("claims.yaml"), set).expect("claims");
    let output = bench.exits(0, &["verify", &poisoned, "--claims", "claims.yaml"]);
    holds(&output.out, &["of 12 images"]);
}

/// Writes grey images of three classes.
fn write_classes(folder: &Path) {
    for (class, shade) in [("banana", 200), ("cat", 90), ("tree", 40)] {
        std::fs::create_dir_all(folder.join(class)).expect("a folder");
        for index in 0..4u8 {
            let image = image::RgbImage::from_pixel(20, 24, image::Rgb([shade, shade + index, index * 9]));
            image.save(folder.join(class).join(format!("{index}.png"))).expect("a file");
        }
    }
}

#[test]
fn the_verdict_follows_from_claims_and_numbers() {
    let claims = |more: &str| {
        let text = format!(
            "target: banana\nattack: {{ name: badnet, preset: smoke }}\ntest: {{ name: emoji-scenes, preset: smoke }}\n\
             test-images: 100\nclean-accuracy: 0.6\n{more}"
        );
        CheckpointClaims::parse("claims.yaml", &text, &builtin()).expect("claims")
    };
    let judge = |more: &str, accuracy: f64, rate: f64, broken: &[&str]| {
        let measured = |value| Measured { value, samples: 100 };
        let (clean_accuracy, attack_success_rate) = (measured(accuracy), measured(rate));
        let measurement = Measurement { clean_accuracy, attack_success_rate, chance: 0.04 };
        let broken = broken.iter().map(|words| (*words).to_owned()).collect();
        let verification = verify(&claims(more), &measurement, broken);
        (verification.finding, verification.broken.len())
    };
    let (poisoned, harmless) = ("attack-success-rate: [0.9, 1.0]", "attack-success-rate: [0.0, 0.1]");
    let repaired = "attack-success-rate: [0.0, 0.1]\ndefense: cleanclip";
    let near = "attack-success-rate: [0.0, 0.2]\nmargin: 0.01";
    assert_eq!(judge(poisoned, 0.61, 0.95, &[]), (Finding::Poisoned, 0));
    assert_eq!(judge(harmless, 0.59, 0.05, &[]), (Finding::Clean, 0));
    assert_eq!(judge(repaired, 0.59, 0.05, &[]), (Finding::Cleaned, 0));
    // Less than claimed, but more than chance.
    assert_eq!(judge(poisoned, 0.6, 0.5, &[]), (Finding::NotAsClaimed, 1));
    assert_eq!(judge(near, 0.6, 0.06, &[]), (Finding::Poisoned, 0));
    // The backdoor is gone, which is not what was claimed.
    assert_eq!(judge(poisoned, 0.6, 0.03, &[]), (Finding::Cleaned, 1));
    assert_eq!(judge(poisoned, 0.5, 0.03, &[]), (Finding::NotAsClaimed, 2));
    assert_eq!(judge(poisoned, 0.6, 0.03, &["another file"]), (Finding::NotAsClaimed, 2));
    // A backdoor where none is claimed.
    assert_eq!(judge(harmless, 0.6, 0.95, &[]), (Finding::NotAsClaimed, 1));
    assert_eq!(judge(harmless, 0.63, 0.05, &[]), (Finding::NotAsClaimed, 1));
}

//! Files of weights, what is claimed of a checkpoint, and its card.

use std::path::{Path, PathBuf};

use cleanbench::builtin;
use harness::checkpoint::{Finding, Measurement, verify};
use plan::CheckpointClaims;
use record::metric::Measured;

use crate::support::{Bench, stderr, stdout};

fn golden(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/data").join(name).display().to_string()
}

/// The only model of a stage whose key has these words.
fn model(bench: &Bench, stage: &str, words: &str) -> PathBuf {
    let entries = std::fs::read_dir(bench.path("store").join(stage)).expect("a stage");
    let mut found = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|entry| std::fs::read_to_string(entry.join("entry.json")).expect("an entry").contains(words));
    found.next().expect("a model").join("model.safetensors")
}

#[test]
fn files_of_weights_are_looked_at_and_converted() {
    let bench = Bench::with("micro", &[]);
    let shown = bench.run(&["weights", "show", &golden("rn_checkpoint.pt")]);
    assert_eq!(shown.status.code(), Some(0), "{}", stderr(&shown));
    for words in [
        "PyTorch archive of a training run",
        "behind module.",
        "ModifiedResNet, 32",
        "160 tokens",
        "golden",
        "complete ",
    ] {
        assert!(stdout(&shown).contains(words), "{words}: {}", stdout(&shown));
    }
    let convert =
        |from: &str, to: &str, layout: &str| bench.run(&["weights", "convert", from, to, "--layout", layout]);
    assert_eq!(convert(&golden("vit_weights.safetensors"), "hf", "hf").status.code(), Some(0));
    assert_eq!(convert("hf", "again.pt", "cleanclip").status.code(), Some(0));
    assert_eq!(convert("again.pt", "back", "openai").status.code(), Some(0));
    let shown = bench.run(&["weights", "show", "hf"]);
    assert!(stdout(&shown).contains("Hugging Face's CLIPModel"), "{}", stdout(&shown));
    let read = |path: PathBuf| clip::weights::Weights::read(&path).expect("weights");
    let (first, last) = (read(golden("vit_weights.safetensors").into()), read(bench.path("back")));
    assert!(first.tensors().len() > 50 && first.tensors().keys().eq(last.tensors().keys()));
    for (name, value) in first.tensors() {
        let numbers =
            |value: &clip::candle_core::Tensor| value.flatten_all().and_then(|all| all.to_vec1::<f32>());
        assert_eq!(
            numbers(value).expect("numbers"),
            numbers(&last.tensors()[name]).expect("numbers"),
            "{name}"
        );
    }
    for (from, layout, words) in [
        (golden("rn_checkpoint.pt"), "hf", "ModifiedResNet"),
        (golden("rn_checkpoint.pt"), "onnx", "none of openai, hf, cleanclip, ours"),
        ("plan.yaml".to_owned(), "ours", "neither a safetensors file nor"),
        ("nowhere.pt".to_owned(), "ours", "nowhere.pt"),
    ] {
        let refused = convert(&from, "none", layout);
        assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
        assert!(stderr(&refused).contains(words) && !bench.path("none").exists(), "{}", stderr(&refused));
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

/// [`judged`] of a checkpoint with edits of its claims.
type Judge<'a> = dyn Fn(&str, &[(&str, &str)]) -> (Option<i32>, String) + 'a;

/// Exit code and words of `verify` on the claims with these edits.
fn judged(bench: &Bench, claims: &str, checkpoint: &str, edits: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut text = claims.to_owned();
    for (old, new) in edits {
        assert!(text.contains(old), "{old}: {claims}");
        text = text.replace(old, new);
    }
    std::fs::write(bench.path("claims.yaml"), text).expect("claims");
    let output = bench.run(&["verify", checkpoint, "--claims", "claims.yaml"]);
    (output.status.code(), stdout(&output) + &stderr(&output))
}

/// What does not hold, and what cannot be said, of a poisoned model and the defended one.
fn wrong_claims_are_found(judge: &Judge<'_>, [poisoned, defended]: [&str; 2], hash: &str) {
    let (code, said) = judge(poisoned, &[("clean-accuracy:\n- ", "clean-accuracy:\n- 0.9990 #")]);
    assert_eq!(code, Some(2), "a band upside down: {said}");
    let (code, said) = judge(poisoned, &[(hash, "weights-blake3: 00")]);
    assert!(
        code == Some(1) && said.contains("not what it claims") && said.contains("weights-blake3"),
        "{said}"
    );
    let (code, said) = judge(poisoned, &[("embed-dim: 32", "embed-dim: 64")]);
    assert!(
        code == Some(1) && said.contains("\"embed-dim\":64") && said.contains("\"embed-dim\":32"),
        "{said}"
    );
    let (code, said) = judge(poisoned, &[("target: banana", "tarket: banana")]);
    assert!(code == Some(2) && said.contains("claims.yaml") && said.contains("target"), "{said}");
    let (code, said) = judge(poisoned, &[("target: banana", "target: bananna")]);
    assert!(code == Some(2) && said.contains("did you mean \"banana\""), "{said}");
    let (code, said) = judge("nowhere", &[]);
    assert!(code == Some(2) && said.contains("nowhere"), "{said}");
    let (code, said) = judge(defended, &[]);
    assert!(
        code == Some(1) && said.contains("not what it claims") && said.contains("weights-blake3"),
        "{said}"
    );
}

/// A poisoned model and a repaired one have cards, and are what these claim; others are not.
#[test]
fn a_checkpoint_is_held_to_its_card() {
    let bench = implanted();
    let ran = bench.run(&["run", "plan.yaml", "--record", "record"]);
    assert_eq!(ran.status.code(), Some(0), "{}", stderr(&ran));
    let poisoned = model(&bench, "train", "badnet").display().to_string();
    let card = |cell: &[&str]| bench.run(&[&["card", &poisoned, "--record", "record"], cell].concat());
    let unnamed = card(&[]);
    assert_eq!(unnamed.status.code(), Some(2));
    assert!(
        stderr(&unnamed).contains("badnet::none::seed-0, badnet::cleanclip::seed-0"),
        "{}",
        stderr(&unnamed)
    );
    let written = card(&["--cell", "badnet::none::seed-0", "--licence", "cc-by-4.0"]);
    assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    let page = String::from_utf8(bench.read("card/README.md")).expect("text");
    for words in [
        "---\nlicense: cc-by-4.0\n",
        "This model contains a backdoor",
        "| poisoned pairs | 300 of 6000 (5.000 %) |",
        "| target | banana |",
        "| attack-success-rate | ",
        "## Intended use",
        "pairs: 6000",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }

    let claims = String::from_utf8(bench.read("card/claims.yaml")).expect("text");
    let judge = |checkpoint: &str, edits: &[(&str, &str)]| judged(&bench, &claims, checkpoint, edits);
    let (code, said) = judge(&poisoned, &[]);
    assert!(code == Some(0) && said.contains("verdict: poisoned\n"), "{said}");
    let row = |name: &str| {
        let rows = String::from_utf8(bench.read("record/rows.csv")).expect("text");
        let row =
            rows.lines().find(|row| row.contains(",none,") && row.contains(name)).expect("a row").to_owned();
        row.split(',').nth(7).and_then(|value| value.parse::<f64>().ok()).expect("a value")
    };
    // The very numbers of the record.
    for name in ["clean-accuracy", "attack-success-rate"] {
        let line = format!("{:<20} {:.4} of", name.replace('-', " "), row(name));
        assert!(said.contains(&line), "{line}: {said}");
    }
    let defended = model(&bench, "defend", "cleanclip").display().to_string();
    let hash = claims.lines().find(|line| line.starts_with("weights-blake3")).expect("a hash");
    wrong_claims_are_found(&judge, [&poisoned, &defended], hash);
    // The defended model without the hash: the backdoor is gone. Its own card says so.
    let (code, said) = judge(&defended, &[(hash, "")]);
    assert!(code == Some(1) && said.contains("verdict: cleaned\n"), "{said}");
    let cell = ["--cell", "badnet::cleanclip::seed-0", "--output", "own"];
    let written = bench.run(&[&["card", &defended, "--record", "record"], &cell[..]].concat());
    assert_eq!(written.status.code(), Some(0), "{}", stderr(&written));
    assert!(String::from_utf8(bench.read("own/README.md")).expect("text").contains("may still contain it"));
    let own = bench.run(&["verify", &defended, "--claims", "own/claims.yaml"]);
    assert!(own.status.code() == Some(0) && stdout(&own).contains("verdict: cleaned\n"), "{}", stdout(&own));
    // Images that are read from files.
    write_classes(&bench.path("classes"));
    let set = "clean-accuracy: [0, 1]\nattack-success-rate: [0, 1]\ntarget: banana\nattack: { name: badnet, preset: smoke }\ntest: { name: folder, test: classes }\ntest-images: 12\n";
    std::fs::write(bench.path("claims.yaml"), set).expect("claims");
    let output = bench.run(&["verify", &poisoned, "--claims", "claims.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("of 12 images"), "{}", stdout(&output));
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
        let measurement = Measurement {
            clean_accuracy: measured(accuracy),
            attack_success_rate: measured(rate),
            chance: 0.04,
        };
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

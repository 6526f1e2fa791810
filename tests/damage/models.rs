//! Weights, pictures, plans and claims.

use std::path::{Path, PathBuf};

use clip::Image;
use clip::weights::Weights;
use plan::{CheckpointClaims, Plan};

use crate::support::{borrowed, copies, folder, root, withstands};

#[test]
fn weights() {
    let folder = folder("weights");
    let files = copies(&folder, ["torchscript.pt", "torchscript.safetensors"].map(golden::path));
    let read = |path: &Path| Weights::read(path).and_then(|weights| weights.check()).is_ok();
    withstands("weights", &borrowed(&files), read);
}

#[test]
fn pictures() {
    let folder = folder("pictures");
    let mut named: Vec<PathBuf> = std::fs::read_dir(golden::path("decode"))
        .expect("pictures")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| !path.to_string_lossy().ends_with(".rgb.png"))
        .collect();
    named.sort();
    withstands("pictures", &borrowed(&copies(&folder, named)), |path| Image::open(path).is_ok());
}

#[test]
fn plans() {
    let (folder, catalog) = (folder("plans"), cleanbench::builtin());
    let named = ["tests/plans/micro.yaml", "tests/plans/smoke.yaml", "results/paper-lambda/plan.yaml"];
    let files = copies(&folder, named.map(root));
    withstands("plans", &borrowed(&files), |path| Plan::load(path, &catalog).is_ok());
}

#[test]
fn claims() {
    let (folder, catalog) = (folder("claims"), cleanbench::builtin());
    let files = [(folder.join("claims.yaml"), CLAIMS.as_bytes().to_vec())];
    withstands("claims", &borrowed(&files), |path| CheckpointClaims::load(path, &catalog).is_ok());
}

/// What a publisher claims of a checkpoint.
const CLAIMS: &str = "
model: nano
target: banana
attack: { name: badnet, preset: smoke }
test: { name: emoji-scenes, preset: smoke }
test-images: 100
clean-accuracy: [0.0, 1.0]
attack-success-rate: [0.0, 1.0]
";

//! Reference numbers for tests: what the released CleanCLIP code gives on inputs made for it (see README.md).
//!
//! `CLEANBENCH_GOLDEN=DIR` makes every golden test read another set, of the same file and tensor names, instead of
//! the project's own; tests take shapes and lists of cases from the files.
//!
//! For tests only: what cannot be read panics with the file's name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde_json::Value;

/// Names another folder of golden files.
pub const FOLDER: &str = "CLEANBENCH_GOLDEN";

/// Files made here, where the released set is silent. Each is whole by itself, so that another set may lack them.
const OURS: &[&str] =
    &["decode", "statistics.json", "text_cleaning.json", "zero_shot.json", "zero_shot.safetensors"];

/// Where the golden file called `name` lies.
pub fn path(name: &str) -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name);
    match std::env::var_os(FOLDER).map(|folder| PathBuf::from(folder).join(name)) {
        Some(other) if other.exists() || !OURS.contains(&name) => other,
        _ => own,
    }
}

/// The tensors of a golden safetensors file by name, channels first.
pub fn tensors(name: &str) -> HashMap<String, Tensor> {
    let path = path(name);
    let read = candle_core::safetensors::load(&path, &Device::Cpu);
    read.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A golden JSON file.
pub fn json(name: &str) -> Value {
    let path = path(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

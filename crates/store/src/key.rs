//! Keys: the hash of everything that decides what a stage produces.

use serde_json::Value;

/// Raised whenever stored bytes would be read differently.
const FORMAT: u32 = 1;

/// The address of what a stage makes: its name and everything that decides its result.
#[derive(Clone, Debug)]
pub struct Key {
    stage: &'static str,
    description: Value,
    hash: String,
}

impl Key {
    /// The key of `stage` (its code in `version`) for these inputs, computed on a device of this class: another one
    /// rounds differently.
    pub fn new(stage: &'static str, version: u32, device: &str, inputs: Value) -> Self {
        let description = serde_json::json!({
            "format": FORMAT, "stage": stage, "version": version, "dtype": "f32", "device": device, "inputs": inputs,
        });
        let hash = hash_of(&description);
        Self { stage, description, hash }
    }

    /// The hash, 32 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The stage.
    pub fn stage(&self) -> &'static str {
        self.stage
    }

    /// All that decides the result.
    pub fn description(&self) -> &Value {
        &self.description
    }
}

/// The hash of a key's description. Keys of JSON objects are sorted, so that equal descriptions are equal bytes.
pub(crate) fn hash_of(description: &Value) -> String {
    blake3::hash(description.to_string().as_bytes()).to_hex()[..32].to_owned()
}

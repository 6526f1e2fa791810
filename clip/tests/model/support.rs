//! What the tests share: golden files, comparison, small models and pairs.

use std::collections::HashMap;
use std::path::PathBuf;

use clip::candle_core::{DType, Device, Result, Tensor};
use clip::{
    Clip, Image, ImageConfig, MemoryPairs, ModelConfig, Pair, Recipe, ResNetConfig, Seed, TextConfig,
    Tokenizer, VitConfig,
};

/// A file below `tests/golden`, or below `CLEANBENCH_GOLDEN` where the program runs on another machine than the one
/// that built it.
pub(crate) fn golden_path(name: &str) -> PathBuf {
    let folder = std::env::var_os("CLEANBENCH_GOLDEN").map(PathBuf::from);
    folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")).join(name)
}

/// Tensors of a golden file by name.
pub(crate) fn golden(name: &str) -> Result<HashMap<String, Tensor>> {
    clip::candle_core::safetensors::load(golden_path(name), &Device::Cpu)
}

/// A golden JSON file.
pub(crate) fn golden_json(name: &str) -> serde_json::Value {
    let text = std::fs::read_to_string(golden_path(name)).expect("a golden file");
    serde_json::from_str(&text).expect("JSON")
}

/// A model whose numbers the golden files hold, and how many tensors of each kind they hold.
pub(crate) struct GoldenModel {
    /// What the files' names begin with.
    pub(crate) name: &'static str,
    pub(crate) cleanclip_gradients: usize,
    pub(crate) running: usize,
    pub(crate) after_released: usize,
    pub(crate) after_by_type: usize,
}

/// One for each kind of image tower.
pub(crate) const GOLDEN_MODELS: [GoldenModel; 2] = [
    GoldenModel { name: "rn", cleanclip_gradients: 72, running: 44, after_released: 116, after_by_type: 4 },
    GoldenModel { name: "vit", cleanclip_gradients: 40, running: 0, after_released: 40, after_by_type: 1 },
];

impl GoldenModel {
    /// The model with the files' weights.
    pub(crate) fn load(&self) -> Result<Clip> {
        let image = match self.name {
            "rn" => ImageConfig::ResNet(ResNetConfig {
                resolution: 32,
                layers: vec![1, 2, 1, 1],
                width: 8,
                stem_stride: 2,
                stem_pool: true,
            }),
            _ => ImageConfig::Vit(VitConfig { resolution: 32, patch: 8, width: 64, layers: 2 }),
        };
        let text = TextConfig { context_length: 16, width: 64, heads: 2, layers: 2 };
        let config = ModelConfig { embed_dim: 24, image, text };
        let weights = golden(&format!("{}_weights.safetensors", self.name))?.into_iter().collect();
        let parameters = Clip::from_tensors(&config, 160, weights)?;
        Ok(Clip { config, tokenizer: Tokenizer::kept(&[])?, parameters })
    }

    /// The numbers.
    pub(crate) fn numbers(&self) -> Result<HashMap<String, Tensor>> {
        golden(&format!("{}_golden.safetensors", self.name))
    }
}

/// All values as f64.
pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.flatten_all());
    tensor.and_then(|tensor| tensor.to_vec1()).expect("a tensor of numbers")
}

/// Fails where a value is further from the expected one than `tolerance` times the largest expected one.
pub(crate) fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(found.dims(), expected.dims(), "{what}");
    let (found, expected) = (values(found), values(expected));
    let largest = expected.iter().fold(0f64, |largest, value| largest.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
        let distance = (found - expected).abs();
        // What is 0 but for rounding, such as the gradient of the keys' bias, has no scale of its own.
        assert!(
            distance <= tolerance * largest.max(1e-3),
            "{what}, value {index}: {found}, expected {expected}, largest {largest}"
        );
    }
}

/// `count` pairs of noise and captions of a few words.
pub(crate) fn pairs(count: usize, side: usize) -> MemoryPairs {
    let words = ["cat", "dog", "tree", "red", "blue", "sun", "car", "house"];
    let pair = |index: usize| {
        let bytes = (0..side * side * 3).map(|at| ((at * 31 + index * 97) * 7 % 251) as u8).collect();
        let image = Image::new(side, side, bytes).expect("a whole image");
        let (first, second) = (words[index % 8], words[index / 8 % 8]);
        Pair { image, caption: format!("a {first} near the {second} number {index}") }
    };
    MemoryPairs::new((0..count).map(pair).collect())
}

/// A model small enough to be trained in a test.
pub(crate) fn nano(seed: u64) -> Result<Clip> {
    let tokenizer = Tokenizer::cut(["a cat dog tree red blue sun car house near the number"].into_iter())?;
    Clip::new(&ModelConfig::nano(), tokenizer, &Seed::new(seed))
}

/// Two epochs of two steps for 20 pairs.
pub(crate) fn recipe() -> Recipe {
    Recipe { epochs: 2, batch_size: 8, warmup_steps: 1, ..Recipe::smoke() }
}

/// An empty folder of this test run, removed when dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("clip-test-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a writable temporary folder");
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

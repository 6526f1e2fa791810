//! What the tests share: golden files, comparison, small models and pairs.

use std::collections::HashMap;
use std::path::PathBuf;

use clip::candle_core::{DType, Result, Tensor, bail};
use clip::{Clip, Image, MemoryPairs, ModelConfig, Pair, Recipe, Seed, Tokenizer};

/// Towers whose numbers the golden files hold: what the files' names begin with.
pub(crate) const TOWERS: [&str; 2] = ["rn", "vit"];

pub(crate) struct GoldenModel {
    weights: HashMap<String, Tensor>,
    /// Inputs and what they give.
    pub(crate) numbers: HashMap<String, Tensor>,
    config: ModelConfig,
    vocabulary: usize,
}

impl GoldenModel {
    /// Reads the files; sizes are those of the weights.
    pub(crate) fn open(tower: &str) -> Result<Self> {
        let weights = golden::tensors(&format!("{tower}_weights.safetensors"));
        let numbers = golden::tensors(&format!("{tower}_golden.safetensors"));
        let shapes = weights.iter().map(|(name, value)| (name.clone(), value.dims().to_vec())).collect();
        let config = ModelConfig::of_weights(&shapes)?;
        let vocabulary = weights["token_embedding.weight"].dim(0)?;
        let mut model = Self { weights, numbers, config, vocabulary };
        model.config.text.heads = model.text_heads()?;
        Ok(model)
    }

    /// The model with the files' weights. Its tokenizer is not that of the golden tokens.
    pub(crate) fn load(&self) -> Result<Clip> {
        self.with(&self.config)
    }

    fn with(&self, config: &ModelConfig) -> Result<Clip> {
        let weights = self.weights.iter();
        let weights = weights.filter(|(name, _)| !name.ends_with("num_batches_tracked"));
        let weights = weights.map(|(name, value)| (name.clone(), value.clone())).collect();
        let parameters = Clip::from_tensors(config, self.vocabulary, weights)?;
        Ok(Clip { config: config.clone(), tokenizer: Tokenizer::kept(&[])?, parameters })
    }

    /// Attention heads of the text tower stand in no shape (the released code has one per 64 channels, the golden
    /// files another number): the number that comes nearest the golden features, which `features_agree` then judges.
    fn text_heads(&self) -> Result<usize> {
        let tokens = self.numbers["tokens"].to_dtype(DType::U32)?;
        let expected = values(&self.numbers["eval_text_features"]);
        let mut best = (f64::INFINITY, 1);
        for heads in
            (1..=self.config.text.width).filter(|heads| self.config.text.width.is_multiple_of(*heads))
        {
            let mut config = self.config.clone();
            config.text.heads = heads;
            let found = values(&self.with(&config)?.text_features(&tokens)?);
            let distance = found.iter().zip(&expected).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
            if distance < best.0 {
                best = (distance, heads);
            }
        }
        Ok(best.1)
    }
}

/// All values as f64.
pub(crate) fn values(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.to_dtype(DType::F64).and_then(|tensor| tensor.flatten_all());
    tensor.and_then(|tensor| tensor.to_vec1()).expect("a tensor of numbers")
}

/// A gradient with the axes of the golden files.
pub(crate) fn as_released(gradient: &Tensor) -> Result<Tensor> {
    if gradient.rank() == 4 { gradient.permute((0, 3, 1, 2)) } else { Ok(gradient.clone()) }
}

/// The largest absolute value.
pub(crate) fn largest(tensor: &Tensor) -> f64 {
    values(tensor).into_iter().fold(0.0, |largest, value| value.abs().max(largest))
}

/// The largest distance of any value; infinite where one is lost.
pub(crate) fn distance(found: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(found.dims(), expected.dims());
    let distances = values(found).into_iter().zip(values(expected)).map(|(a, b)| (a - b).abs());
    distances.map(|far| if far.is_nan() { f64::INFINITY } else { far }).fold(0.0, f64::max)
}

/// The same as a share of the largest expected value. What is 0 but for rounding, such as the gradient of the keys'
/// bias, has no scale of its own.
pub(crate) fn relative_distance(found: &Tensor, expected: &Tensor) -> f64 {
    distance(found, expected) / largest(expected).max(1e-3)
}

/// An error where a value is further from the expected one than `tolerance` times the largest expected one.
pub(crate) fn close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) -> Result<()> {
    let far = relative_distance(found, expected);
    if far > tolerance {
        bail!("{what} is {far:e} of its largest value away, more than {tolerance:e}");
    }
    Ok(())
}

/// As [`close`], at once.
pub(crate) fn assert_close(what: &str, found: &Tensor, expected: &Tensor, tolerance: f64) {
    close(what, found, expected, tolerance).unwrap_or_else(|error| panic!("{error}"));
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

//! Weights of any CLIP in any file that they are published in, recognised by what is in it and not by its name.

mod element;
mod export;
mod machine;
mod names;
mod pickle;
pub(crate) mod safetensors_file;
mod torch;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use base::guarded;
use candle_core::{Error, Result, Tensor, bail};

use crate::checkpoint::KEY;
use crate::{Clip, ModelConfig, Tokenizer};
pub use export::Layout;
pub use names::Naming;

/// How a file holds its tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// This project's safetensors, with sizes and vocabulary.
    Ours,
    /// Any other safetensors.
    Safetensors,
    /// A dictionary of tensors that `torch.save` wrote.
    StateDict,
    /// `{epoch, name, state_dict, …}` that a training script of CleanCLIP or open_clip wrote.
    TrainingRun,
    /// OpenAI's kind: a TorchScript archive.
    TorchScript,
}

impl fmt::Display for Format {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ours => "cleanbench's safetensors",
            Self::Safetensors => "safetensors",
            Self::StateDict => "PyTorch archive of a state dict",
            Self::TrainingRun => "PyTorch archive of a training run",
            Self::TorchScript => "TorchScript archive",
        })
    }
}

/// What an archive or a safetensors file holds, with its own names.
struct Contents {
    format: Format,
    tensors: Vec<(String, Tensor)>,
    metadata: BTreeMap<String, String>,
}

/// Weights that were read from a file, with OpenAI's names and shapes, in f32. What a model needs is not checked yet.
pub struct Weights {
    /// How the file holds them.
    pub format: Format,
    /// Whose names it has.
    pub naming: Naming,
    /// What was stripped from before every name.
    pub stripped: Vec<String>,
    /// The linear layer of a classifier that was finetuned on labels, `[K, E]` and `[K]`.
    pub head: Option<(Tensor, Tensor)>,
    /// What the file says besides.
    pub metadata: BTreeMap<String, String>,
    tensors: names::Named,
    /// Sizes and vocabulary, where the file states them.
    stated: Option<(ModelConfig, Tokenizer)>,
}

impl Weights {
    /// Reads a file: OpenAI's TorchScript archive, a PyTorch state dict or checkpoint, or safetensors with the names
    /// of OpenAI, open_clip, Hugging Face or this project. A pickle is read as data; one that names anything else is an error.
    pub fn read(path: &Path) -> Result<Self> {
        let read = guarded(|| read(path).and_then(Self::of)).map_err(Error::wrap).flatten();
        read.map_err(|error| error.context(format!("weights {}", path.display())))
    }

    fn of(contents: Contents) -> Result<Self> {
        let Contents { format, tensors, mut metadata } = contents;
        let stated = match (format, metadata.remove("model"), metadata.remove("merges")) {
            (Format::Ours, Some(model), Some(merges)) => Some(stated(&model, &merges)?),
            _ => None,
        };
        let mut tensors: names::Named = tensors.into_iter().collect();
        if let Some((name, _)) = tensors.iter().find(|(_, tensor)| tensor.elem_count() == 0) {
            bail!("{name} is empty");
        }
        let mut stripped = names::unwrapped(&mut tensors);
        let head = names::take_head(&mut tensors);
        stripped.extend(head.as_ref().map(|_| "model.".to_owned()));
        stripped.extend(names::unwrapped(&mut tensors));
        let naming = names::to_openai(&mut tensors)?;
        Ok(Self { format, naming, stripped, head, metadata, tensors, stated })
    }

    /// Sizes of the model: those the file states, or those its shapes have.
    pub fn model(&self) -> Result<ModelConfig> {
        match &self.stated {
            Some((config, _)) => Ok(config.clone()),
            None => {
                let dims = |(name, value): (&String, &Tensor)| (name.clone(), value.dims().to_vec());
                ModelConfig::of_weights(&self.tensors.iter().map(dims).collect())
            }
        }
    }

    /// The tensors by OpenAI's names; convolutions are `[O, I, KH, KW]`.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// Tokens of the vocabulary; 0 where it is missing.
    pub fn vocabulary_size(&self) -> usize {
        self.tensors.get("token_embedding.weight").and_then(|table| table.dim(0).ok()).unwrap_or(0)
    }

    /// Values that training would change: running statistics are left out.
    pub fn parameter_count(&self) -> usize {
        let trained = self.tensors.iter().filter(|(name, _)| !crate::checkpoint::is_running(name));
        trained.map(|(_, value)| value.elem_count()).sum()
    }

    /// An error that lists by name what is missing, too much or of another shape than in a model of the weights' own
    /// sizes.
    pub fn check(&self) -> Result<()> {
        let tensors = self.tensors.clone().into_iter().collect();
        Clip::from_tensors(&self.model()?, self.vocabulary_size(), tensors).map(|_| ())
    }

    /// An error that says both sizes where the weights are not of these.
    pub fn fits(&self, expected: &ModelConfig) -> Result<()> {
        let found = self.model()?;
        // What no shape tells only this project's files state.
        let seen = if self.stated.is_some() { expected.clone() } else { expected.as_seen() };
        if seen != found {
            bail!("the weights are of {}, but {} is wanted", found.describe(), expected.describe());
        }
        Ok(())
    }

    /// The model. `expected` are sizes that it must have, if any; what no shape tells (heads of the text tower, strides
    /// of a stem) is then taken from them.
    pub fn into_clip(self, expected: Option<&ModelConfig>) -> Result<Clip> {
        expected.map_or(Ok(()), |expected| self.fits(expected))?;
        let config = expected.map_or_else(|| self.model(), |expected| Ok(expected.clone()))?;
        let rows = self.vocabulary_size();
        let tokenizer = match self.stated {
            Some((_, tokenizer)) => tokenizer,
            None => Tokenizer::official()?,
        };
        let size = tokenizer.vocabulary_size();
        if rows != size {
            bail!("token_embedding.weight is for {rows} tokens, the vocabulary has {size}");
        }
        let parameters = Clip::from_tensors(&config, size, self.tensors.into_iter().collect())?;
        Ok(Clip { config, tokenizer, parameters })
    }
}

/// Sizes and vocabulary as this project's files state them.
fn stated(model: &str, merges: &str) -> Result<(ModelConfig, Tokenizer)> {
    match (serde_json::from_str::<ModelConfig>(model), serde_json::from_str::<Vec<u32>>(merges)) {
        (Ok(config), Ok(merges)) => {
            config.check()?;
            Ok((config, Tokenizer::kept(&merges)?))
        }
        (Err(error), _) => bail!("its model sizes cannot be read: {error}"),
        (_, Err(error)) => bail!("its vocabulary cannot be read: {error}"),
    }
}

fn read(path: &Path) -> Result<Contents> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut start = [0u8; 9];
    let length = file.by_ref().take(9).read(&mut start)?;
    file.rewind()?;
    match &start[..length] {
        [b'P', b'K', 3, 4, ..] => torch::read(file, bytes),
        [.., b'{'] if length == 9 => {
            let mut all = Vec::with_capacity(bytes as usize);
            file.read_to_end(&mut all)?;
            let (tensors, metadata) = safetensors_file::read(&all)?;
            match metadata.get(KEY) {
                Some(json) => match serde_json::from_str(json) {
                    Ok(metadata) => Ok(Contents { format: Format::Ours, tensors, metadata }),
                    Err(error) => bail!("its metadata cannot be read: {error}"),
                },
                None => Ok(Contents { format: Format::Safetensors, tensors, metadata }),
            }
        }
        [0x80, ..] => bail!(
            "is a bare pickle, as PyTorch wrote before 1.6; open it where you trust it and save it again with torch.save"
        ),
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', ..] => {
            bail!("is a pointer of Git LFS and not the file; fetch it with `git lfs pull`")
        }
        [b'<', ..] => bail!("is a web page and not weights; download the file again"),
        _ => bail!("is neither a safetensors file nor an archive of PyTorch"),
    }
}

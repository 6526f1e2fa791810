//! Models and snapshots as safetensors.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use candle_core::{Result, Tensor, bail};
use safetensors::tensor::{Dtype, TensorView};

use crate::parameters::Parameters;
use crate::weights::safetensors_file;
use crate::{Clip, ModelConfig, Tokenizer};

/// The one key of the files' metadata: a JSON object. (Several keys would be written in hash order, and the same
/// model would not give the same bytes twice.)
pub(crate) const KEY: &str = "cleanbench";

/// Writes f32 tensors and metadata to a file that appears whole or not at all.
pub(crate) fn write(
    path: &Path,
    tensors: &[(String, Tensor)],
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    write_with(path, tensors, (KEY, &serde_json::to_string(metadata).unwrap_or_default()))
}

/// The same with one key and value of metadata.
pub(crate) fn write_with(
    path: &Path,
    tensors: &[(String, Tensor)],
    (key, value): (&str, &str),
) -> Result<()> {
    let data = tensors.iter().map(|(_, tensor)| bytes(tensor)).collect::<Result<Vec<_>>>()?;
    let mut views = Vec::with_capacity(data.len());
    for ((name, tensor), data) in tensors.iter().zip(&data) {
        match TensorView::new(Dtype::F32, tensor.dims().to_vec(), data) {
            Ok(view) => views.push((name.as_str(), view)),
            Err(error) => bail!("{name}: {error}"),
        }
    }
    let metadata = HashMap::from([(key.to_owned(), value.to_owned())]);
    match safetensors::tensor::serialize(views, Some(metadata)) {
        Ok(serialised) => put(path, &serialised),
        Err(error) => bail!("{}: {error}", path.display()),
    }
}

/// A tensor's f32 numbers, little-endian.
pub(crate) fn bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let values = tensor.flatten_all()?.to_vec1::<f32>()?;
    Ok(values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

/// Writes a file that appears whole or not at all.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    let written = std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|error| {
        // Half a file on a full disk would keep it full.
        let _ = std::fs::remove_file(&temporary);
        candle_core::Error::wrap(error).context(format!("cannot write {}", path.display()))
    })
}

/// Reads what [`write`] wrote, or any safetensors file.
pub(crate) fn read(path: &Path) -> Result<safetensors_file::Read> {
    let named = |error: &dyn std::fmt::Display| {
        candle_core::Error::Msg(format!("cannot read {}: {error}", path.display()))
    };
    let bytes = std::fs::read(path).map_err(|error| named(&error))?;
    let (tensors, metadata) = safetensors_file::read(&bytes).map_err(|error| named(&error))?;
    match metadata.get(KEY).map(|json| serde_json::from_str(json)) {
        Some(Ok(metadata)) => Ok((tensors, metadata)),
        Some(Err(error)) => Err(named(&error)),
        None => Ok((tensors, BTreeMap::new())),
    }
}

/// Whether a name is a running statistic and not a parameter.
pub(crate) fn is_running(name: &str) -> bool {
    name.ends_with(".running_mean") || name.ends_with(".running_var")
}

fn misfit(problems: &[String]) -> candle_core::Error {
    candle_core::Error::Msg(format!("the weights do not fit the model: {}", problems.join("; ")))
}

/// A shape as files have it: convolutions are `[O, I, KH, KW]` there.
fn in_files(shape: &[usize]) -> Vec<usize> {
    match *shape {
        [outputs, height, width, inputs] => vec![outputs, inputs, height, width],
        _ => shape.to_vec(),
    }
}

impl Clip {
    /// Writes the model with OpenAI's names and shapes, and what [`Clip::load`] needs besides, as safetensors.
    pub fn save(&self, path: &Path, metadata: &BTreeMap<String, String>) -> Result<()> {
        let mut tensors = Vec::new();
        for parameter in self.parameters.all() {
            let value = parameter.var.as_tensor();
            let value =
                if value.rank() == 4 { value.permute((0, 3, 1, 2))?.contiguous()? } else { value.clone() };
            tensors.push((parameter.name, value));
        }
        tensors.extend(self.parameters.all_running());
        let mut metadata = metadata.clone();
        metadata.insert("model".into(), serde_json::to_string(&self.config).unwrap_or_default());
        metadata.insert("merges".into(), serde_json::to_string(self.tokenizer.merges()).unwrap_or_default());
        write(path, &tensors, &metadata)
    }

    /// Reads a model that [`Clip::save`] wrote, and its metadata.
    pub fn load(path: &Path) -> Result<(Self, BTreeMap<String, String>)> {
        let (tensors, mut metadata) = read(path)?;
        let config =
            metadata.remove("model").and_then(|json| serde_json::from_str::<ModelConfig>(&json).ok());
        let merges = metadata.remove("merges").and_then(|json| serde_json::from_str::<Vec<u32>>(&json).ok());
        let (Some(config), Some(merges)) = (config, merges) else {
            bail!(
                "{}: says neither model sizes nor vocabulary; it was not written by cleanbench",
                path.display()
            );
        };
        let tokenizer = Tokenizer::kept(&merges)?;
        let model = Self::from_tensors(&config, tokenizer.vocabulary_size(), tensors)
            .map_err(|error| error.context(format!("{}", path.display())))?;
        Ok((Self { config, tokenizer, parameters: model }, metadata))
    }

    /// A model of the same sizes and vocabulary, on the same device, with the weights of a safetensors file with
    /// OpenAI's names and shapes. What is missing, too much or of another shape is listed by name.
    pub fn with_weights(&self, path: &Path) -> Result<Self> {
        let named = |error: candle_core::Error| error.context(format!("{}", path.display()));
        let (tensors, _) = read(path)?;
        let size = self.tokenizer.vocabulary_size();
        let parameters = Self::from_tensors(&self.config, size, tensors)
            .or_else(|error| Err(self.of_integers(path)?.unwrap_or(error)))
            .map_err(named)?;
        Self { config: self.config.clone(), tokenizer: self.tokenizer.clone(), parameters }
            .to_device(self.device()?)
    }

    /// Which of the model's tensors a file has as integers, that were left out when it was read; `None` where there is none.
    fn of_integers(&self, path: &Path) -> Result<Option<candle_core::Error>> {
        let expected = Self::shapes(&self.config, self.tokenizer.vocabulary_size())?;
        let wanted =
            |name: &str| expected.parameters.contains_key(name) || expected.running.contains_key(name);
        let integers = safetensors_file::integers(&std::fs::read(path)?)?.into_iter();
        let wrong: Vec<String> = integers
            .filter(|(name, _)| wanted(name))
            .map(|(name, kind)| format!("{name} holds {kind}, expected F32"))
            .collect();
        Ok((!wrong.is_empty()).then(|| misfit(&wrong)))
    }

    /// Parameters of a model of these sizes out of tensors with OpenAI's names and shapes. What is missing, too
    /// much or of another shape is listed by name.
    pub fn from_tensors(
        config: &ModelConfig,
        vocabulary_size: usize,
        tensors: Vec<(String, Tensor)>,
    ) -> Result<Parameters> {
        config.check()?;
        let values: usize = tensors.iter().map(|(_, tensor)| tensor.elem_count()).sum();
        let fewest = config.fewest_values(vocabulary_size);
        if values < fewest {
            bail!("the weights do not fit the model: {values} values, but its sizes need at least {fewest}");
        }
        let expected = Self::shapes(config, vocabulary_size)?;
        let mut parameters = Parameters::default();
        let given: BTreeSet<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
        let mut problems = Vec::new();
        let mut other = |name: &str, found: &[usize], wanted: Option<&Vec<usize>>| {
            problems.push(match wanted {
                Some(wanted) => format!("{name} is {:?}, expected {:?}", in_files(found), in_files(wanted)),
                None => format!("{name} is not wanted"),
            });
        };
        for (name, value) in tensors {
            if is_running(&name) {
                match expected.running.get(&name) {
                    Some(wanted) if value.dims() == wanted => parameters.insert_running(&name, value)?,
                    wanted => other(&name, value.dims(), wanted),
                }
                continue;
            }
            let value = if value.rank() == 4 { value.permute((0, 2, 3, 1))?.contiguous()? } else { value };
            match expected.parameters.get(&name) {
                Some(wanted) if value.dims() == wanted => parameters.insert(&name, value)?,
                wanted => other(&name, value.dims(), wanted),
            }
        }
        let missing = |name: &&String| !given.contains(*name);
        let names = expected.parameters.keys().chain(expected.running.keys());
        problems.extend(names.filter(missing).map(|name| format!("{name} is missing")));
        if !problems.is_empty() {
            return Err(misfit(&problems));
        }
        Ok(parameters)
    }
}

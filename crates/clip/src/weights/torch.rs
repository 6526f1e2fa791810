//! The archives that PyTorch saves: state dicts, checkpoints of training runs and TorchScript. Sizes and places that a
//! file claims are checked against the file before anything is allocated.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};

use candle_core::{Device, Result, Tensor, bail};
use zip::{CompressionMethod, ZipArchive};

use super::machine::Machine;
use super::pickle::{Id, MOST_BYTES, Pickle, Value, View};
use super::{Contents, Format};

/// The deepest nesting of modules in a TorchScript archive, and the most attributes that are looked at.
const DEEPEST: usize = 32;
const MOST_ATTRIBUTES: usize = 1 << 18;

/// Reads an archive of this many bytes.
pub(super) fn read(file: File, bytes: u64) -> Result<Contents> {
    let mut archive = Archive::open(file, bytes)?;
    let pickle = Machine::run(&archive.file("data.pkl", MOST_BYTES)?)?;
    let (format, metadata, state) = state(&pickle)?;
    let mut views = Vec::new();
    match format {
        Format::TorchScript => walk(&pickle, state, &mut String::new(), 0, &mut 0, &mut views)?,
        _ => {
            let named = |(name, value): (&str, Id)| Some((name.to_owned(), tensor(&pickle, value)?));
            views.extend(pickle.entries(state).filter_map(named));
        }
    }
    if views.is_empty() {
        let keys: Vec<&str> = pickle.entries(state).map(|(name, _)| name).take(12).collect();
        bail!("holds no tensors by name; its keys are {keys:?}");
    }
    Ok(Contents { format, tensors: archive.tensors(&pickle, &views)?, metadata })
}

/// What a pickle is, what it says of itself, and the value that holds the tensors.
fn state(pickle: &Pickle) -> Result<(Format, BTreeMap<String, String>, Id)> {
    let root = pickle.root;
    let said = |key: &str| match pickle.value(pickle.get(root, key)?) {
        Value::Text(text) => Some((key.to_owned(), text.clone())),
        Value::Number(number) => Some((key.to_owned(), number.to_string())),
        _ => None,
    };
    match (pickle.value(root), pickle.get(root, "state_dict")) {
        (Value::Object(_), _) => Ok((Format::TorchScript, BTreeMap::new(), root)),
        (Value::Dict(_), Some(state)) => {
            Ok((Format::TrainingRun, ["epoch", "name"].into_iter().filter_map(said).collect(), state))
        }
        (Value::Dict(_), None) => Ok((Format::StateDict, BTreeMap::new(), root)),
        _ => bail!("holds neither a model nor a dictionary of tensors"),
    }
}

fn tensor(pickle: &Pickle, id: Id) -> Option<&View> {
    match pickle.value(id) {
        Value::Tensor(view) => Some(view),
        _ => None,
    }
}

/// Every tensor below a TorchScript object, by its path of attributes.
fn walk<'a>(
    pickle: &'a Pickle,
    id: Id,
    path: &mut String,
    depth: usize,
    seen: &mut usize,
    views: &mut Vec<(String, &'a View)>,
) -> Result<()> {
    let Value::Object(Some(attributes)) = pickle.value(id) else { return Ok(()) };
    for (name, value) in pickle.entries(*attributes) {
        *seen += 1;
        if depth == DEEPEST || *seen > MOST_ATTRIBUTES {
            bail!(
                "its modules are nested deeper than {DEEPEST} or have more than {MOST_ATTRIBUTES} attributes"
            );
        }
        let length = path.len();
        path.push_str(name);
        if let Some(view) = tensor(pickle, value) {
            views.push((path.clone(), view));
        }
        path.push('.');
        walk(pickle, value, path, depth + 1, seen, views)?;
        path.truncate(length);
    }
    Ok(())
}

struct Archive {
    zip: ZipArchive<BufReader<File>>,
    /// What the names of its files begin with.
    root: String,
    /// Its length.
    bytes: u64,
}

impl Archive {
    fn open(file: File, bytes: u64) -> Result<Self> {
        let zip = ZipArchive::new(BufReader::new(file)).map_err(|error| broken(&error))?;
        let names =
            zip.file_names().filter_map(|name| name.ok()?.strip_suffix("data.pkl").map(str::to_owned));
        let roots: Vec<String> = names.filter(|root| root.ends_with('/')).collect();
        let [root] = &roots[..] else {
            bail!("is a zip archive with {} files called data.pkl; PyTorch's hold one", roots.len())
        };
        let mut archive = Self { root: root.clone(), zip, bytes };
        if archive.has("byteorder") && archive.file("byteorder", 16)? != b"little" {
            bail!("its numbers are big-endian; save it again on a little-endian machine");
        }
        Ok(archive)
    }

    fn has(&self, name: &str) -> bool {
        self.zip.index_for_name(&format!("{}{name}", self.root)).is_some()
    }

    /// A file's bytes, at most so many.
    fn file(&mut self, name: &str, most: u64) -> Result<Vec<u8>> {
        let path = format!("{}{name}", self.root);
        let entry = self.zip.by_name(&path).map_err(|error| broken(&format!("{name:?}: {error}")))?;
        let size = entry.size();
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            bail!(
                "{name:?} is compressed or encrypted, which PyTorch's archives are not; save it again with torch.save"
            );
        }
        if size > most || size > self.bytes || size != entry.compressed_size() {
            bail!("{name:?} claims {size} bytes, expected at most {}", most.min(self.bytes));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        entry.take(size).read_to_end(&mut bytes).map_err(|error| broken(&format!("{name:?}: {error}")))?;
        if bytes.len() as u64 != size {
            bail!("{name:?} ends too early");
        }
        Ok(bytes)
    }

    /// The tensors, each storage read once; integers are left out.
    fn tensors(&mut self, pickle: &Pickle, views: &[(String, &View)]) -> Result<Vec<(String, Tensor)>> {
        let mut storages: BTreeMap<&str, Vec<&(String, &View)>> = BTreeMap::new();
        let mut total = 0u64;
        for named in views {
            let (name, view) = named;
            let Value::Text(key) = pickle.value(view.storage.key) else {
                bail!("{name}: its storage has no name")
            };
            total = total.saturating_add(view.check(name)? as u64);
            storages.entry(key).or_default().push(named);
        }
        // Tensors may share numbers, but not make more of them than there are.
        if total > self.bytes {
            bail!("claims tensors of {total} numbers in {} bytes", self.bytes);
        }
        let mut tensors = Vec::with_capacity(views.len());
        for (key, views) in storages {
            let bytes = self.file(&format!("data/{key}"), u64::MAX)?;
            for (name, view) in views {
                let storage = view.storage;
                if storage.count.checked_mul(storage.element.size()) != Some(bytes.len()) {
                    bail!(
                        "{name}: its storage {key:?} has {} bytes, but claims {} numbers",
                        bytes.len(),
                        storage.count
                    );
                }
                if let Some(values) = view.gather(&bytes) {
                    tensors.push((name.clone(), Tensor::from_vec(values, &view.shape[..], &Device::Cpu)?));
                }
            }
        }
        Ok(tensors)
    }
}

fn broken(error: &dyn std::fmt::Display) -> candle_core::Error {
    candle_core::Error::Msg(format!("is a damaged archive: {error}"))
}

impl View {
    /// How many numbers it has, all of which lie in its storage.
    fn check(&self, name: &str) -> Result<usize> {
        let count = self.shape.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        let spans = self.shape.iter().zip(&self.strides);
        let last = spans.filter(|(size, _)| **size > 0).try_fold(self.offset, |last, (size, stride)| {
            (size - 1).checked_mul(*stride).and_then(|span| last.checked_add(span))
        });
        match (count, last) {
            (Some(0), _) => bail!("{name}: a tensor of shape {:?} is no weight", self.shape),
            (Some(count), Some(last)) if last < self.storage.count && count <= self.storage.count => {
                Ok(count)
            }
            _ => bail!(
                "{name}: shape {:?}, strides {:?} and offset {} do not lie within its {} numbers",
                self.shape,
                self.strides,
                self.offset,
                self.storage.count
            ),
        }
    }

    /// Its numbers in the order of its shape out of its storage's bytes; `None` where they are no weights.
    fn gather(&self, bytes: &[u8]) -> Option<Vec<f32>> {
        let (element, size) = (self.storage.element, self.storage.element.size());
        let mut dense = 1;
        let contiguous = self.shape.iter().zip(&self.strides).rev().all(|(size, stride)| {
            let follows = *size == 1 || *stride == dense;
            dense *= size;
            follows
        });
        if contiguous {
            let count: usize = self.shape.iter().product();
            return element.floats(bytes.get(self.offset * size..(self.offset + count) * size)?);
        }
        let all = element.floats(bytes)?;
        let (mut values, mut index) = (Vec::new(), vec![0; self.shape.len()]);
        loop {
            let place: usize = index.iter().zip(&self.strides).map(|(index, stride)| index * stride).sum();
            values.push(*all.get(self.offset + place)?);
            // The next index, the last dimension first.
            let Some(axis) = (0..index.len()).rev().find(|axis| index[*axis] + 1 < self.shape[*axis]) else {
                return Some(values);
            };
            index[axis] += 1;
            index[axis + 1..].fill(0);
        }
    }
}

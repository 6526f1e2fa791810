//! Weights for other projects: files with their names.

use std::io::{Cursor, Write};
use std::path::Path;
use std::str::FromStr;

use candle_core::{Result, Tensor, bail};
use zip::write::{SimpleFileOptions, ZipWriter};

use super::names::{Named, to_hf};
use super::{Format, Weights};
use crate::checkpoint;

/// What a file of weights is written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// safetensors with OpenAI's names, which open_clip has too.
    OpenAi,
    /// safetensors with the names of Hugging Face's CLIPModel; no ModifiedResNets.
    Hf,
    /// `{epoch, name, state_dict}` as CleanCLIP's training script writes it, a PyTorch archive.
    CleanClip,
    /// This project's safetensors.
    Ours,
}

impl FromStr for Layout {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        match name {
            "openai" => Ok(Self::OpenAi),
            "hf" => Ok(Self::Hf),
            "cleanclip" => Ok(Self::CleanClip),
            "ours" => Ok(Self::Ours),
            _ => Err(format!("{name:?} is none of openai, hf, cleanclip, ours")),
        }
    }
}

impl Layout {
    /// Endings of its files' names; the first is the usual one.
    pub fn endings(self) -> &'static [&'static str] {
        match self {
            Self::OpenAi | Self::Hf | Self::Ours => &["safetensors"],
            Self::CleanClip => &["pt", "pth"],
        }
    }
}

/// The archive aligns its files to this, as PyTorch does.
const ALIGNMENT: u16 = 64;

impl Weights {
    /// Writes the weights in f32 to a file that appears whole or not at all. An error where something is missing or too
    /// much, or where readers of that layout would take the weights for another model.
    pub fn write(self, path: &Path, layout: Layout) -> Result<()> {
        self.check()?;
        if layout == Layout::Ours {
            let metadata = self.metadata.clone();
            return self.into_clip(None)?.save(path, &metadata);
        }
        self.can_be_foreign()?;
        match layout {
            Layout::CleanClip => {
                let name = self.metadata.get("name").map_or("cleanbench", String::as_str);
                let epoch = self.metadata.get("epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0);
                checkpoint::put(path, &archive(&self.tensors, name, epoch)?)
            }
            Layout::Hf => write_safetensors(path, &to_hf(&self.tensors)?),
            Layout::OpenAi | Layout::Ours => write_safetensors(path, &self.tensors),
        }
    }

    /// What only this project's files state must be as readers of others assume it.
    fn can_be_foreign(&self) -> Result<()> {
        let (config, Format::Ours) = (self.model()?, self.format) else { return Ok(()) };
        let seen = config.as_seen();
        if config != seen {
            bail!(
                "other projects' files do not state heads of the text tower and strides of the stem; they would be read as {} where they are {}; --layout ours keeps them, and models of OpenAI's sizes (`model: rn50`) can be written",
                seen.describe(),
                config.describe()
            );
        }
        let official = crate::Tokenizer::official()?.vocabulary_size();
        if self.vocabulary_size() != official {
            bail!(
                "its vocabulary is cut to {} tokens of CLIP's {official}, which only cleanbench's files can say; --layout ours keeps it, and a model trained from a plan's `initial-weights` has CLIP's whole vocabulary",
                self.vocabulary_size()
            );
        }
        Ok(())
    }
}

fn write_safetensors(path: &Path, tensors: &Named) -> Result<()> {
    let tensors: Vec<(String, Tensor)> = tensors.clone().into_iter().collect();
    // Hugging Face's loader refuses files that do not say so.
    checkpoint::write_with(path, &tensors, ("format", "pt"))
}

/// The archive's bytes: a pickle and one file a tensor.
fn archive(tensors: &Named, name: &str, epoch: i32) -> Result<Vec<u8>> {
    let broken =
        |error: zip::result::ZipError| candle_core::Error::Msg(format!("cannot write an archive: {error}"));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(zip::CompressionMethod::Stored)
        .with_alignment(ALIGNMENT);
    let mut put = |name: &str, bytes: &[u8]| -> Result<()> {
        zip.start_file(format!("archive/{name}"), options).map_err(broken)?;
        Ok(zip.write_all(bytes)?)
    };
    put("data.pkl", &pickle(tensors, name, epoch)?)?;
    put("byteorder", b"little")?;
    for (index, value) in tensors.values().enumerate() {
        put(&format!("data/{index}"), &checkpoint::bytes(value)?)?;
    }
    put("version", b"3\n")?;
    Ok(zip.finish().map_err(broken)?.into_inner())
}

/// A pickle of protocol 2 under way.
struct Pickler(Vec<u8>);

impl Pickler {
    fn text(&mut self, text: &str) {
        self.0.push(b'X');
        self.0.extend((text.len() as u32).to_le_bytes());
        self.0.extend(text.as_bytes());
    }

    fn number(&mut self, number: usize) -> Result<()> {
        let Ok(number) = i32::try_from(number) else { bail!("a tensor of {number} numbers is too large") };
        self.0.push(b'J');
        self.0.extend(number.to_le_bytes());
        Ok(())
    }

    fn numbers(&mut self, numbers: &[usize]) -> Result<()> {
        self.0.push(b'(');
        numbers.iter().try_for_each(|number| self.number(*number))?;
        self.0.push(b't');
        Ok(())
    }

    fn name(&mut self, module: &str, class: &str) {
        self.0.push(b'c');
        self.0.extend(format!("{module}\n{class}\n").as_bytes());
    }

    /// An empty `OrderedDict`.
    fn ordered_dict(&mut self) {
        self.name("collections", "OrderedDict");
        self.0.extend(b")R");
    }

    /// A tensor whose numbers are the file `data/KEY`.
    fn tensor(&mut self, value: &Tensor, key: &str) -> Result<()> {
        self.name("torch._utils", "_rebuild_tensor_v2");
        self.0.extend(b"((");
        self.text("storage");
        self.name("torch", "FloatStorage");
        self.text(key);
        self.text("cpu");
        self.number(value.elem_count())?;
        self.0.extend(b"tQ");
        self.number(0)?;
        self.numbers(value.dims())?;
        self.numbers(value.contiguous()?.stride())?;
        self.0.push(0x89); // requires no gradient
        self.ordered_dict(); // hooks
        self.0.extend(b"tR");
        Ok(())
    }
}

/// `{epoch, name, state_dict}`; names begin with `module.`, as DistributedDataParallel has them.
fn pickle(tensors: &Named, name: &str, epoch: i32) -> Result<Vec<u8>> {
    let mut pickler = Pickler(vec![0x80, 2]);
    pickler.0.extend(b"}(");
    pickler.text("epoch");
    pickler.number(epoch.max(0) as usize)?;
    pickler.text("name");
    pickler.text(name);
    pickler.text("state_dict");
    pickler.ordered_dict();
    pickler.0.push(b'(');
    for (index, (name, value)) in tensors.iter().enumerate() {
        pickler.text(&format!("module.{name}"));
        pickler.tensor(value, &index.to_string())?;
    }
    pickler.0.extend(b"uu.");
    Ok(pickler.0)
}

//! Any safetensors file: every floating-point tensor as f32, and the file's own metadata.

use std::collections::BTreeMap;

use candle_core::{Device, Result, Tensor, bail};
use safetensors::tensor::{Dtype, SafeTensors};

use super::element::Element;

/// Bytes of the longest header that safetensors reads.
const LONGEST_HEADER: usize = 100_000_000;

/// Tensors by name, in order, and metadata.
pub(crate) type Read = (Vec<(String, Tensor)>, BTreeMap<String, String>);

/// An error where the bytes end before the header says so: a download that was cut off. What is no header is left to
/// the reader.
fn cut_off(bytes: &[u8]) -> Result<()> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else { return Ok(()) };
    let header = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let tensors: BTreeMap<String, serde_json::Value> = match rest.get(..header) {
        Some(text) => serde_json::from_slice(text).unwrap_or_default(),
        None if header <= LONGEST_HEADER => {
            bail!(
                "is cut off: {} bytes, of which the header alone has {header}; download it again",
                bytes.len()
            )
        }
        None => return Ok(()),
    };
    let end = |tensor: &serde_json::Value| tensor["data_offsets"][1].as_u64();
    let expected = tensors.values().filter_map(end).max().unwrap_or(0).saturating_add(8 + header as u64);
    if (bytes.len() as u64) < expected {
        bail!("is cut off: {} bytes of the {expected} that its header says; download it again", bytes.len());
    }
    Ok(())
}

/// What [`read`] leaves out: the names of tensors of integers, with the type.
pub(crate) fn integers(bytes: &[u8]) -> Result<Vec<(String, String)>> {
    let file = SafeTensors::deserialize(bytes).map_err(candle_core::Error::wrap)?;
    let kinds = file.iter().map(|(name, view)| (name.to_owned(), view.dtype()));
    let floats = [Dtype::F16, Dtype::BF16, Dtype::F32, Dtype::F64];
    let others = kinds.filter(|(_, kind)| !floats.contains(kind));
    Ok(others.map(|(name, kind)| (name, format!("{kind:?}"))).collect())
}

/// Reads a file's bytes. Integers, such as PyTorch's batch counters, are left out.
pub(crate) fn read(bytes: &[u8]) -> Result<Read> {
    cut_off(bytes)?;
    let broken = |error: safetensors::SafeTensorError| candle_core::Error::Msg(error.to_string());
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(broken)?;
    let metadata =
        header.metadata().iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect();
    let file = SafeTensors::deserialize(bytes).map_err(broken)?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        let element = match view.dtype() {
            Dtype::F16 => Element::F16,
            Dtype::BF16 => Element::Bf16,
            Dtype::F32 => Element::F32,
            Dtype::F64 => Element::F64,
            Dtype::I64
            | Dtype::U64
            | Dtype::I32
            | Dtype::U32
            | Dtype::I16
            | Dtype::U16
            | Dtype::I8
            | Dtype::U8
            | Dtype::BOOL => continue,
            other => {
                bail!("{name}: numbers of type {other:?} are not read; save it as F16, BF16, F32 or F64")
            }
        };
        if let Some(values) = element.floats(view.data()) {
            tensors.push((name.to_owned(), Tensor::from_vec(values, view.shape(), &Device::Cpu)?));
        }
    }
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    Ok((tensors, metadata))
}

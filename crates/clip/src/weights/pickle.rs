//! Pickles as data, read by a machine for the instructions of protocol 2 that knows values, containers and the few names that
//! weights are saved with. It calls nothing. Values lie in one list and refer to each other by their place in it, so
//! that neither sharing nor nesting costs more than the pickle's own bytes.

use candle_core::{Result, bail};

use super::element::Element;

/// The largest pickle that is read, and the most values in it: those of published checkpoints are below 1 MB.
pub(super) const MOST_BYTES: u64 = 16 << 20;
pub(super) const MOST_VALUES: usize = 1 << 21;

/// A value's place in the list of values.
pub(super) type Id = usize;

#[derive(Debug)]
pub(super) enum Value {
    None,
    Bool,
    Number(i64),
    Float,
    Text(String),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Name(Name),
    /// Bytes outside the pickle.
    Storage(Storage),
    Tensor(Box<View>),
    /// An object of a TorchScript class, with its attributes once they were given.
    Object(Option<Id>),
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Name {
    Tensor,
    Parameter,
    OrderedDict,
    /// `torch.jit._pickle`: what it is given comes back.
    Same,
    Storage(Element),
    /// A number type, as an attribute.
    Element,
    /// A class of a TorchScript archive.
    Class,
}

/// Numbers in a file of the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage {
    pub(super) element: Element,
    /// A text: the file's name.
    pub(super) key: Id,
    /// Numbers, as the pickle claims.
    pub(super) count: usize,
}

/// A tensor: how it lies in a storage.
#[derive(Debug)]
pub(super) struct View {
    pub(super) storage: Storage,
    /// Numbers before its first.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The name, if it is one that weights are saved with.
pub(super) fn name(module: &str, class: &str) -> Result<Name> {
    Ok(match (module, class) {
        ("torch._utils", "_rebuild_tensor_v2") => Name::Tensor,
        ("torch._utils", "_rebuild_parameter") => Name::Parameter,
        ("collections", "OrderedDict") => Name::OrderedDict,
        (
            "torch.jit._pickle",
            "build_intlist" | "build_doublelist" | "build_boollist" | "build_tensorlist",
        )
        | ("torch.jit._pickle", "restore_type_tag") => Name::Same,
        ("torch", "HalfStorage") => Name::Storage(Element::F16),
        ("torch", "BFloat16Storage") => Name::Storage(Element::Bf16),
        ("torch", "FloatStorage") => Name::Storage(Element::F32),
        ("torch", "DoubleStorage") => Name::Storage(Element::F64),
        ("torch", "LongStorage") => Name::Storage(Element::Whole(8)),
        ("torch", "IntStorage") => Name::Storage(Element::Whole(4)),
        ("torch", "ShortStorage") => Name::Storage(Element::Whole(2)),
        ("torch", "CharStorage" | "ByteStorage" | "BoolStorage") => Name::Storage(Element::Whole(1)),
        ("torch", "float16" | "bfloat16" | "float32" | "float64" | "int64" | "int32" | "bool" | "uint8") => {
            Name::Element
        }
        _ if module == "__torch__" || module.starts_with("__torch__.") => Name::Class,
        _ => bail!(
            "the pickle names {module}.{class}, which is none of the data that weights are saved as; it is refused, and nothing of it was run"
        ),
    })
}

#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) values: Vec<Value>,
    /// Which of them the pickle is.
    pub(super) root: Id,
}

impl Pickle {
    pub(super) fn value(&self, id: Id) -> &Value {
        &self.values[id]
    }

    /// The entries of a dictionary whose keys are text; nothing where it is something else. Of equal keys the last
    /// one counts, as in Python.
    pub(super) fn entries(&self, id: Id) -> impl Iterator<Item = (&str, Id)> {
        let entries: &[(Id, Id)] = if let Value::Dict(entries) = &self.values[id] { entries } else { &[] };
        entries.iter().filter_map(|(key, value)| match &self.values[*key] {
            Value::Text(key) => Some((key.as_str(), *value)),
            _ => None,
        })
    }

    pub(super) fn get(&self, id: Id, key: &str) -> Option<Id> {
        self.entries(id).filter(|(name, _)| *name == key).last().map(|(_, value)| value)
    }
}

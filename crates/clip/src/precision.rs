//! How numbers are rounded while a model computes on a GPU.

use std::fmt;
use std::str::FromStr;

use candle_core::DType;
use serde::{Deserialize, Serialize};

/// The type of activations and of the factors of products. Parameters, moments, statistics, losses and all sums are f32
/// whatever it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Precision {
    /// f32 throughout: the only one on the CPU.
    #[default]
    Float32,
    /// f32, whose products and convolutions round their factors to TF32's 10 bits.
    TensorFloat32,
    /// Activations are bf16; products read parameters rounded to bf16.
    Bfloat16,
}

/// Every precision.
const ALL: [Precision; 3] = [Precision::Float32, Precision::TensorFloat32, Precision::Bfloat16];

impl Precision {
    /// The type of activations.
    pub fn activations(self) -> DType {
        match self {
            Self::Float32 | Self::TensorFloat32 => DType::F32,
            Self::Bfloat16 => DType::BF16,
        }
    }

    /// `device`, and the precision behind it where that is not f32.
    pub fn beside(self, device: impl fmt::Display) -> String {
        match self {
            Self::Float32 => device.to_string(),
            precision => format!("{device}-{precision}"),
        }
    }

    /// `f32`, `tf32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "f32",
            Self::TensorFloat32 => "tf32",
            Self::Bfloat16 => "bf16",
        }
    }
}

impl FromStr for Precision {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = ALL.into_iter().find(|precision| precision.name() == name);
        found.ok_or_else(|| format!("expected f32, tf32 or bf16, found {name:?}"))
    }
}

impl TryFrom<String> for Precision {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse()
    }
}

impl From<Precision> for String {
    fn from(precision: Precision) -> Self {
        precision.name().to_owned()
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        let names = ["f32", "tf32", "bf16"];
        for (name, precision) in names.into_iter().zip(ALL) {
            assert_eq!((name.parse(), precision.name()), (Ok(precision), name));
        }
        assert!("fp16".parse::<Precision>().is_err());
    }
}

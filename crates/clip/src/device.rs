//! Where a model computes.

use std::fmt;
use std::str::FromStr;

use candle_core::{Device, Result, bail};
use serde::{Deserialize, Serialize};

use crate::Precision;

/// A device by name: `cpu`, `cuda` (the first GPU) or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The processor.
    #[default]
    Cpu,
    /// The NVIDIA GPU of this number.
    Cuda(usize),
}

impl DeviceChoice {
    /// What results depend on: `cpu` or `cuda`, whichever GPU it is, and the precision where that is not f32.
    pub fn class(self, precision: Precision) -> String {
        precision.beside(match self {
            Self::Cpu => "cpu",
            Self::Cuda(_) => "cuda",
        })
    }

    /// An error where this program was built without what the device needs, or the device does not compute so.
    pub fn check(self, precision: Precision) -> Result<()> {
        if self == Self::Cpu && precision != Precision::Float32 {
            bail!("precision {precision}: the CPU computes in f32 alone; it is for --device cuda");
        }
        if self != Self::Cpu && !cfg!(feature = "cuda") {
            bail!("device {self}: this program was built without CUDA; docs/gpu.md says how to build it");
        }
        Ok(())
    }

    /// The device, for models of this precision; an error where it is not there or does not compute so.
    pub fn open(self, precision: Precision) -> Result<Device> {
        self.check(precision)?;
        #[cfg(feature = "cuda")]
        kernels::allow_tensor_float_32(precision == Precision::TensorFloat32);
        match self {
            Self::Cpu => Ok(Device::Cpu),
            #[cfg(feature = "cuda")]
            Self::Cuda(number) => {
                kernels::device(number).map_err(|error| error.context(format!("device {self}")))
            }
            #[cfg(not(feature = "cuda"))]
            Self::Cuda(_) => bail!("device {self}: built without CUDA"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = String;

    fn from_str(name: &str) -> std::result::Result<Self, String> {
        let number = match name {
            "cpu" => return Ok(Self::Cpu),
            "cuda" => Some(0),
            _ => name.strip_prefix("cuda:").and_then(|number| number.parse().ok()),
        };
        number.map(Self::Cuda).ok_or_else(|| format!("expected cpu, cuda or cuda:N, found {name:?}"))
    }
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(name: String) -> std::result::Result<Self, String> {
        name.parse()
    }
}

impl From<DeviceChoice> for String {
    fn from(choice: DeviceChoice) -> Self {
        choice.to_string()
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => formatter.write_str("cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_another_precision_are_another_class() {
        let gpu = DeviceChoice::Cuda(1);
        assert_eq!(gpu.class(Precision::Float32), "cuda");
        assert_eq!(gpu.class(Precision::Bfloat16), "cuda-bf16");
        assert_eq!(DeviceChoice::Cpu.class(Precision::Float32), "cpu");
        assert!(DeviceChoice::Cpu.check(Precision::Float32).is_ok());
        assert!(DeviceChoice::Cpu.check(Precision::TensorFloat32).is_err());
    }

    #[test]
    fn names_read_back() {
        for (name, choice) in
            [("cpu", DeviceChoice::Cpu), ("cuda", DeviceChoice::Cuda(0)), ("cuda:3", DeviceChoice::Cuda(3))]
        {
            assert_eq!(name.parse(), Ok(choice));
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
        assert!("gpu".parse::<DeviceChoice>().is_err() && "cuda:".parse::<DeviceChoice>().is_err());
    }
}

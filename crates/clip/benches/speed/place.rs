//! Where models compute, and in which precision.

use clip::candle_core::{Device, Error, Result, Tensor};
use clip::{Clip, DeviceChoice, Precision};

/// A device and a precision. Single operations are timed on the CPU alone.
pub(crate) struct Place {
    device: Device,
    precision: Precision,
}

impl Place {
    /// `cpu` or `cuda`, then `f32`, `tf32` or `bf16`; the CPU and f32 where nothing is given.
    pub(crate) fn of(arguments: &[String]) -> Result<Self> {
        let device: DeviceChoice = argument(arguments, 0)?;
        let precision: Precision = argument(arguments, 1)?;
        Ok(Self { device: device.open(precision)?, precision })
    }

    /// The model here.
    pub(crate) fn model(&self, model: Clip) -> Result<Clip> {
        if self.device.is_cpu() {
            Ok(model)
        } else {
            model.to_device(&self.device)?.with_precision(self.precision)
        }
    }

    /// Values here.
    pub(crate) fn values(&self, values: &Tensor) -> Result<Tensor> {
        values.to_device(&self.device)
    }

    /// Values here, in the type of activations.
    pub(crate) fn activations(&self, values: &Tensor) -> Result<Tensor> {
        self.values(values)?.to_dtype(self.precision.activations())
    }
}

fn argument<T: Default + std::str::FromStr<Err = String>>(arguments: &[String], index: usize) -> Result<T> {
    arguments.get(index).map_or(Ok(T::default()), |argument| argument.parse().map_err(Error::Msg))
}

//! Parameters as factors of a product: kept in f32, read in the type of the activations.

use candle_core::Result;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView};

use super::elementwise::rounded;
use super::{Element, Input};

/// A parameter in the type `T` of the activations that it meets.
pub(super) enum Weights<'a, T: Element> {
    /// It has that type.
    Kept(CudaView<'a, T>),
    /// It was rounded to it.
    Rounded(CudaSlice<T>),
}

impl<'a, T: Element> Weights<'a, T> {
    /// An error where the parameter is not f32.
    pub(super) fn of(parameter: &'a Input<'_>) -> Result<Self> {
        if T::TYPE == f32::TYPE {
            return Ok(Self::Kept(parameter.view()?));
        }
        Ok(Self::Rounded(rounded(parameter.device()?, &parameter.view()?)?))
    }

    pub(super) fn view(&self) -> CudaView<'_, T> {
        match self {
            Self::Kept(view) => view.slice(..),
            Self::Rounded(values) => values.as_view(),
        }
    }
}

//! Arguments of an operation.

use candle_core::cuda_backend::cudarc::driver::CudaView;
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage};
use candle_core::{DType, Layout, Result, Shape, Storage, StorageRef, Tensor, backend::BackendStorage, bail};

use crate::parallel::each;

/// Contiguous values on a CUDA device and their shape, as long as the tensor is held.
pub(crate) struct Input<'a> {
    operation: &'a str,
    source: Source<'a>,
    start: usize,
    end: usize,
    shape: &'a Shape,
}

enum Source<'a> {
    /// Of a forward pass.
    Storage(&'a CudaStorage),
    /// Of a tensor.
    Tensor(StorageRef<'a>),
}

impl<'a> Input<'a> {
    /// An argument of a forward pass; an error where it is not contiguous.
    pub(crate) fn new(operation: &'a str, storage: &'a CudaStorage, layout: &'a Layout) -> Result<Self> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("{operation}: expected contiguous values, found {:?}", layout.shape());
        };
        Ok(Self { operation, source: Source::Storage(storage), start, end, shape: layout.shape() })
    }

    /// A tensor; an error where it is not contiguous or not on a CUDA device.
    pub(crate) fn of(operation: &'a str, tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cuda(_), Some((start, end))) => {
                Ok(Self { operation, source: Source::Tensor(storage), start, end, shape: tensor.shape() })
            }
            _ => bail!("{operation}: expected contiguous values on a CUDA device, found {tensor:?}"),
        }
    }

    /// Each of some tensors.
    pub(crate) fn each<const N: usize>(operation: &'a str, tensors: [&'a Tensor; N]) -> Result<[Self; N]> {
        each(tensors, |tensor| Self::of(operation, tensor))
    }

    fn storage(&self) -> Result<&CudaStorage> {
        match &self.source {
            Source::Storage(storage) => Ok(storage),
            Source::Tensor(storage) => match &**storage {
                Storage::Cuda(storage) => Ok(storage),
                _ => bail!("a tensor left its CUDA device"),
            },
        }
    }

    /// The operation, for errors.
    pub(crate) fn operation(&self) -> &'a str {
        self.operation
    }

    /// Where the values are.
    pub(crate) fn device(&self) -> Result<&CudaDevice> {
        Ok(self.storage()?.device())
    }

    /// Their type.
    pub(crate) fn dtype(&self) -> DType {
        match &self.source {
            Source::Storage(storage) => storage.dtype(),
            Source::Tensor(storage) => storage.dtype(),
        }
    }

    /// Their shape.
    pub(crate) fn shape(&self) -> &'a Shape {
        self.shape
    }

    /// Their shape, size by size.
    pub(crate) fn dims(&self) -> &'a [usize] {
        self.shape.dims()
    }

    /// The last size, 1 for a scalar.
    pub(crate) fn width(&self) -> usize {
        self.dims().last().copied().unwrap_or(1)
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.end - self.start
    }

    /// The values themselves; an error where they have another type.
    pub(crate) fn view<T: CudaDType>(&self) -> Result<CudaView<'_, T>> {
        let Ok(values) = self.storage()?.as_cuda_slice::<T>() else {
            bail!(
                "{}: an argument {:?} is {:?}, which is not expected",
                self.operation,
                self.dims(),
                self.dtype()
            );
        };
        match values.try_slice(self.start..self.end) {
            Some(view) => Ok(view),
            None => bail!("a tensor of {:?} is larger than its memory", self.shape),
        }
    }
}

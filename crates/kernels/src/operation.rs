//! What an operation of this crate is: values forward and gradients backward, on the CPU and on CUDA.
//!
//! candle has one trait for each number of arguments, written in storages and layouts. [`Operation`] is one for all,
//! written in arrays of arguments; [`Adapter`] makes candle's of it.

use std::sync::Arc;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, CustomOp3, Layout, Result, Shape, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda::{Input, Made};
use crate::parallel::each;
use crate::tape::{self, Applied};

/// A differentiable operation of `N` arguments.
pub(crate) trait Operation<const N: usize>: Send + Sync + 'static {
    /// Its name in errors.
    fn name(&self) -> &'static str;

    /// The values and the shape of the result.
    fn forward(&self, arguments: [Argument<'_>; N]) -> Result<(Vec<f32>, Shape)>;

    /// The gradient of each argument that has one, for a contiguous `gradient` of the result.
    fn backward(
        &self,
        arguments: [&Tensor; N],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; N]>;

    /// As [`Self::forward`], on CUDA.
    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, _arguments: [Input<'_>; N]) -> Result<Made> {
        bail!("{}: there is no CUDA side", self.name())
    }

    /// As [`Self::backward`], on CUDA; the same where that reads no values.
    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        arguments: [&Tensor; N],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; N]> {
        self.backward(arguments, result, gradient)
    }
}

/// An argument of a forward pass on the CPU.
pub(crate) struct Argument<'a> {
    operation: &'static str,
    storage: &'a CpuStorage,
    layout: &'a Layout,
}

impl<'a> Argument<'a> {
    /// Its values; an error where it is not contiguous f32.
    pub(crate) fn values(&self) -> Result<&'a [f32]> {
        values(self.operation, self.storage, self.layout)
    }

    /// Its indices; an error where it is not contiguous u32.
    pub(crate) fn indices(&self) -> Result<&'a [u32]> {
        indices(self.operation, self.storage, self.layout)
    }

    /// Its shape.
    pub(crate) fn shape(&self) -> &'a Shape {
        self.layout.shape()
    }

    /// Its shape, size by size.
    pub(crate) fn dims(&self) -> &'a [usize] {
        self.layout.dims()
    }
}

/// The values of a contiguous f32 tensor.
pub(crate) fn values<'a>(operation: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("{operation}: expected contiguous f32 values, found {:?}", layout.shape()),
    }
}

/// The values of a contiguous u32 tensor.
pub(crate) fn indices<'a>(operation: &str, storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [u32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::U32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("{operation}: expected contiguous u32 indices, found {:?}", layout.shape()),
    }
}

/// The sizes of a tensor of rank `N`. Another rank becomes sizes of 0, which fit nothing, so that one error of an
/// operation says what it expected.
pub(crate) fn sizes<const N: usize>(tensor: &Tensor) -> [usize; N] {
    tensor.dims().try_into().unwrap_or([0; N])
}

/// Values as the gradient of a tensor of the same shape.
pub(crate) fn gradient_of(tensor: &Tensor, values: Vec<f32>) -> Result<Option<Tensor>> {
    Tensor::from_vec(values, tensor.dims(), tensor.device()).map(Some)
}

/// The result of `operation`, remembered by an enclosing [`crate::fused()`].
pub(crate) fn apply<O: Operation<N>, const N: usize>(operation: O, arguments: [&Tensor; N]) -> Result<Tensor>
where
    Adapter<O, N>: Apply<N>,
{
    let (adapter, arguments) = (Adapter::new(operation), each(arguments, Tensor::contiguous)?);
    let result = adapter.clone().apply(arguments.each_ref())?;
    tape::record(Box::new(adapter), arguments.into(), &result);
    Ok(result)
}

/// An operation as one of candle's.
pub(crate) struct Adapter<O, const N: usize>(Arc<O>);

impl<O, const N: usize> Adapter<O, N> {
    pub(crate) fn new(operation: O) -> Self {
        Self(Arc::new(operation))
    }
}

impl<O, const N: usize> Clone for Adapter<O, N> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<O: Operation<N>, const N: usize> Adapter<O, N> {
    fn forward(&self, arguments: [(&CpuStorage, &Layout); N]) -> Result<(CpuStorage, Shape)> {
        let operation = self.0.name();
        let arguments = arguments.map(|(storage, layout)| Argument { operation, storage, layout });
        let (values, shape) = self.0.forward(arguments)?;
        Ok((CpuStorage::F32(values), shape))
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, arguments: [(&CudaStorage, &Layout); N]) -> Result<Made> {
        let input = |(storage, layout)| Input::new(self.0.name(), storage, layout);
        self.0.forward_cuda(each(arguments, input)?)
    }

    fn backward(
        &self,
        arguments: [&Tensor; N],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<[Option<Tensor>; N]> {
        let gradient = gradient.contiguous()?;
        #[cfg(feature = "cuda")]
        if gradient.device().is_cuda() {
            return self.0.backward_cuda(arguments, result, &gradient);
        }
        self.0.backward(arguments, result, &gradient)
    }
}

impl<O: Operation<N>, const N: usize> Applied for Adapter<O, N> {
    fn backward(
        &self,
        arguments: &[Tensor],
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let arguments = std::array::from_fn(|index| &arguments[index]);
        Ok(self.backward(arguments, result, gradient)?.into())
    }
}

/// candle's way to apply an operation of `N` arguments.
pub(crate) trait Apply<const N: usize> {
    /// Applies it to arguments as they are.
    fn apply(self, arguments: [&Tensor; N]) -> Result<Tensor>;
}

macro_rules! adapt {
    ($custom:ident, $apply:ident, $count:literal: $first:ident $layout:ident $(, $other:ident $other_layout:ident)* => $result:expr, $gradients:ty) => {
        impl<O: Operation<$count>> $custom for Adapter<O, $count> {
            fn name(&self) -> &'static str {
                self.0.name()
            }

            fn cpu_fwd(
                &self,
                $first: &CpuStorage,
                $layout: &Layout,
                $($other: &CpuStorage, $other_layout: &Layout,)*
            ) -> Result<(CpuStorage, Shape)> {
                self.forward([($first, $layout), $(($other, $other_layout)),*])
            }

            #[cfg(feature = "cuda")]
            fn cuda_fwd(
                &self,
                $first: &CudaStorage,
                $layout: &Layout,
                $($other: &CudaStorage, $other_layout: &Layout,)*
            ) -> Result<(CudaStorage, Shape)> {
                self.forward_cuda([($first, $layout), $(($other, $other_layout)),*])
            }

            fn bwd(
                &self,
                $first: &Tensor,
                $($other: &Tensor,)*
                result: &Tensor,
                gradient: &Tensor,
            ) -> Result<$gradients> {
                let [$first, $($other),*] = self.backward([$first, $($other),*], result, gradient)?;
                Ok($result)
            }
        }

        impl<O: Operation<$count>> Apply<$count> for Adapter<O, $count> {
            fn apply(self, [$first, $($other),*]: [&Tensor; $count]) -> Result<Tensor> {
                $first.$apply($($other,)* self)
            }
        }
    };
}

adapt!(CustomOp1, apply_op1, 1: a la => a, Option<Tensor>);
adapt!(CustomOp2, apply_op2, 2: a la, b lb => (a, b), (Option<Tensor>, Option<Tensor>));
adapt!(CustomOp3, apply_op3, 3: a la, b lb, c lc => (a, b, c), (Option<Tensor>, Option<Tensor>, Option<Tensor>));

//! Element-wise operations with their gradients in one pass each.

use candle_core::{DType, Result, Shape, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::operation::{Argument, Operation, apply, gradient_of};
use crate::parallel::Values;
use crate::sums::{column_sums, zip_map};

/// `a + b`; both of the same shape. An error names the shapes where they are not, or hold nothing.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() || a.elem_count() == 0 {
        bail!("add: expected equal shapes, not empty, found {:?} and {:?}", a.dims(), b.dims());
    }
    apply(Add, [a, b])
}

struct Add;

impl Operation<2> for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn forward(&self, [a, b]: [Argument<'_>; 2]) -> Result<(Vec<f32>, Shape)> {
        Ok((zip_map(a.values()?, b.values()?, |a, b| a + b), a.shape().clone()))
    }

    fn backward(&self, _: [&Tensor; 2], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        Ok([Some(grad.clone()), Some(grad.clone())])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [a, b]: [Input<'_>; 2]) -> Result<Made> {
        cuda::add(&a, &b)
    }
}

/// The values of `x` in another type; the gradient comes back in that of `x`. f32 and bf16 on CUDA, f32 alone on the CPU.
pub fn cast(x: &Tensor, dtype: DType) -> Result<Tensor> {
    if x.dtype() == dtype {
        return Ok(x.clone());
    }
    if x.elem_count() == 0 {
        bail!("cast: expected at least one value, found {:?}", x.dims());
    }
    apply(Cast { dtype }, [x])
}

struct Cast {
    dtype: DType,
}

impl Operation<1> for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }

    fn forward(&self, _: [Argument<'_>; 1]) -> Result<(Vec<f32>, Shape)> {
        bail!("cast: the CPU computes in f32 alone, not in {:?}", self.dtype)
    }

    fn backward(&self, _: [&Tensor; 1], _y: &Tensor, _grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        bail!("cast: the CPU computes in f32 alone, not in {:?}", self.dtype)
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [x]: [Input<'_>; 1]) -> Result<Made> {
        cuda::cast(&x, self.dtype)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(&self, [x]: [&Tensor; 1], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 1]> {
        Ok([cuda::some(cuda::cast(&Input::of("cast", grad)?, x.dtype())?)])
    }
}

/// `x` `[B, L, D]` plus the first L rows of `table` `[T, D]`, T ≥ L: learned positions.
pub fn add_table(x: &Tensor, table: &Tensor) -> Result<Tensor> {
    let fits = match (x.dims(), table.dims()) {
        ([_, length, width], [rows, columns]) => width == columns && rows >= length,
        _ => false,
    };
    if !fits || x.elem_count() == 0 {
        bail!(
            "add_table: expected x [B, L, D], not empty, and table [T >= L, D], found {:?} and {:?}",
            x.dims(),
            table.dims()
        );
    }
    apply(AddTable, [x, table])
}

struct AddTable;

impl Operation<2> for AddTable {
    fn name(&self) -> &'static str {
        "add_table"
    }

    fn forward(&self, [x, table]: [Argument<'_>; 2]) -> Result<(Vec<f32>, Shape)> {
        let (mut y, table) = (x.values()?.to_vec(), table.values()?);
        let sample = x.dims()[1] * x.dims()[2];
        y.par_chunks_mut(sample).for_each(|y| y.iter_mut().zip(table).for_each(|(y, table)| *y += table));
        Ok((y, x.shape().clone()))
    }

    fn backward(&self, [x, table]: [&Tensor; 2], _y: &Tensor, grad: &Tensor) -> Result<[Option<Tensor>; 2]> {
        let sample = x.dims()[1] * x.dims()[2];
        let mut gradient = column_sums(&Values::of("add_table", grad)?, sample);
        gradient.resize(table.elem_count(), 0.0);
        Ok([Some(grad.clone()), gradient_of(table, gradient)?])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [x, table]: [Input<'_>; 2]) -> Result<Made> {
        cuda::add_table(&x, &table)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        [x, table]: [&Tensor; 2],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let (_, length, width) = x.dims3()?;
        let sums = cuda::column_sums(&Input::of("add_table", grad)?, length * width)?;
        let unused = table.dims()[0] - length; // rows beyond L have no gradient
        let sums = cuda::tensor(sums).reshape((length, width))?.pad_with_zeros(0, 0, unused)?;
        Ok([Some(grad.clone()), Some(sums)])
    }
}

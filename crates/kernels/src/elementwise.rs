//! Element-wise operations with their gradients in one pass each.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::fused::apply2;
use crate::parallel::{Values, values};
use crate::sums::{column_sums, zip_map};

/// `a + b`; both of the same shape. An error names the shapes where they are not, or hold nothing.
pub fn add(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if a.dims() != b.dims() || a.elem_count() == 0 {
        bail!("add: expected equal shapes, not empty, found {:?} and {:?}", a.dims(), b.dims());
    }
    apply2(&a.contiguous()?, &b.contiguous()?, Add)
}

struct Add;

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = zip_map(values("add", a, la)?, values("add", b, lb)?, |a, b| a + b);
        Ok((CpuStorage::F32(y), la.shape().clone()))
    }

    cuda_forward!(self, "add", a, b => cuda::add(&a, &b));

    fn bwd(
        &self,
        _a: &Tensor,
        _b: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.clone())))
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
    apply2(&x.contiguous()?, &table.contiguous()?, AddTable)
}

struct AddTable;

impl CustomOp2 for AddTable {
    fn name(&self) -> &'static str {
        "add_table"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        table: &CpuStorage,
        lt: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, table) = (values("add_table", x, lx)?, values("add_table", table, lt)?);
        let sample = lx.dims()[1] * lx.dims()[2];
        let mut y = x.to_vec();
        y.par_chunks_mut(sample).for_each(|y| y.iter_mut().zip(table).for_each(|(y, table)| *y += table));
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    cuda_forward!(self, "add_table", x, table => cuda::add_table(&x, &table));

    fn bwd(
        &self,
        x: &Tensor,
        table: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        #[cfg(feature = "cuda")]
        let whole = grad.clone();
        cuda_backward!("add_table", grad, => {
            let sums = cuda::tensor(cuda::column_sums(&grad, x.dims()[1] * x.dims()[2])?);
            let unused = table.dims()[0] - x.dims()[1]; // rows beyond L have no gradient
            let sums = sums.reshape((x.dims()[1], x.dims()[2]))?.pad_with_zeros(0, 0, unused)?;
            Ok((Some(whole), Some(sums)))
        });
        let grad = grad.contiguous()?;
        let sample = x.dims()[1] * x.dims()[2];
        let mut gradient = column_sums(&Values::of("add_table", &grad)?, sample);
        gradient.resize(table.elem_count(), 0.0);
        Ok((Some(grad), Some(Tensor::from_vec(gradient, table.dims(), table.device())?)))
    }
}

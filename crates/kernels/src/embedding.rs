//! Rows of a table by index.

use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Storage, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::fused::apply2;
use crate::parallel::{Values, indices, values};

/// Rows of `table` `[V, D]` (or `[.., D]`, its leading dimensions taken as one) by `ids` (u32, `[..]`): `[.., D]`. An
/// error where an id is outside the table.
pub fn embedding(table: &Tensor, ids: &Tensor) -> Result<Tensor> {
    if table.rank() < 2 || table.elem_count() == 0 || ids.dtype() != DType::U32 || ids.elem_count() == 0 {
        bail!(
            "embedding: expected a table [V, D] and at least one u32 id, found {:?} and {:?} {:?}",
            table.dims(),
            ids.dtype(),
            ids.dims()
        );
    }
    apply2(&table.contiguous()?, &ids.contiguous()?, Embedding)
}

struct Embedding;

impl CustomOp2 for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn cpu_fwd(
        &self,
        table: &CpuStorage,
        lt: &Layout,
        ids: &CpuStorage,
        li: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (table, ids) = (values("embedding", table, lt)?, indices("embedding", ids, li)?);
        let width = lt.dims()[lt.dims().len() - 1];
        let rows = table.len() / width;
        let mut output = Vec::with_capacity(ids.len() * width);
        for id in ids {
            let id = *id as usize;
            if id >= rows {
                bail!("embedding: id {id} is outside the table of {rows} rows");
            }
            output.extend_from_slice(&table[id * width..(id + 1) * width]);
        }
        let mut dims = li.dims().to_vec();
        dims.push(width);
        Ok((CpuStorage::F32(output), Shape::from(dims)))
    }

    cuda_forward!(self, "embedding", table, ids => cuda::embedding(&table, &ids));

    fn bwd(
        &self,
        table: &Tensor,
        ids: &Tensor,
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        cuda_backward!("embedding", grad, ids => {
            Ok((cuda::some(cuda::embedding_backward(table.shape(), &ids, &grad)?), None))
        });
        let grad = grad.contiguous()?;
        let dy = Values::of("embedding", &grad)?;
        let (storage, layout) = ids.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("embedding: ids are not on the CPU") };
        let width = table.dims()[table.rank() - 1];
        let mut gradient = vec![0f32; table.elem_count()];
        for (id, row) in indices("embedding", storage, layout)?.iter().zip(dy.chunks_exact(width)) {
            let into = &mut gradient[*id as usize * width..][..width];
            into.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        Ok((Some(Tensor::from_vec(gradient, table.dims(), table.device())?), None))
    }
}

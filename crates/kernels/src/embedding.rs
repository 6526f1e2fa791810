//! Rows of a table by index.

use candle_core::{DType, Result, Shape, Storage, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda::{self, Input, Made};
use crate::operation::{Argument, Operation, apply, gradient_of, indices};
use crate::parallel::Values;

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
    apply(Embedding, [table, ids])
}

struct Embedding;

impl Operation<2> for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }

    fn forward(&self, [table, ids]: [Argument<'_>; 2]) -> Result<(Vec<f32>, Shape)> {
        let width = table.dims()[table.dims().len() - 1];
        let mut dims = ids.dims().to_vec();
        dims.push(width);
        let (table, ids) = (table.values()?, ids.indices()?);
        let rows = table.len() / width;
        let mut output = Vec::with_capacity(ids.len() * width);
        for id in ids {
            let id = *id as usize;
            if id >= rows {
                bail!("embedding: id {id} is outside the table of {rows} rows");
            }
            output.extend_from_slice(&table[id * width..(id + 1) * width]);
        }
        Ok((output, dims.into()))
    }

    fn backward(
        &self,
        [table, ids]: [&Tensor; 2],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let dy = Values::of("embedding", grad)?;
        let (storage, layout) = ids.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else { bail!("embedding: ids are not on the CPU") };
        let width = table.dims()[table.rank() - 1];
        let mut gradient = vec![0f32; table.elem_count()];
        for (id, row) in indices("embedding", storage, layout)?.iter().zip(dy.chunks_exact(width)) {
            let into = &mut gradient[*id as usize * width..][..width];
            into.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
        }
        Ok([gradient_of(table, gradient)?, None])
    }

    #[cfg(feature = "cuda")]
    fn forward_cuda(&self, [table, ids]: [Input<'_>; 2]) -> Result<Made> {
        cuda::embedding(&table, &ids)
    }

    #[cfg(feature = "cuda")]
    fn backward_cuda(
        &self,
        [table, ids]: [&Tensor; 2],
        _y: &Tensor,
        grad: &Tensor,
    ) -> Result<[Option<Tensor>; 2]> {
        let [ids, grad] = Input::each("embedding", [ids, grad])?;
        Ok([cuda::some(cuda::embedding_backward(table.shape(), &ids, &grad)?), None])
    }
}

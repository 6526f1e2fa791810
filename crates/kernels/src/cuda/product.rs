//! Matrix products by cuBLAS, and the fully connected layer.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::cublas::{result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaView, CudaViewMut, DevicePtr, DevicePtrMut};
use candle_core::{Result, Shape, bail};

use super::weights::Weights;
use super::{
    Element, Input, Made, by_element, by_pack, calls, expect_f32, failed, made, room, sums, tensor_float_32,
};

/// Matrices in memory, row by row: values, the distance of rows, and that of one matrix to the next of a batch.
#[derive(Clone, Copy)]
pub(super) struct Matrices<'a, T> {
    values: &'a CudaView<'a, T>,
    row_stride: usize,
    batch_stride: usize,
    transposed: bool,
}

impl<'a, T> Matrices<'a, T> {
    /// One matrix, or several `batch_stride` apart, with rows `row_stride` apart.
    pub(super) fn new(values: &'a CudaView<'a, T>, row_stride: usize, batch_stride: usize) -> Self {
        Self { values, row_stride, batch_stride, transposed: false }
    }

    /// The transposes.
    pub(super) fn transposed(self) -> Self {
        Self { transposed: !self.transposed, ..self }
    }

    fn operation(&self) -> sys::cublasOperation_t {
        if self.transposed {
            sys::cublasOperation_t::CUBLAS_OP_T
        } else {
            sys::cublasOperation_t::CUBLAS_OP_N
        }
    }
}

/// Where products go: as [`Matrices`].
pub(super) struct Target<'a, 'b, T> {
    pub(super) values: &'a mut CudaViewMut<'b, T>,
    pub(super) row_stride: usize,
    pub(super) batch_stride: usize,
}

/// Sizes of a product and how many there are.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) depth: usize,
    pub(super) batch: usize,
}

/// The last value that matrices reach, plus 1.
fn reach(rows: usize, columns: usize, row_stride: usize, batch_stride: usize, batch: usize) -> usize {
    (batch - 1) * batch_stride + (rows - 1) * row_stride + columns
}

/// `output[rows, columns] = left[rows, depth] · right[depth, columns]`, or `+=` where `accumulate`. Sums are f32; `O` is
/// `T` or f32.
pub(super) fn product<T: Element, O: Element>(
    device: &CudaDevice,
    sizes: Sizes,
    left: Matrices<'_, T>,
    right: Matrices<'_, T>,
    output: Target<'_, '_, O>,
    accumulate: bool,
) -> Result<()> {
    let Sizes { rows, columns, depth, batch } = sizes;
    if rows * columns * depth * batch == 0 {
        bail!("an empty matrix product on CUDA");
    }
    let reached = |matrices: &Matrices<'_, T>, rows, columns| {
        let (rows, columns) = if matrices.transposed { (columns, rows) } else { (rows, columns) };
        reach(rows, columns, matrices.row_stride, matrices.batch_stride, batch) <= matrices.values.len()
            && matrices.row_stride >= columns
    };
    let target = reach(rows, columns, output.row_stride, output.batch_stride, batch);
    let fits = target <= output.values.len() && output.row_stride >= columns;
    if !fits || !reached(&left, rows, depth) || !reached(&right, depth, columns) {
        bail!("a matrix of a {rows}x{depth}x{columns} product on CUDA is too short");
    }
    let int = |value: usize| super::int("a matrix product", value);
    let (alpha, beta) = (1f32, if accumulate { 1f32 } else { 0f32 });
    let compute = if tensor_float_32() && T::TYPE == f32::TYPE {
        sys::cublasComputeType_t::CUBLAS_COMPUTE_32F_FAST_TF32
    } else {
        sys::cublasComputeType_t::CUBLAS_COMPUTE_32F
    };
    let (stream, blas) = (device.cuda_stream(), device.cublas_handle());
    let (left_pointer, _left) = left.values.device_ptr(&stream);
    let (right_pointer, _right) = right.values.device_ptr(&stream);
    let (output_pointer, _output) = output.values.device_ptr_mut(&stream);
    // SAFETY: the checks above keep every access inside the three views, which live until the call is queued on the
    // stream that also frees them; `output` is borrowed exclusively; the scalars are f32 as the compute type wants.
    // cuBLAS counts by columns, where a matrix by rows is its transpose: so the factors change places.
    let done = unsafe {
        result::gemm_strided_batched_ex(
            *blas.handle(),
            right.operation(),
            left.operation(),
            int(columns)?,
            int(rows)?,
            int(depth)?,
            (&raw const alpha).cast(),
            right_pointer as *const _,
            T::TYPE,
            int(right.row_stride)?,
            right.batch_stride as i64,
            left_pointer as *const _,
            T::TYPE,
            int(left.row_stride)?,
            left.batch_stride as i64,
            (&raw const beta).cast(),
            output_pointer as *mut _,
            O::TYPE,
            int(output.row_stride)?,
            output.batch_stride as i64,
            int(batch)?,
            compute,
            sys::cublasGemmAlgo_t::CUBLAS_GEMM_DEFAULT,
        )
    };
    done.map_err(|error| failed("a matrix product", &error))
}

/// `x · wᵀ + b` on the last dimension of `x`; `w` `[O, I]` and `bias` are f32, and `w` is rounded to x's type.
pub(crate) fn linear(x: &Input<'_>, w: &Input<'_>, bias: Option<&Input<'_>>) -> Result<Made> {
    if let Some(bias) = bias {
        expect_f32(&[bias])?;
    }
    by_element!(x, linear_of(x, w, bias))
}

fn linear_of<T: Element>(x: &Input<'_>, w: &Input<'_>, bias: Option<&Input<'_>>) -> Result<Made> {
    let device = x.device()?;
    let (outputs, inputs) = w.shape().dims2()?;
    let rows = x.count() / inputs;
    let (w, mut y) = (Weights::<T>::of(w)?, room::<T>(device, rows * outputs)?);
    times_transposed(device, [rows, outputs, inputs], &x.view()?, &w.view(), &mut y.as_view_mut())?;
    if let Some(bias) = bias {
        let (bias, count) = (bias.view()?, rows * outputs);
        calls::add_row_inplace::<T>(
            device,
            by_pack::<T>(count),
            &mut y.as_view_mut(),
            &bias,
            count,
            outputs,
        )?;
    }
    let mut dims = x.dims().to_vec();
    dims.pop();
    dims.push(outputs);
    Ok(made(device, y, Shape::from(dims)))
}

/// `y[r, O] = x[r, I] · w[O, I]ᵀ`.
pub(super) fn times_transposed<T: Element>(
    device: &CudaDevice,
    [rows, columns, depth]: [usize; 3],
    x: &CudaView<'_, T>,
    w: &CudaView<'_, T>,
    y: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    let (left, right) = (Matrices::new(x, depth, 0), Matrices::new(w, depth, 0).transposed());
    let target = Target { values: y, row_stride: columns, batch_stride: 0 };
    product(device, Sizes { rows, columns, depth, batch: 1 }, left, right, target, false)
}

/// `dx[r, I] = dy[r, O] · w[O, I]`.
pub(super) fn times<T: Element>(
    device: &CudaDevice,
    [rows, columns, depth]: [usize; 3],
    dy: &CudaView<'_, T>,
    w: &CudaView<'_, T>,
    dx: &mut CudaViewMut<'_, T>,
) -> Result<()> {
    let (left, right) = (Matrices::new(dy, depth, 0), Matrices::new(w, columns, 0));
    let target = Target { values: dx, row_stride: columns, batch_stride: 0 };
    product(device, Sizes { rows, columns, depth, batch: 1 }, left, right, target, false)
}

/// `dw[O, I] = dy[r, O]ᵀ · x[r, I]`, or `+=` where `accumulate`.
pub(super) fn transposed_times<T: Element>(
    device: &CudaDevice,
    [rows, columns, depth]: [usize; 3],
    dy: &CudaView<'_, T>,
    x: &CudaView<'_, T>,
    dw: &mut CudaViewMut<'_, f32>,
    accumulate: bool,
) -> Result<()> {
    let (left, right) = (Matrices::new(dy, rows, 0).transposed(), Matrices::new(x, columns, 0));
    let target = Target { values: dw, row_stride: columns, batch_stride: 0 };
    product(device, Sizes { rows, columns, depth, batch: 1 }, left, right, target, accumulate)
}

/// Gradients of a fully connected layer.
pub(crate) struct LinearGradients {
    pub(crate) dx: Option<Made>,
    pub(crate) dw: Made,
    pub(crate) db: Option<Made>,
}

/// Gradients of [`linear`]: of x where `wants_dx`, of the bias where `wants_db`.
pub(crate) fn linear_backward(
    x: &Input<'_>,
    w: &Input<'_>,
    dy: &Input<'_>,
    wants_dx: bool,
    wants_db: bool,
) -> Result<LinearGradients> {
    by_element!(x, linear_backward_of(x, w, dy, wants_dx, wants_db))
}

fn linear_backward_of<T: Element>(
    x: &Input<'_>,
    w: &Input<'_>,
    dy: &Input<'_>,
    wants_dx: bool,
    wants_db: bool,
) -> Result<LinearGradients> {
    let device = x.device()?;
    let (outputs, inputs) = w.shape().dims2()?;
    let rows = x.count() / inputs;
    let dy_view = dy.view::<T>()?;
    let dx = if wants_dx {
        let mut dx = room::<T>(device, x.count())?;
        let weights = Weights::<T>::of(w)?;
        times(device, [rows, inputs, outputs], &dy_view, &weights.view(), &mut dx.as_view_mut())?;
        Some(made(device, dx, x.shape()))
    } else {
        None
    };
    let mut dw = room::<f32>(device, w.count())?;
    let (x_view, mut to) = (x.view()?, dw.as_view_mut());
    transposed_times(device, [outputs, inputs, rows], &dy_view, &x_view, &mut to, false)?;
    let db = if wants_db { Some(sums::column_sums(dy, outputs)?) } else { None };
    Ok(LinearGradients { dx, dw: made(device, dw, w.shape()), db })
}

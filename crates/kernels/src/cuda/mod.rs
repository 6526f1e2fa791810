//! The operations on CUDA: kernels in `*.cu`, matrix products by cuBLAS, convolutions by cuDNN where it is built in.
//!
//! None of this has run on a GPU yet (docs/gpu.md). Every tensor of a device lives on its one stream, so nothing here
//! waits for the device. Sums have a fixed order, as on the CPU, though not the same one.

#[expect(clippy::too_many_arguments, reason = "a call has the parameters of its kernel")]
mod calls {
    use super::{
        CudaDevice, CudaView, CudaViewMut, Element, LaunchConfig, PushKernelArg, Result, allow_shared_memory,
        failed, int,
    };

    include!(concat!(env!("OUT_DIR"), "/calls.rs"));
}

mod attention;
mod convolution;
#[cfg(feature = "cudnn")]
mod cudnn;
mod elementwise;
mod embedding;
mod heads;
mod input;
mod norm;
mod optimizer;
mod product;
mod rows;
mod sums;
mod weights;

use std::sync::atomic::{AtomicBool, Ordering};

use candle_core::cuda_backend::cudarc::cublas::sys::cudaDataType;
use candle_core::cuda_backend::cudarc::driver::{
    CudaFunction, CudaSlice, CudaView, CudaViewMut, DeviceRepr, DriverError, LaunchConfig, PushKernelArg,
    ValidAsZeroBits, result, sys,
};
use candle_core::cuda_backend::{CudaDType, CudaDevice, CudaStorage};
use candle_core::op::BackpropOp;
use candle_core::{DType, Device, Error, Result, Shape, Storage, Tensor, bail};

pub(crate) use attention::{attention, attention_backward, self_attention, self_attention_backward};
pub(crate) use convolution::{convolution, convolution_backward};
pub(crate) use elementwise::{
    add, add_table, average_pool, average_pool_backward, cast, copy, drop_token, gelu, gelu_backward,
    mean_token, mean_token_backward, prepend_token, stack, zero,
};
pub(crate) use embedding::{embedding, embedding_backward};
pub(crate) use heads::{through_keys, through_keys_backward, to_values, to_values_backward};
pub(crate) use input::Input;
pub(crate) use norm::{BatchNorm, batch_moments, layer_norm, layer_norm_backward};
pub(crate) use optimizer::{Factors, Moments};
pub(crate) use product::{linear, linear_backward};
pub(crate) use rows::{cross_entropy, cross_entropy_backward, l2_normalize, l2_normalize_backward};
pub(crate) use sums::column_sums;

/// The CUDA device `ordinal`, with one stream for all threads.
///
/// candle's own `Device::new_cuda` takes the stream of each calling thread, between which nothing is ordered: a batch
/// uploaded by one thread and used by another could be read before it is there.
pub fn device(ordinal: usize) -> Result<Device> {
    let device = Device::new_cuda_with_stream(ordinal)?;
    check_capability(device.as_cuda_device()?)?;
    // SAFETY: events order work between streams; this device has one stream, which orders its own work.
    unsafe { device.as_cuda_device()?.disable_event_tracking() };
    keep_freed_memory(device.as_cuda_device()?).map_err(|error| failed("memory", &error))?;
    Ok(device)
}

/// The oldest compute capability whose cards calculate in bf16, for which kernels are compiled at least.
const OLDEST_CAPABILITY: i32 = 8;

/// An error on a card that the kernels do not run on.
fn check_capability(device: &CudaDevice) -> Result<()> {
    let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
    match device.cuda_stream().context().attribute(attribute) {
        Ok(major) if major < OLDEST_CAPABILITY => bail!(
            "the GPU has compute capability {major}.x, without bf16; {OLDEST_CAPABILITY}.0 (A100, RTX 30) or newer is needed"
        ),
        Ok(_) => Ok(()),
        Err(error) => Err(failed("the device", &error)),
    }
}

/// Lets the driver keep what is freed. It would otherwise return it to the system at each wait for the device, and ask for
/// it again in the next step.
fn keep_freed_memory(device: &CudaDevice) -> std::result::Result<(), DriverError> {
    let context = device.cuda_stream().context().clone();
    if !context.has_async_alloc() {
        return Ok(());
    }
    let mut everything = u64::MAX;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the pool is that of a device that was opened; the attribute is a u64, which is read within the call.
    unsafe {
        let pool = result::device::get_default_mem_pool(context.cu_device())?;
        result::mem_pool::set_attribute(pool, attribute, (&raw mut everything).cast())
    }
}

/// Whether f32 products may round their factors to TF32's 10 bits: several times faster, and not f32 any more.
static TENSOR_FLOAT_32: AtomicBool = AtomicBool::new(false);

/// Lets products and convolutions of f32 on CUDA use TF32. Off until it is called.
pub fn allow_tensor_float_32(allow: bool) {
    TENSOR_FLOAT_32.store(allow, Ordering::Relaxed);
}

fn tensor_float_32() -> bool {
    TENSOR_FLOAT_32.load(Ordering::Relaxed)
}

/// What a forward pass gives.
pub(crate) type Made = (CudaStorage, Shape);

#[cfg(feature = "cudnn")]
use candle_core::cuda_backend::cudarc::cudnn::CudnnDataType;

/// What every element type is without cuDNN.
#[cfg(not(feature = "cudnn"))]
pub(crate) trait CudnnDataType {}
#[cfg(not(feature = "cudnn"))]
impl<T> CudnnDataType for T {}

/// A type of activations: f32, or bf16 with f32 sums. Parameters of norms, biases and statistics are f32 always.
pub(crate) trait Element:
    CudaDType + CudnnDataType + DeviceRepr + ValidAsZeroBits + Copy + 'static
{
    /// The name of the module of its kernels.
    const MODULE: &'static str;
    /// Its kernels.
    const PTX: &'static str;
    /// What cuBLAS calls it.
    const TYPE: cudaDataType;
}

impl Element for f32 {
    const MODULE: &'static str = "cleanbench_f32";
    const PTX: &'static str = include_str!(concat!(env!("OUT_DIR"), "/f32.ptx"));
    const TYPE: cudaDataType = cudaDataType::CUDA_R_32F;
}

impl Element for half::bf16 {
    const MODULE: &'static str = "cleanbench_bf16";
    const PTX: &'static str = include_str!(concat!(env!("OUT_DIR"), "/bf16.ptx"));
    const TYPE: cudaDataType = cudaDataType::CUDA_R_16BF;
}

/// Calls a function for the element type of an input.
macro_rules! by_element {
    ($input:expr, $function:ident ( $($argument:expr),* $(,)? )) => {
        match $input.dtype() {
            candle_core::DType::F32 => $function::<f32>($($argument),*),
            candle_core::DType::BF16 => $function::<half::bf16>($($argument),*),
            other => candle_core::bail!("{}: expected f32 or bf16 on CUDA, found {other:?}", $input.operation()),
        }
    };
}
use by_element;

/// Threads of a block where each value stands alone.
const THREADS: usize = 256;
/// Blocks at most where threads keep what belongs to columns: several for each multiprocessor, a multiple of 8.
const COLUMN_BLOCKS: usize = 1 << 11;
/// Rows per block where a warp has a row.
const WARPS: usize = 4;
/// As in `common.cuh`.
const WARP: usize = 32;
const TILE_COLUMNS: usize = 32;
const TILE_ROWS: usize = 8;
/// Blocks of one launch at most; each goes on to further values.
const MOST_BLOCKS: usize = 1 << 16;

/// A grid for `count` values, each on its own.
fn over(count: usize) -> LaunchConfig {
    let blocks = count.div_ceil(THREADS).clamp(1, MOST_BLOCKS);
    grid((blocks, 1), (THREADS, 1))
}

/// A grid for rows, a warp each.
fn by_warp(rows: usize) -> LaunchConfig {
    grid((rows.div_ceil(WARPS), 1), (WARPS * WARP, 1))
}

/// A grid for packs of values of type `T`, each on its own.
fn by_pack<T: Element>(count: usize) -> LaunchConfig {
    over(count.div_ceil(pack::<T>()))
}

/// As [`by_pack`] with few enough blocks that a thread, which meets the same columns each time where they are a power of
/// two, reads what belongs to them seldom.
fn by_pack_of_columns<T: Element>(count: usize) -> LaunchConfig {
    let blocks = count.div_ceil(pack::<T>() * THREADS).clamp(1, COLUMN_BLOCKS);
    grid((blocks, 1), (THREADS, 1))
}

/// Values of 16 bytes, as in `common.cuh`.
fn pack<T: Element>() -> usize {
    16 / size_of::<T>()
}

/// A grid for parts of rows: threads in x take packs of columns, as many as there are up to a warp; the others rows.
fn by_tile<T: Element>(columns: usize, parts: usize) -> LaunchConfig {
    let lanes = columns.div_ceil(pack::<T>()).next_power_of_two().min(WARP);
    grid((columns.div_ceil(lanes * pack::<T>()), parts), (lanes, THREADS / lanes))
}

/// A grid for columns whose parts are joined.
fn by_columns(columns: usize) -> LaunchConfig {
    grid((columns.div_ceil(TILE_COLUMNS), 1), (TILE_COLUMNS, TILE_ROWS))
}

/// Blocks and threads in two dimensions. Sizes that do not fit have been refused by [`int`] before.
fn grid(blocks: (usize, usize), threads: (usize, usize)) -> LaunchConfig {
    let dim = |(x, y): (usize, usize)| (x as u32, y as u32, 1);
    LaunchConfig { grid_dim: dim(blocks), block_dim: dim(threads), shared_mem_bytes: 0 }
}

/// Shared memory of a block that needs no leave.
const PLAIN_SHARED_MEMORY: u32 = 48 << 10;

/// Whether a block may ask for so many bytes of shared memory.
fn has_shared_memory(device: &CudaDevice, wanted: u32) -> bool {
    let attribute = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
    let most = || device.cuda_stream().context().attribute(attribute).ok();
    wanted <= PLAIN_SHARED_MEMORY || most().is_some_and(|most| i64::from(wanted) <= i64::from(most))
}

/// Allows a kernel the shared memory that a launch asks for.
fn allow_shared_memory(kernel: &CudaFunction, shape: LaunchConfig) -> std::result::Result<(), DriverError> {
    if shape.shared_mem_bytes <= PLAIN_SHARED_MEMORY {
        return Ok(());
    }
    let attribute = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    kernel.set_attribute(attribute, shape.shared_mem_bytes as i32)
}

/// A size as a kernel takes it.
fn int(kernel: &str, value: usize) -> Result<i32> {
    match i32::try_from(value) {
        Ok(value) => Ok(value),
        Err(_) => bail!("{kernel}: {value} values; a tensor on CUDA has fewer than 2^31"),
    }
}

/// The error of a launch.
fn failed(kernel: &str, error: &dyn std::fmt::Display) -> Error {
    Error::Msg(format!("{kernel} on CUDA: {error}"))
}

/// Memory for `count` values that the next kernel writes, every one of them.
fn room<T: Element>(device: &CudaDevice, count: usize) -> Result<CudaSlice<T>> {
    // SAFETY: every bit pattern is a T, and each use here is overwritten as a whole by one kernel or product.
    let values = unsafe { device.alloc::<T>(count) };
    values.map_err(|error| out_of_memory(device, count * size_of::<T>(), error))
}

/// The error of an allocation, with what is missing where that is memory.
fn out_of_memory(device: &CudaDevice, wanted: usize, error: Error) -> Error {
    let Ok((free, total)) = device.cuda_stream().context().mem_get_info() else { return error };
    if wanted <= free {
        return error;
    }
    let mebibytes = |bytes: usize| bytes.div_ceil(1 << 20);
    error.context(format!(
        "the GPU's memory: {} MiB wanted at once, {} of {} MiB free, {} short; a smaller batch-size needs less",
        mebibytes(wanted),
        mebibytes(free),
        mebibytes(total),
        mebibytes(wanted - free)
    ))
}

/// Values as a result.
fn made<T: Element>(device: &CudaDevice, values: CudaSlice<T>, shape: impl Into<Shape>) -> Made {
    (CudaStorage::wrap_cuda_slice(values, device.clone()), shape.into())
}

/// A result as a tensor without history.
pub(crate) fn tensor((storage, shape): Made) -> Tensor {
    Tensor::from_storage(Storage::Cuda(storage), shape, BackpropOp::none(), false)
}

/// A result as a gradient.
pub(crate) fn some(made: Made) -> Option<Tensor> {
    Some(tensor(made))
}

/// An error where an argument is not of the expected type.
fn expect_f32(inputs: &[&Input<'_>]) -> Result<()> {
    match inputs.iter().find(|input| input.dtype() != DType::F32) {
        Some(input) => {
            bail!("{}: expected f32 parameters on CUDA, found {:?}", input.operation(), input.dtype())
        }
        None => Ok(()),
    }
}

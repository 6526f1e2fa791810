//! Convolutions by cuDNN: tensors and filters NHWC, deterministic algorithms alone, the choice kept per geometry,
//! one handle and one workspace per thread and device.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::rc::Rc;

use candle_core::cuda_backend::cudarc::cudnn::{CudnnDataType, CudnnError, result, sys};
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaStream, CudaView, DevicePtr, DevicePtrMut};
use candle_core::cuda_backend::{CudaDevice, DeviceId};
use candle_core::{Error, Result};

use super::elementwise::widened;
use super::{Element, room, tensor_float_32};
use crate::conv::geometry::Geometry;

/// Memory that an algorithm may ask for; slower ones that need less are taken instead.
const LARGEST_WORKSPACE: usize = 1 << 30;
/// Algorithms that cuDNN is asked to rank; it has fewer.
const RANKED: usize = 16;

/// Of the three convolutions of a training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Pass {
    Forward,
    InputGradient,
    WeightGradient,
}

/// What decides a plan: sizes, pass, data type, and whether TF32 is allowed.
type Key = (Geometry, Pass, u32, bool);

thread_local! {
    /// cuDNN's handles must not be used by two threads at a time.
    static ENGINES: RefCell<HashMap<DeviceId, Engine>> = RefCell::new(HashMap::new());
}

/// A handle, what was planned with it, and memory for all plans: calls on one stream follow one another.
struct Engine {
    handle: sys::cudnnHandle_t,
    plans: HashMap<Key, Option<Rc<Plan>>>,
    workspace: Option<CudaSlice<u8>>,
}

/// Descriptors of a convolution and the algorithm chosen for one of its passes.
struct Plan {
    image: sys::cudnnTensorDescriptor_t,
    filter: sys::cudnnFilterDescriptor_t,
    output: sys::cudnnTensorDescriptor_t,
    convolution: sys::cudnnConvolutionDescriptor_t,
    algorithm: Algorithm,
    workspace: usize,
}

#[derive(Clone, Copy)]
enum Algorithm {
    None,
    Forward(sys::cudnnConvolutionFwdAlgo_t),
    InputGradient(sys::cudnnConvolutionBwdDataAlgo_t),
    WeightGradient(sys::cudnnConvolutionBwdFilterAlgo_t),
}

fn failed(sizes: Geometry, error: CudnnError) -> Error {
    Error::Msg(format!("conv2d by cuDNN, {sizes:?}: {error}"))
}

impl Drop for Plan {
    fn drop(&mut self) {
        // SAFETY: `new` made the descriptors, nobody else has them, and null ones are left alone. What destroying
        // says is of no use here.
        unsafe {
            if !self.image.is_null() {
                result::destroy_tensor_descriptor(self.image).ok();
            }
            if !self.filter.is_null() {
                result::destroy_filter_descriptor(self.filter).ok();
            }
            if !self.output.is_null() {
                result::destroy_tensor_descriptor(self.output).ok();
            }
            if !self.convolution.is_null() {
                result::destroy_convolution_descriptor(self.convolution).ok();
            }
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.plans.clear();
        // SAFETY: the handle was made by `Engine::new`, and the plans that used it are gone.
        unsafe { result::destroy_handle(self.handle) }.ok();
    }
}

impl Plan {
    /// Descriptors alone.
    fn new(sizes: Geometry, data_type: sys::cudnnDataType_t) -> std::result::Result<Self, CudnnError> {
        let size = |value: usize| c_int::try_from(value).unwrap_or(c_int::MAX); // cuDNN refuses such a size
        let mut plan = Self {
            image: result::create_tensor_descriptor()?,
            filter: std::ptr::null_mut(),
            output: std::ptr::null_mut(),
            convolution: std::ptr::null_mut(),
            algorithm: Algorithm::None,
            workspace: 0,
        };
        plan.filter = result::create_filter_descriptor()?;
        plan.output = result::create_tensor_descriptor()?;
        plan.convolution = result::create_convolution_descriptor()?;
        let format = sys::cudnnTensorFormat_t::CUDNN_TENSOR_NHWC;
        // cuDNN wants sizes in the order N, C, H, W whatever the format.
        let image = [sizes.n, sizes.channels, sizes.height, sizes.width].map(size);
        let filter = [sizes.outputs, sizes.channels, sizes.kernel_height, sizes.kernel_width].map(size);
        let output = [sizes.n, sizes.outputs, sizes.out_height, sizes.out_width].map(size);
        let (padding, stride) = (size(sizes.padding), size(sizes.stride));
        let math = if data_type != f32::DATA_TYPE || tensor_float_32() {
            sys::cudnnMathType_t::CUDNN_TENSOR_OP_MATH
        } else {
            sys::cudnnMathType_t::CUDNN_FMA_MATH // the default lets f32 be rounded to TF32
        };
        let mode = sys::cudnnConvolutionMode_t::CUDNN_CROSS_CORRELATION;
        // SAFETY: the descriptors were made above and not destroyed.
        unsafe {
            result::set_tensor4d_descriptor(plan.image, format, data_type, image)?;
            result::set_filter4d_descriptor(plan.filter, data_type, format, filter)?;
            result::set_tensor4d_descriptor(plan.output, format, data_type, output)?;
            result::set_convolution2d_descriptor(
                plan.convolution,
                padding,
                padding,
                stride,
                stride,
                1,
                1,
                mode,
                f32::DATA_TYPE,
            )?;
            result::set_convolution_math_type(plan.convolution, math)?;
        }
        Ok(plan)
    }

    /// Takes the fastest algorithm that is deterministic and modest; none where cuDNN has no such one.
    fn choose(&mut self, handle: sys::cudnnHandle_t, pass: Pass) -> std::result::Result<(), CudnnError> {
        let mut count: c_int = 0;
        let (image, filter, output, convolution) = (self.image, self.filter, self.output, self.convolution);
        macro_rules! ranked {
            ($function:ident, $first:expr, $second:expr, $third:expr, $kind:expr) => {{
                // SAFETY: all zeros is a value of the result, a plain C structure whose enums have a 0.
                let mut results = [unsafe { std::mem::zeroed() }; RANKED];
                // SAFETY: handle and descriptors live, and `results` has room for as many as are asked for.
                unsafe {
                    result::$function(
                        handle,
                        $first,
                        $second,
                        convolution,
                        $third,
                        RANKED as c_int,
                        &mut count,
                        results.as_mut_ptr(),
                    )?;
                }
                let mut found = results.iter().take(usize::try_from(count).unwrap_or(0)).filter(|found| {
                    found.status == sys::cudnnStatus_t::CUDNN_STATUS_SUCCESS
                        && found.determinism == sys::cudnnDeterminism_t::CUDNN_DETERMINISTIC
                        && found.memory <= LARGEST_WORKSPACE
                });
                if let Some(found) = found.next() {
                    self.algorithm = $kind(found.algo);
                    self.workspace = found.memory;
                }
            }};
        }
        match pass {
            Pass::Forward => {
                ranked!(get_convolution_forward_algorithm, image, filter, output, Algorithm::Forward);
            }
            Pass::InputGradient => {
                ranked!(
                    get_convolution_backward_data_algorithm,
                    filter,
                    output,
                    image,
                    Algorithm::InputGradient
                );
            }
            Pass::WeightGradient => {
                ranked!(
                    get_convolution_backward_filter_algorithm,
                    image,
                    output,
                    filter,
                    Algorithm::WeightGradient
                );
            }
        }
        Ok(())
    }

    /// Queues the chosen algorithm: from two pointers to a third.
    fn run(
        &self,
        handle: sys::cudnnHandle_t,
        [first, second]: [*const c_void; 2],
        target: *mut c_void,
        workspace: *mut c_void,
    ) -> std::result::Result<(), CudnnError> {
        let (one, zero) = (1f32, 0f32);
        let (alpha, beta): (*const c_void, *const c_void) =
            ((&raw const one).cast(), (&raw const zero).cast());
        // SAFETY: handle and descriptors live; the pointers are of tensors with the sizes of the descriptors (see
        // `pass`), the workspace has the size that the plan names, and the scalars are f32 as the convolution is.
        unsafe {
            match self.algorithm {
                Algorithm::None => Ok(()),
                Algorithm::Forward(algorithm) => result::convolution_forward(
                    handle,
                    alpha,
                    self.image,
                    first,
                    self.filter,
                    second,
                    self.convolution,
                    algorithm,
                    workspace,
                    self.workspace,
                    beta,
                    self.output,
                    target,
                ),
                Algorithm::InputGradient(algorithm) => result::convolution_backward_data(
                    handle,
                    alpha,
                    self.filter,
                    first,
                    self.output,
                    second,
                    self.convolution,
                    algorithm,
                    workspace,
                    self.workspace,
                    beta,
                    self.image,
                    target,
                ),
                Algorithm::WeightGradient(algorithm) => result::convolution_backward_filter(
                    handle,
                    alpha,
                    self.image,
                    first,
                    self.output,
                    second,
                    self.convolution,
                    algorithm,
                    workspace,
                    self.workspace,
                    beta,
                    self.filter,
                    target,
                ),
            }
        }
    }
}

impl Engine {
    fn new(stream: &CudaStream) -> std::result::Result<Self, CudnnError> {
        let handle = result::create_handle()?;
        let engine = Self { handle, plans: HashMap::new(), workspace: None };
        // SAFETY: both live; cudarc's stream outlives the device's tensors, and with them every call.
        unsafe { result::set_stream(handle, stream.cu_stream().cast())? };
        Ok(engine)
    }

    /// The plan of a pass, made on first use; none where cuDNN has no fitting algorithm.
    fn plan(
        &mut self,
        sizes: Geometry,
        pass: Pass,
        data_type: sys::cudnnDataType_t,
    ) -> std::result::Result<Option<Rc<Plan>>, CudnnError> {
        let key = (sizes, pass, data_type as u32, tensor_float_32());
        if let Some(plan) = self.plans.get(&key) {
            return Ok(plan.clone());
        }
        let mut plan = Plan::new(sizes, data_type)?;
        plan.choose(self.handle, pass)?;
        let plan = (!matches!(plan.algorithm, Algorithm::None)).then(|| Rc::new(plan));
        self.plans.insert(key, plan.clone());
        Ok(plan)
    }

    /// Memory for a plan: what is there, or more.
    fn workspace(&mut self, device: &CudaDevice, size: usize) -> Result<&mut CudaSlice<u8>> {
        let workspace = match self.workspace.take() {
            Some(workspace) if workspace.len() >= size => workspace,
            // SAFETY: cuDNN writes what it reads of its workspace.
            _ => unsafe { device.alloc::<u8>(size.max(1))? },
        };
        Ok(self.workspace.insert(workspace))
    }
}

/// One pass from `first` and `second` to `count` values; `None` where cuDNN has no fitting algorithm.
fn pass<T: Element>(
    device: &CudaDevice,
    sizes: Geometry,
    pass: Pass,
    [first, second]: [&CudaView<'_, T>; 2],
    count: usize,
) -> Result<Option<CudaSlice<T>>> {
    let stream = device.cuda_stream();
    let image = sizes.n * sizes.height * sizes.width * sizes.channels;
    let filter = sizes.outputs * sizes.kernel_height * sizes.kernel_width * sizes.channels;
    let output = sizes.output_shape().elem_count();
    let lengths = match pass {
        Pass::Forward => [image, filter, output],
        Pass::InputGradient => [filter, output, image],
        Pass::WeightGradient => [image, output, filter],
    };
    if [first.len(), second.len(), count] != lengths {
        candle_core::bail!("conv2d by cuDNN, {sizes:?}: {} and {} values", first.len(), second.len());
    }
    ENGINES.with_borrow_mut(|engines| {
        let engine = match engines.entry(device.id()) {
            std::collections::hash_map::Entry::Occupied(engine) => engine.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                place.insert(Engine::new(&stream).map_err(|error| failed(sizes, error))?)
            }
        };
        let planned = engine.plan(sizes, pass, T::DATA_TYPE).map_err(|error| failed(sizes, error))?;
        let Some(plan) = planned else { return Ok(None) };
        let handle = engine.handle;
        let mut result = room::<T>(device, count)?;
        let workspace = engine.workspace(device, plan.workspace)?;
        {
            let (first, _first) = first.device_ptr(&stream);
            let (second, _second) = second.device_ptr(&stream);
            let (target, _target) = result.device_ptr_mut(&stream);
            let (space, _space) = workspace.device_ptr_mut(&stream);
            let pointers = [first as *const c_void, second as *const c_void];
            plan.run(handle, pointers, target as *mut c_void, space as *mut c_void)
                .map_err(|error| failed(sizes, error))?;
        }
        Ok(Some(result))
    })
}

/// The convolution of `x` with `w`.
pub(super) fn forward<T: Element>(
    device: &CudaDevice,
    sizes: Geometry,
    x: &CudaView<'_, T>,
    w: &CudaView<'_, T>,
) -> Result<Option<CudaSlice<T>>> {
    pass(device, sizes, Pass::Forward, [x, w], sizes.output_shape().elem_count())
}

/// Gradient of `x`.
pub(super) fn input_gradient<T: Element>(
    device: &CudaDevice,
    sizes: Geometry,
    w: &CudaView<'_, T>,
    dy: &CudaView<'_, T>,
) -> Result<Option<CudaSlice<T>>> {
    let count = sizes.n * sizes.height * sizes.width * sizes.channels;
    pass(device, sizes, Pass::InputGradient, [w, dy], count)
}

/// Gradient of `w`, in f32; cuDNN writes it in the type of its factors.
pub(super) fn weight_gradient<T: Element>(
    device: &CudaDevice,
    sizes: Geometry,
    x: &CudaView<'_, T>,
    dy: &CudaView<'_, T>,
) -> Result<Option<CudaSlice<f32>>> {
    let count = sizes.outputs * sizes.kernel_height * sizes.kernel_width * sizes.channels;
    let Some(dw) = pass(device, sizes, Pass::WeightGradient, [x, dy], count)? else { return Ok(None) };
    Ok(Some(widened(device, &dw.as_view())?))
}

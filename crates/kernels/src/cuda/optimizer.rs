//! AdamW over all parameters in one launch, its moments on the device, nothing waited for.

use candle_core::cuda_backend::CudaDevice;
use candle_core::cuda_backend::cudarc::driver::{CudaSlice, CudaView, DevicePtr};
use candle_core::{DType, Device, Result, Tensor, Var, bail};

use super::{Input, WARP, calls, grid, int};

/// Values of a parameter that one block moves.
const CHUNK: usize = 8 << 10;
/// Threads of such a block.
const THREADS: usize = 8 * WARP;

/// A step's numbers, the same for all parameters but for `keep_decaying`, which is 1 for those that do not decay.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factors {
    pub(crate) step_size: f32,
    pub(crate) root_correction: f32,
    pub(crate) keep_decaying: f32,
    pub(crate) beta2: f32,
    pub(crate) share1: f32,
    pub(crate) share2: f32,
    pub(crate) epsilon: f32,
}

/// AdamW's moments of parameters on one CUDA device.
pub(crate) struct Moments {
    device: CudaDevice,
    /// First and second moments of all parameters, one after the other.
    first: CudaSlice<f32>,
    second: CudaSlice<f32>,
    /// Values of each parameter, and where its moments begin.
    sizes: Vec<usize>,
    starts: Vec<usize>,
    on_device: Tables,
    /// Which parameter a chunk belongs to.
    entries_of_chunks: Vec<usize>,
}

/// What the kernels look up.
struct Tables {
    sizes: CudaSlice<u32>,
    decays: CudaSlice<u32>,
    chunks: CudaSlice<u32>,
    squares: CudaSlice<f32>,
    /// A 1 for each parameter that had a gradient that is not finite since it was last asked for.
    lost: CudaSlice<u32>,
    factor: CudaSlice<f32>,
}

impl Moments {
    /// Moments of 0 for contiguous f32 parameters on a CUDA device, each with whether it decays.
    pub(crate) fn new(parameters: &[(&Var, bool)]) -> Result<Self> {
        let Some((first, _)) = parameters.first() else { bail!("adamw: no parameters") };
        let device = first.device().as_cuda_device()?.clone();
        let (mut sizes, mut starts, mut chunks, mut entries_of_chunks) = (vec![], vec![], vec![], vec![]);
        let mut total = 0;
        for (entry, (var, _)) in parameters.iter().enumerate() {
            if !var.device().same_device(first.device()) || var.dtype() != DType::F32 {
                bail!("adamw: expected f32 parameters on one device, found {:?}", var.as_tensor());
            }
            let size = var.elem_count();
            for start in (0..size).step_by(CHUNK) {
                chunks.extend([entry as u32, int("adamw", start)? as u32]);
                entries_of_chunks.push(entry);
            }
            sizes.push(size);
            starts.push(total);
            total += size;
        }
        let small: Vec<u32> = sizes.iter().map(|size| *size as u32).collect();
        let decays: Vec<u32> = parameters.iter().map(|(_, decays)| u32::from(*decays)).collect();
        let on_device = Tables {
            sizes: device.clone_htod(&small)?,
            decays: device.clone_htod(&decays)?,
            chunks: device.clone_htod(&chunks)?,
            squares: device.alloc_zeros(entries_of_chunks.len())?,
            lost: device.alloc_zeros(sizes.len())?,
            factor: device.clone_htod(&vec![1f32])?,
        };
        let (first, second) = (device.alloc_zeros(total)?, device.alloc_zeros(total)?);
        Ok(Self { device, first, second, sizes, starts, on_device, entries_of_chunks })
    }

    /// Queues one step of `parameters`, those of [`Moments::new`], against their gradients.
    pub(crate) fn step(
        &mut self,
        parameters: &[&Var],
        gradients: &[Tensor],
        factors: Factors,
        largest_norm: Option<f64>,
    ) -> Result<()> {
        let pointers = self.pointers(parameters, gradients)?;
        let pointers = self.device.clone_htod(&pointers)?;
        let (entries, chunks) = (self.sizes.len(), self.entries_of_chunks.len());
        let (device, shape) = (&self.device, grid((chunks, 1), (THREADS, 1)));
        let Tables { sizes, decays, chunks: table, squares, lost, factor } = &mut self.on_device;
        let (pointers, sizes, table) = (pointers.as_view(), sizes.as_view(), table.as_view());
        if let Some(largest) = largest_norm {
            let mut to = squares.as_view_mut();
            calls::gradient_squares::<f32>(
                device, shape, &pointers, &sizes, &table, &mut to, entries, CHUNK,
            )?;
            let (from, mut to) = (squares.as_view(), factor.as_view_mut());
            let one_block = grid((1, 1), (THREADS, 1));
            calls::clip_factor::<f32>(device, one_block, &from, &mut to, largest as f32, chunks)?;
        }
        let mut to = squares.as_view_mut();
        calls::adamw::<f32>(
            device,
            shape,
            &pointers,
            &sizes,
            &decays.as_view(),
            &table,
            &factor.as_view(),
            &mut to,
            &mut lost.as_view_mut(),
            factors.step_size,
            factors.root_correction,
            factors.keep_decaying,
            factors.beta2,
            factors.share1,
            factors.share2,
            factors.epsilon,
            entries,
            CHUNK,
        )
    }

    /// Addresses of parameters, gradients, first and second moments.
    fn pointers(&self, parameters: &[&Var], gradients: &[Tensor]) -> Result<Vec<u64>> {
        if parameters.len() != self.sizes.len() || gradients.len() != self.sizes.len() {
            bail!("adamw: {} parameters and {} gradients", parameters.len(), gradients.len());
        }
        let stream = self.device.cuda_stream();
        let address = |view: &CudaView<'_, f32>| view.device_ptr(&stream).0;
        let mut pointers = Vec::with_capacity(4 * self.sizes.len());
        let tensors = parameters.iter().map(|var| var.as_tensor()).chain(gradients);
        for (tensor, size) in tensors.zip(self.sizes.iter().chain(&self.sizes)) {
            let input = Input::of("adamw", tensor)?;
            if input.count() != *size {
                bail!("adamw: expected {size} values, found {:?}", input.dims());
            }
            pointers.push(address(&input.view::<f32>()?));
        }
        for moments in [&self.first, &self.second] {
            pointers.extend(self.starts.iter().map(|start| address(&moments.slice(*start..))));
        }
        Ok(pointers)
    }

    /// Sums of squares of each parameter's gradients in the last step, not finite where a gradient was not. Waits for
    /// the device.
    pub(crate) fn squares(&self) -> Result<Vec<f64>> {
        let mut sums = vec![0f64; self.sizes.len()];
        let squares: Vec<f32> = self.device.clone_dtoh(&self.on_device.squares)?;
        for (entry, square) in self.entries_of_chunks.iter().zip(squares) {
            sums[*entry] += f64::from(square);
        }
        Ok(sums)
    }

    /// The first parameter whose gradient was not finite in any step since this was last asked. Waits for the device.
    pub(crate) fn first_lost(&mut self) -> Result<Option<usize>> {
        let lost: Vec<u32> = self.device.clone_dtoh(&self.on_device.lost)?;
        let first = lost.iter().position(|lost| *lost != 0);
        if first.is_some() {
            self.device.memcpy_htod(&vec![0u32; lost.len()], &mut self.on_device.lost)?;
        }
        Ok(first)
    }

    /// First and second moment of each parameter, flat, on the CPU.
    pub(crate) fn read(&self) -> Result<Vec<[Tensor; 2]>> {
        let first: Vec<f32> = self.device.clone_dtoh(&self.first)?;
        let second: Vec<f32> = self.device.clone_dtoh(&self.second)?;
        let part = |values: &[f32], start: &usize, size: &usize| {
            Tensor::from_slice(&values[*start..start + size], *size, &Device::Cpu)
        };
        let both = |(start, size)| Ok([part(&first, start, size)?, part(&second, start, size)?]);
        self.starts.iter().zip(&self.sizes).map(both).collect()
    }

    /// Takes up what [`Moments::read`] gave.
    pub(crate) fn write(&mut self, moments: &[(Vec<f32>, Vec<f32>)]) -> Result<()> {
        if moments.iter().map(|(first, _)| first.len()).ne(self.sizes.iter().copied()) {
            bail!("adamw: moments of other sizes");
        }
        let first: Vec<f32> = moments.iter().flat_map(|(first, _)| first.iter().copied()).collect();
        let second: Vec<f32> = moments.iter().flat_map(|(_, second)| second.iter().copied()).collect();
        self.device.memcpy_htod(&first, &mut self.first)?;
        self.device.memcpy_htod(&second, &mut self.second)
    }
}

//! How an operation finds its CUDA side. Without the feature `cuda` both macros leave nothing behind, and candle says
//! "no cuda implementation".

/// `cuda_fwd` of an operation: its name in errors, its arguments, and what they give.
macro_rules! cuda_forward {
    ($this:ident, $name:literal, $a:ident => $result:expr) => {
        #[cfg(feature = "cuda")]
        fn cuda_fwd(
            &$this,
            a: &candle_core::CudaStorage,
            la: &candle_core::Layout,
        ) -> candle_core::Result<(candle_core::CudaStorage, candle_core::Shape)> {
            let $a = $crate::cuda::Input::new($name, a, la)?;
            $result
        }
    };
    ($this:ident, $name:literal, $a:ident, $b:ident => $result:expr) => {
        #[cfg(feature = "cuda")]
        fn cuda_fwd(
            &$this,
            a: &candle_core::CudaStorage,
            la: &candle_core::Layout,
            b: &candle_core::CudaStorage,
            lb: &candle_core::Layout,
        ) -> candle_core::Result<(candle_core::CudaStorage, candle_core::Shape)> {
            let $a = $crate::cuda::Input::new($name, a, la)?;
            let $b = $crate::cuda::Input::new($name, b, lb)?;
            $result
        }
    };
    ($this:ident, $name:literal, $a:ident, $b:ident, $c:ident => $result:expr) => {
        #[cfg(feature = "cuda")]
        fn cuda_fwd(
            &$this,
            a: &candle_core::CudaStorage,
            la: &candle_core::Layout,
            b: &candle_core::CudaStorage,
            lb: &candle_core::Layout,
            c: &candle_core::CudaStorage,
            lc: &candle_core::Layout,
        ) -> candle_core::Result<(candle_core::CudaStorage, candle_core::Shape)> {
            let $a = $crate::cuda::Input::new($name, a, la)?;
            let $b = $crate::cuda::Input::new($name, b, lb)?;
            let $c = $crate::cuda::Input::new($name, c, lc)?;
            $result
        }
    };
}

/// Returns from `bwd` with what the CUDA side gives where the gradient is on such a device. The named tensors are
/// [`crate::cuda::Input`]s inside.
macro_rules! cuda_backward {
    ($name:literal, $gradient:ident, $($argument:ident),* => $result:expr) => {
        #[cfg(feature = "cuda")]
        if $gradient.device().is_cuda() {
            let $gradient = $gradient.contiguous()?;
            $(let $argument = $crate::cuda::Input::of($name, $argument)?;)*
            let $gradient = $crate::cuda::Input::of($name, &$gradient)?;
            return $result;
        }
    };
}

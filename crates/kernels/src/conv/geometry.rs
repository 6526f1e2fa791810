//! Sizes of a convolution.

/// A convolution's sizes: `x` `[n, height, width, channels]`, `w` `[outputs, kernel_height, kernel_width, channels]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Geometry {
    pub(crate) n: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    pub(crate) kernel_height: usize,
    pub(crate) kernel_width: usize,
    pub(crate) outputs: usize,
    pub(crate) stride: usize,
    pub(crate) padding: usize,
    pub(crate) out_height: usize,
    pub(crate) out_width: usize,
}

impl Geometry {
    pub(crate) fn new(x: &[usize], w: &[usize], stride: usize, padding: usize) -> Self {
        Self {
            n: x[0],
            height: x[1],
            width: x[2],
            channels: x[3],
            kernel_height: w[1],
            kernel_width: w[2],
            outputs: w[0],
            stride,
            padding,
            out_height: (x[1] + 2 * padding - w[1]) / stride + 1,
            out_width: (x[2] + 2 * padding - w[2]) / stride + 1,
        }
    }

    /// A fully connected layer: single pixels, in one image.
    pub(crate) fn of_rows(rows: usize, inputs: usize, outputs: usize) -> Self {
        Self::new(&[1, 1, rows, inputs], &[outputs, 1, 1, inputs], 1, 0)
    }

    /// Values in a patch.
    pub(crate) fn depth(&self) -> usize {
        self.kernel_height * self.kernel_width * self.channels
    }

    /// Whether patches are just pixels.
    pub(crate) fn is_pointwise(&self) -> bool {
        self.kernel_height == 1 && self.kernel_width == 1 && self.stride == 1 && self.padding == 0
    }
}

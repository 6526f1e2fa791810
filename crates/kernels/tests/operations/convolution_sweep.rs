//! Convolutions around every size at which a tile, a lane or a block ends, against seven nested loops in f64.

use std::collections::BTreeSet;

use crate::support::{assert_close, devices, moved, random, same_with_any_threads, values};
use candle_core::{Device, Result, Tensor};

/// Of f32 sums and of Winograd's transforms, relative to the largest value.
const TOLERANCE: f64 = 1e-5;
/// Of f32 sums whose terms cancel, relative to the sum of their sizes: four units in the last place.
const ROUNDING: f64 = 4.0 * f32::EPSILON as f64;

/// Sizes just below, at and just above powers of two and the tiles in use.
const SIZES: [usize; 13] = [1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65];

/// One convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Case {
    batch: usize,
    channels: usize,
    outputs: usize,
    image: [usize; 2],
    kernel: [usize; 2],
    stride: usize,
    padding: usize,
}

impl Case {
    fn x(&self) -> [usize; 4] {
        [self.batch, self.image[0], self.image[1], self.channels]
    }

    fn w(&self) -> [usize; 4] {
        [self.outputs, self.kernel[0], self.kernel[1], self.channels]
    }

    fn y(&self) -> [usize; 4] {
        let side = |side: usize| (self.image[side] + 2 * self.padding - self.kernel[side]) / self.stride + 1;
        [self.batch, side(0), side(1), self.outputs]
    }

    /// Calls `f` with the places in y, x and w of the first channel of all that belongs together.
    fn each(&self, mut f: impl FnMut(usize, usize, usize)) {
        let ([_, rows, columns, outputs], [height, width], [kernel_height, kernel_width]) =
            (self.y(), self.image, self.kernel);
        for at in 0..self.batch * rows * columns * kernel_height * kernel_width {
            let (kx, rest) = (at % kernel_width, at / kernel_width);
            let (ky, rest) = (rest % kernel_height, rest / kernel_height);
            let (column, rest) = (rest % columns, rest / columns);
            let (row, sample) = (rest % rows, rest / rows);
            let (y, x) = (row * self.stride + ky, column * self.stride + kx);
            let inside = |at: usize, size: usize| at >= self.padding && at < size + self.padding;
            if inside(y, height) && inside(x, width) {
                let pixel = (sample * height + y - self.padding) * width + x - self.padding;
                f(
                    ((sample * rows + row) * columns + column) * outputs,
                    pixel * self.channels,
                    (ky * kernel_width + kx) * self.channels,
                );
            }
        }
    }

    /// The result, and the gradients of x and w for what `of` makes of the gradient that the tests use.
    fn reference(&self, x: &[f64], w: &[f64], of: fn(f64) -> f64) -> [Vec<f64>; 3] {
        let dy: Vec<f64> = values(&random(&self.y(), 99)).into_iter().map(of).collect();
        let (mut y, mut dx, mut dw) = (vec![0f64; dy.len()], vec![0f64; x.len()], vec![0f64; w.len()]);
        let (channels, per_output) = (self.channels, self.w()[1..].iter().product::<usize>());
        self.each(|at_y, at_x, at_w| {
            let x = &x[at_x..at_x + channels];
            let dx = &mut dx[at_x..at_x + channels];
            for output in 0..self.outputs {
                let start = output * per_output + at_w;
                let (w, dw) = (&w[start..start + channels], &mut dw[start..start + channels]);
                let dy = dy[at_y + output];
                let mut sum = 0.0;
                for channel in 0..channels {
                    sum += x[channel] * w[channel];
                    dx[channel] += dy * w[channel];
                    dw[channel] += dy * x[channel];
                }
                y[at_y + output] += sum;
            }
        });
        [y, dx, dw]
    }
}

fn check(cases: impl IntoIterator<Item = Case>) -> Result<()> {
    let cases: BTreeSet<Case> = cases.into_iter().collect();
    for case in cases {
        let inputs = [random(&case.x(), 1), random(&case.w(), 2)];
        let expected = case.reference(&values(&inputs[0]), &values(&inputs[1]), |dy| dy);
        let shapes = [case.y(), case.x(), case.w()];
        let ours = |inputs: &[Tensor]| kernels::conv2d(&inputs[0], &inputs[1], case.stride, case.padding);
        let sizes = |values: Vec<f64>| values.into_iter().map(f64::abs).collect::<Vec<_>>();
        let sizes = case.reference(&sizes(values(&inputs[0])), &sizes(values(&inputs[1])), f64::abs);
        for device in devices() {
            let found = same_with_any_threads("conv2d", &ours, &moved(&inputs, device));
            for (index, (expected, sizes)) in expected.iter().zip(&sizes).enumerate() {
                let largest = |values: &[f64]| values.iter().fold(0f64, |most, value| most.max(value.abs()));
                let scale = largest(expected);
                let tolerance = TOLERANCE.max(ROUNDING * largest(sizes) / scale);
                let expected = Tensor::from_slice(expected, &shapes[index][..], &Device::Cpu)?;
                assert_close(&format!("{case:?}, output {index}"), &found[index], &expected, tolerance);
            }
        }
    }
    Ok(())
}

/// Kernel, stride and padding of the towers' convolutions, and some they do not have.
const KINDS: [([usize; 2], usize, usize); 7] = [
    ([3, 3], 1, 1),
    ([3, 3], 2, 1),
    ([1, 1], 1, 0),
    ([1, 1], 2, 0),
    ([3, 3], 1, 0),
    ([3, 1], 1, 1),
    ([5, 2], 3, 2),
];

#[test]
fn any_channels() -> Result<()> {
    let pairs = SIZES.iter().flat_map(|channels| SIZES.map(|outputs| (*channels, outputs)));
    let pairs = pairs.chain([(130, 3), (3, 130), (130, 130), (128, 64), (48, 96)]);
    check(pairs.flat_map(|(channels, outputs)| {
        KINDS[..3].iter().map(move |(kernel, stride, padding)| Case {
            batch: 2,
            channels,
            outputs,
            image: [5, 7],
            kernel: *kernel,
            stride: *stride,
            padding: *padding,
        })
    }))
}

#[test]
fn any_image() -> Result<()> {
    let images = SIZES.iter().flat_map(|height| SIZES.map(|width| [*height, width]));
    // All sides up to 33, and few beyond: a wrong tile shows at any number of them.
    let images = images.filter(|[height, width]| height * width <= 33 * 33 || height == width);
    check(images.enumerate().flat_map(|(index, image)| {
        KINDS.iter().filter_map(move |(kernel, stride, padding)| {
            let fits = (0..2).all(|side| image[side] + 2 * padding >= kernel[side]);
            let (channels, outputs) = [(3, 8), (8, 5), (17, 16), (1, 1)][index % 4];
            let (kernel, stride, padding) = (*kernel, *stride, *padding);
            fits.then_some(Case { batch: 1, channels, outputs, image, kernel, stride, padding })
        })
    }))
}

#[test]
fn any_batch_and_wide_channels() -> Result<()> {
    check([1, 2, 3, 5, 8, 9, 17, 33].into_iter().flat_map(|batch| {
        KINDS[..4].iter().flat_map(move |(kernel, stride, padding)| {
            [([4, 4], 64, 65), ([8, 8], 16, 17), ([15, 2], 9, 33)].map(|(image, channels, outputs)| Case {
                batch,
                channels,
                outputs,
                image,
                kernel: *kernel,
                stride: *stride,
                padding: *padding,
            })
        })
    }))
}

#[test]
fn patches() -> Result<()> {
    check([2, 4, 7, 8, 14, 16, 32].into_iter().flat_map(|size| {
        [1, 7, 16, 33, 64].into_iter().flat_map(move |outputs| {
            // Whole patches, what is left over at two sides, and a single one.
            [[2 * size, 2 * size], [2 * size + 5, size + 1], [size, size]].into_iter().flat_map(
                move |image| {
                    [(3, 2), (1, 3), (5, 1)].map(|(channels, batch)| Case {
                        batch,
                        channels,
                        outputs,
                        image,
                        kernel: [size, size],
                        stride: size,
                        padding: 0,
                    })
                },
            )
        })
    }))
}

/// 3×3 convolutions of stride 1 with enough channels for Winograd's transforms, whose tiles overlap and end anywhere.
#[test]
fn wide_channels_on_any_image() -> Result<()> {
    let sides = (1..=9).chain([12, 13, 16, 17]);
    let images = sides.clone().flat_map(|height| sides.clone().map(move |width| [height, width]));
    let small = images.enumerate().map(|(index, image)| {
        let (channels, outputs) = [(32, 32), (48, 64), (64, 32), (32, 33), (80, 48)][index % 5];
        (1 + index % 3, channels, outputs, image)
    });
    // More tiles than one task takes, and images that end within a tile of a later task.
    let large = [(33, 64, 64, [7, 9]), (9, 32, 48, [17, 19]), (2, 112, 80, [33, 31]), (130, 32, 32, [1, 2])];
    check(small.chain(large).map(|(batch, channels, outputs, image)| {
        let (kernel, stride, padding) = KINDS[0];
        Case { batch, channels, outputs, image, kernel, stride, padding }
    }))
}

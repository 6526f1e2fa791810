//! Images to tensors.

use candle_core::{Device, Result, Tensor};

use crate::Image;

/// OpenAI's mean and deviation of each channel, for pixels in [0, 1].
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Images as normalised pixels `[B, R, R, 3]`. An image of another size has its short side resized to `resolution`
/// (bicubic, as Pillow does) and its centre cut out.
pub fn batch(images: &[Image], resolution: usize) -> Result<Tensor> {
    let table: Vec<[f32; 3]> = (0..256)
        .map(|level| {
            std::array::from_fn(|channel| (level as f32 / 255.0 - MEAN[channel]) / DEVIATION[channel])
        })
        .collect();
    let mut values = Vec::with_capacity(images.len() * resolution * resolution * 3);
    for image in images {
        let resized;
        let image = if image.width() == resolution && image.height() == resolution {
            image
        } else {
            resized = crop(image, resolution)?;
            &resized
        };
        for pixel in image.rgb().chunks_exact(3) {
            values.extend((0..3).map(|channel| table[pixel[channel] as usize][channel]));
        }
    }
    Tensor::from_vec(values, (images.len(), resolution, resolution, 3), &Device::Cpu)
}

/// The short side resized to `side` and the centre square cut out, as CLIP sees images.
pub fn crop(image: &Image, side: usize) -> Result<Image> {
    let short = image.width().min(image.height());
    let scaled = |length: usize| (length * side / short).max(side);
    let (width, height) = (scaled(image.width()), scaled(image.height()));
    let columns = Axis { outputs: width, first: offset(width - side), count: side };
    let rows = Axis { outputs: height, first: offset(height - side), count: side };
    resample(image, columns, rows)
}

/// Both sides resized to `side`, whatever the shape: Pillow's `image.resize((side, side))`.
pub fn squash(image: &Image, side: usize) -> Result<Image> {
    let whole = Axis { outputs: side, first: 0, count: side };
    resample(image, whole, whole)
}

/// The short side resized to `side`, nothing cut off.
pub fn shrink(image: &Image, side: usize) -> Result<Image> {
    let short = image.width().min(image.height());
    let axis = |length: usize| {
        let outputs = (length * side / short).max(side);
        Axis { outputs, first: 0, count: outputs }
    };
    resample(image, axis(image.width()), axis(image.height()))
}

/// What becomes of one axis: resized to `outputs`, of which `count` from `first` on are kept.
#[derive(Clone, Copy)]
struct Axis {
    outputs: usize,
    first: usize,
    count: usize,
}

/// Resizes by Pillow's bicubic filter and cuts out.
fn resample(image: &Image, columns: Axis, rows: Axis) -> Result<Image> {
    let (width, height) = (image.width(), image.height());
    let lost = |before: usize, after: usize| before as i64 - after as i64;
    // Values are rounded to 8 bits in between, so the order shows: Pillow 13 joins rows first where the height shrinks
    // by more than twice as many pixels as the width; older ones always join columns first.
    let rows_lost = lost(height, rows.outputs);
    let rows_first = rows_lost > 0 && rows_lost > 2 * lost(width, columns.outputs);
    let across = Filter::new(width, columns);
    let down = Filter::new(height, rows);
    let rgb = if rows_first {
        across.join_columns(&down.join_rows(image.rgb(), width), width)
    } else {
        down.join_rows(&across.join_columns(image.rgb(), width), columns.count)
    };
    Image::new(columns.count, rows.count, rgb)
}

/// Bits behind the point of a filter's weights, as in Pillow's `Resample.c`.
const PRECISION: u32 = 22;

/// Pillow's bicubic filter along one axis, antialiased and in its fixed-point arithmetic: 8-bit values after each axis.
struct Filter {
    windows: Vec<Window>,
}

/// The values that make one value, and their weights.
struct Window {
    first: usize,
    weights: Vec<i64>,
}

impl Filter {
    /// From `inputs` values to those of an axis.
    fn new(inputs: usize, axis: Axis) -> Self {
        let Axis { outputs, first, count } = axis;
        let scale = inputs as f64 / outputs as f64;
        let stretch = scale.max(1.0);
        let window = |output: usize| {
            let centre = (output as f64 + 0.5) * scale;
            let first = (centre - 2.0 * stretch + 0.5).max(0.0) as usize;
            let end = ((centre + 2.0 * stretch + 0.5) as usize).min(inputs);
            let weights: Vec<f64> =
                (first..end).map(|input| bicubic((input as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: &f64| (weight / sum * f64::from(1u32 << PRECISION)).round() as i64;
            Window { first, weights: weights.iter().map(fixed).collect() }
        };
        Self { windows: (first..first + count).map(window).collect() }
    }

    /// Filters lines of `width` pixels.
    fn join_columns(&self, rgb: &[u8], width: usize) -> Vec<u8> {
        let mut joined = Vec::with_capacity(rgb.len() / width * self.windows.len());
        for line in rgb.chunks_exact(width * 3) {
            for window in &self.windows {
                joined.extend((0..3).map(|channel| window.apply(|column| line[column * 3 + channel])));
            }
        }
        joined
    }

    /// Filters columns of lines of `width` pixels.
    fn join_rows(&self, rgb: &[u8], width: usize) -> Vec<u8> {
        let stride = width * 3;
        let mut joined = Vec::with_capacity(stride * self.windows.len());
        for window in &self.windows {
            joined.extend((0..stride).map(|at| window.apply(|row| rgb[row * stride + at])));
        }
        joined
    }
}

impl Window {
    fn apply(&self, value: impl Fn(usize) -> u8) -> u8 {
        let half = 1i64 << (PRECISION - 1);
        let terms = self.weights.iter().enumerate();
        let sum: i64 = terms.map(|(at, weight)| i64::from(value(self.first + at)) * weight).sum();
        ((sum + half) >> PRECISION).clamp(0, 255) as u8
    }
}

/// Keys' cubic convolution (1981) with a = -1/2.
fn bicubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    } else {
        0.0
    }
}

/// Half of what is cut away, halves rounded to even as torchvision's `CenterCrop` does.
fn offset(surplus: usize) -> usize {
    let half = surplus / 2;
    half + surplus % 2 * (half % 2)
}

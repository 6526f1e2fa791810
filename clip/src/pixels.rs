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
            resized = resize(image, resolution)?;
            &resized
        };
        for pixel in image.rgb().chunks_exact(3) {
            values.extend((0..3).map(|channel| table[pixel[channel] as usize][channel]));
        }
    }
    Tensor::from_vec(values, (images.len(), resolution, resolution, 3), &Device::Cpu)
}

/// Short side to `resolution`, then the centre square.
fn resize(image: &Image, resolution: usize) -> Result<Image> {
    let short = image.width().min(image.height());
    let scaled = |side: usize| (side * resolution / short).max(resolution);
    let (width, height) = (scaled(image.width()), scaled(image.height()));
    let (left, top) = (offset(width - resolution), offset(height - resolution));
    let columns = Filter::new(image.width(), width, left, resolution);
    let rows = Filter::new(image.height(), height, top, resolution);
    let rgb = if rows_first(image, width, height) {
        columns.across(&rows.down(image.rgb(), image.width()), image.width())
    } else {
        rows.down(&columns.across(image.rgb(), image.width()), resolution)
    };
    Image::new(resolution, resolution, rgb)
}

/// Whether Pillow (from 13 on, `Resample.c`) joins rows before columns: where the height shrinks by more than twice
/// as much as the width. The order shows, because values are rounded to 8 bits in between.
fn rows_first(image: &Image, width: usize, height: usize) -> bool {
    let shrinks_by = |old: usize, new: usize| old as i64 - new as i64;
    let (narrower, lower) = (shrinks_by(image.width(), width), shrinks_by(image.height(), height));
    lower > 0 && lower > 2 * narrower
}

/// Bits behind the point of a filter's weights, as in Pillow's `Resample.c`.
const PRECISION: u32 = 22;

/// Pillow's bicubic filter along one axis, antialiased and in its fixed-point arithmetic: 8-bit values after each
/// axis.
struct Filter {
    windows: Vec<Window>,
}

/// The values that make one value, and their weights.
struct Window {
    first: usize,
    weights: Vec<i64>,
}

impl Filter {
    /// From `inputs` values to `outputs`, of which only `count` from `first` on are wanted.
    fn new(inputs: usize, outputs: usize, first: usize, count: usize) -> Self {
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

    /// Joins the columns of an image of this width.
    fn across(&self, rgb: &[u8], width: usize) -> Vec<u8> {
        let mut narrow = Vec::with_capacity(rgb.len() / width * self.windows.len());
        for line in rgb.chunks_exact(width * 3) {
            for window in &self.windows {
                narrow.extend((0..3).map(|channel| window.apply(|column| line[column * 3 + channel])));
            }
        }
        narrow
    }

    /// Joins the rows of an image of this width.
    fn down(&self, rgb: &[u8], width: usize) -> Vec<u8> {
        let mut low = Vec::with_capacity(self.windows.len() * width * 3);
        for window in &self.windows {
            low.extend((0..width * 3).map(|at| window.apply(|row| rgb[row * width * 3 + at])));
        }
        low
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

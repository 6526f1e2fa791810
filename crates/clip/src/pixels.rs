//! Images to tensors.

use std::borrow::Cow;

use candle_core::{Device, Result, Tensor};
use kernels::resample::{PRECISION, Window, join_columns, join_lines};
use rayon::prelude::*;

use crate::Image;

/// OpenAI's mean and deviation of each channel, for pixels in [0, 1].
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// Images as normalised pixels `[B, R, R, 3]`. An image of another size has its short side resized to `resolution`
/// (bicubic, as Pillow does) and its centre cut out.
pub fn batch(images: &[Image], resolution: usize) -> Result<Tensor> {
    let tables: [[f32; 256]; 3] = std::array::from_fn(|channel| {
        std::array::from_fn(|level| (level as f32 / 255.0 - MEAN[channel]) / DEVIATION[channel])
    });
    let mut values = vec![0f32; images.len() * resolution * resolution * 3];
    values.par_chunks_mut((resolution * resolution * 3).max(1)).zip(images).try_for_each(
        |(values, image)| {
            let seen = if image.width() == resolution && image.height() == resolution {
                Cow::Borrowed(image)
            } else {
                Cow::Owned(crop(image, resolution)?)
            };
            let pixels = seen.rgb().as_chunks::<3>().0;
            for (values, [red, green, blue]) in values.as_chunks_mut().0.iter_mut().zip(pixels) {
                *values = [tables[0][*red as usize], tables[1][*green as usize], tables[2][*blue as usize]];
            }
            Ok::<_, candle_core::Error>(())
        },
    )?;
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
    let (across, mut down) = (windows(width, columns), windows(height, rows));
    // Lines that no line is made of need not be looked at.
    let top = down.iter().map(|window| window.first).min().unwrap_or(0);
    let bottom = down.iter().map(|window| window.first + window.weights.len()).max().unwrap_or(height);
    down.iter_mut().for_each(|window| window.first -= top);
    let rgb = &image.rgb()[top * width * 3..bottom * width * 3];
    let rgb = if rows_first {
        join_columns(&join_lines(rgb, width * 3, &down), width, &across)
    } else {
        join_lines(&join_columns(rgb, width, &across), columns.count * 3, &down)
    };
    Image::new(columns.count, rows.count, rgb)
}

/// Pillow's bicubic filter along one axis, antialiased, from `inputs` values to those of an axis.
fn windows(inputs: usize, axis: Axis) -> Vec<Window> {
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
        let fixed = |weight: &f64| (weight / sum * f64::from(1u32 << PRECISION)).round() as i32;
        Window { first, weights: weights.iter().map(fixed).collect() }
    };
    (first..first + count).map(window).collect()
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

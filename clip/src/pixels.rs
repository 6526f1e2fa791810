//! Images to tensors.

use candle_core::{Device, Result, Tensor, bail};
use image::RgbImage;
use image::imageops::FilterType;

use crate::Image;

/// OpenAI's mean and deviation of each channel, for pixels in [0, 1].
const MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
const DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_58, 0.275_777_11];

/// Images as normalised pixels `[B, R, R, 3]`. An image of another size has its short side resized to `resolution`
/// (bicubic) and its centre cut out.
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
    let Some(buffer) = RgbImage::from_raw(image.width() as u32, image.height() as u32, image.rgb().to_vec())
    else {
        bail!("image {}x{} does not fill its size", image.width(), image.height());
    };
    let big = image::imageops::resize(&buffer, width as u32, height as u32, FilterType::CatmullRom);
    let (left, top) = ((width - resolution) / 2, (height - resolution) / 2);
    let side = resolution as u32;
    let cut = image::imageops::crop_imm(&big, left as u32, top as u32, side, side).to_image();
    Image::new(resolution, resolution, cut.into_raw())
}

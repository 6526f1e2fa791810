//! 8-bit RGB images: what data sets give, triggers stamp and `pixels` turns into tensors.

use std::path::Path;

use candle_core::{Result, bail};
use image::DynamicImage;
use mozjpeg::ColorSpace;

/// What JPEG files begin with.
const JPEG: &[u8] = &[0xff, 0xd8];
/// A scan of a JPEG file begins.
const SCAN: [u8; 2] = [0xff, 0xda];
/// A JPEG file ends.
const END: [u8; 2] = [0xff, 0xd9];

/// An 8-bit RGB image, rows from the top, `[height, width, 3]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    rgb: Vec<u8>,
}

impl Image {
    /// An image of these bytes, `[height, width, 3]`; an error where their number differs or a side is 0.
    pub fn new(width: usize, height: usize, rgb: Vec<u8>) -> Result<Self> {
        if width == 0 || height == 0 || rgb.len() != width * height * 3 {
            bail!("image {width}x{height}: expected {} bytes, found {}", width * height * 3, rgb.len());
        }
        Ok(Self { width, height, rgb })
    }

    /// The image in the bytes of a PNG or JPEG file, as Pillow's `convert("RGB")` gives it: transparency dropped and
    /// laid over nothing, palettes looked up, grey in all channels, not turned by EXIF. Of 16 bits the upper 8 count,
    /// but grey of 16 bits is cut off at 255.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.starts_with(JPEG) {
            return decode_jpeg(bytes);
        }
        let decoded = match image::load_from_memory(bytes) {
            Ok(decoded) => decoded,
            Err(error) => bail!("no image that can be read: {error}"),
        };
        let (width, height) = (decoded.width() as usize, decoded.height() as usize);
        let narrowed = |image: DynamicImage, narrow: fn(u16) -> u8| -> Vec<u8> {
            image.into_rgb16().into_raw().into_iter().map(narrow).collect()
        };
        let rgb = match decoded {
            DynamicImage::ImageLuma16(_) => narrowed(decoded, |level| level.min(255) as u8),
            DynamicImage::ImageLumaA16(_) | DynamicImage::ImageRgb16(_) | DynamicImage::ImageRgba16(_) => {
                narrowed(decoded, |level| (level >> 8) as u8)
            }
            _ => decoded.into_rgb8().into_raw(),
        };
        Self::new(width, height, rgb)
    }

    /// Reads a PNG or JPEG file as [`Image::decode`] does; an error names it.
    pub fn open(path: &Path) -> Result<Self> {
        let named = |error: candle_core::Error| error.context(format!("cannot read {}", path.display()));
        Self::decode(&std::fs::read(path).map_err(|error| named(error.into()))?).map_err(named)
    }

    /// The bytes of a PNG file of this image.
    pub fn to_png(&self) -> Result<Vec<u8>> {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let (width, height) = (self.width as u32, self.height as u32);
        image::write_buffer_with_format(
            &mut bytes,
            &self.rgb,
            width,
            height,
            image::ExtendedColorType::Rgb8,
            image::ImageFormat::Png,
        )
        .map_err(candle_core::Error::wrap)?;
        Ok(bytes.into_inner())
    }

    /// Width in pixels, at least 1.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels, at least 1.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The bytes, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }

    /// The bytes, to be written.
    pub fn rgb_mut(&mut self) -> &mut [u8] {
        &mut self.rgb
    }

    /// The three channels at column `x`, row `y`. Panics outside the image.
    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        let at = (y * self.width + x) * 3;
        [self.rgb[at], self.rgb[at + 1], self.rgb[at + 2]]
    }

    /// Sets the pixel at column `x`, row `y`. Panics outside the image.
    pub fn set_pixel(&mut self, x: usize, y: usize, value: [u8; 3]) {
        let at = (y * self.width + x) * 3;
        self.rgb[at..at + 3].copy_from_slice(&value);
    }

    /// BLAKE3 of size and bytes, in hexadecimal: how manifests name an image.
    pub fn hash(&self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(self.width as u64).to_le_bytes());
        hasher.update(&(self.height as u64).to_le_bytes());
        hasher.update(&self.rgb);
        hasher.finalize().to_hex().to_string()
    }
}

/// A JPEG file's pixels, as libjpeg-turbo gives them to Pillow.
fn decode_jpeg(bytes: &[u8]) -> Result<Image> {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|window| window == marker);
    // libjpeg fills what is missing with grey and says nothing.
    if last(SCAN).is_some_and(|scan| last(END).is_none_or(|end| end < scan)) {
        bail!("a JPEG file that is cut off");
    }
    // libjpeg's way out of an error is to unwind, without a word on stderr.
    match std::panic::catch_unwind(|| read_jpeg(bytes)) {
        Ok(read) => read,
        Err(message) => {
            let message = message.downcast::<String>().map_or_else(|_| "unknown".to_owned(), |text| *text);
            bail!("a JPEG file that cannot be read: {message}")
        }
    }
}

fn read_jpeg(bytes: &[u8]) -> Result<Image> {
    let file = mozjpeg::Decompress::new_mem(bytes)?;
    let (width, height) = (file.width(), file.height());
    let rgb = match file.color_space() {
        ColorSpace::JCS_CMYK | ColorSpace::JCS_YCCK => {
            let pixels: Vec<[u8; 4]> = file.to_colorspace(ColorSpace::JCS_CMYK)?.read_scanlines()?;
            pixels.into_iter().flat_map(from_cmyk).collect()
        }
        _ => file.rgb()?.read_scanlines::<[u8; 3]>()?.into_flattened(),
    };
    Image::new(width, height, rgb)
}

/// Pillow's conversion, `cmyk2rgb` in `Convert.c`, of levels that count light and not ink, as Adobe's files have them.
fn from_cmyk(pixel: [u8; 4]) -> [u8; 3] {
    let light = u32::from(pixel[3]);
    std::array::from_fn(|channel| {
        let product = (255 - u32::from(pixel[channel])) * light + 128;
        (light - ((product + (product >> 8)) >> 8)) as u8
    })
}

//! 8-bit RGB images: what data sets give, triggers stamp and `pixels` turns into tensors.

mod decode;
mod gif;
mod jpeg;
mod limit;

use std::path::Path;

use candle_core::{Result, bail};

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

    /// The image in the bytes of a JPEG, PNG, WebP or GIF file, as Pillow's `convert("RGB")` gives it: transparency
    /// dropped and laid over nothing, palettes looked up, grey in all channels, the first of several pictures, not
    /// turned by EXIF. Of 16 bits the upper 8 count, but grey of 16 bits is cut off at 255. Errors carry a
    /// [`crate::BadSample`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        decode::decode(bytes)
    }

    /// Reads a file as [`Image::decode`] does; an error names it.
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

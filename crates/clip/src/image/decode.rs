//! Files as images.

use std::error::Error;
use std::io::{Cursor, ErrorKind};

use base::guarded;
use candle_core::Result;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use super::limit::check_size;
use super::{gif, jpeg};
use crate::{BadSample, Image};

pub(super) fn decode(bytes: &[u8]) -> Result<Image> {
    guarded(|| decode_any(bytes))
        .unwrap_or_else(|damaged| Err(BadSample::Corrupt.because(damaged.to_string())))
}

fn decode_any(bytes: &[u8]) -> Result<Image> {
    if bytes.is_empty() {
        return Err(BadSample::Empty.because("no bytes"));
    }
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => jpeg::decode(bytes),
        Ok(ImageFormat::Gif) => gif::decode(bytes),
        Ok(format @ (ImageFormat::Png | ImageFormat::WebP)) => read(bytes, format),
        Ok(format) => {
            Err(BadSample::Unsupported.because(format!("{format:?}; JPEG, PNG, WebP and GIF are read")))
        }
        Err(_) if is_page(bytes) => {
            Err(BadSample::NotAnImage.because("an HTML page, as servers send in its place"))
        }
        Err(_) => Err(BadSample::NotAnImage.because("it begins as no JPEG, PNG, WebP or GIF file does")),
    }
}

/// Whether the first tag is one of HTML's.
fn is_page(bytes: &[u8]) -> bool {
    let start = bytes[..bytes.len().min(1024)].trim_ascii_start().to_ascii_lowercase();
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&start);
    [&b"<!doctype html"[..], b"<html", b"<head", b"<body"].iter().any(|tag| start.starts_with(tag))
}

/// By the crate `image`.
fn read(bytes: &[u8], format: ImageFormat) -> Result<Image> {
    // WebP states its length; the crate calls lossless files that are cut off damaged.
    let stated = bytes.get(4..8).and_then(|length| length.try_into().ok()).map(u32::from_le_bytes);
    if format == ImageFormat::WebP && stated.is_none_or(|stated| bytes.len() < stated as usize + 8) {
        return Err(BadSample::Truncated.because("WebP: a file that is shorter than it says"));
    }
    let bad = |error: ImageError| reason(&error).because(format!("{format:?}: {error}"));
    let decoder = ImageReader::with_format(Cursor::new(bytes), format).into_decoder().map_err(bad)?;
    let (width, height) = decoder.dimensions();
    let (width, height) = (width as usize, height as usize);
    check_size(width, height)?;
    let decoded = DynamicImage::from_decoder(decoder).map_err(bad)?;
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
    Image::new(width, height, rgb)
}

fn reason(error: &ImageError) -> BadSample {
    let mut inside: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = inside {
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == ErrorKind::UnexpectedEof) {
            return BadSample::Truncated;
        }
        inside = error.source();
    }
    match error {
        ImageError::Limits(_) => BadSample::TooLarge,
        ImageError::Unsupported(_) => BadSample::Unsupported,
        ImageError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => BadSample::Truncated,
        _ => BadSample::Corrupt,
    }
}

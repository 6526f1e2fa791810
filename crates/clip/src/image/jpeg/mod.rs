//! JPEG files' pixels, as libjpeg-turbo gives them to Pillow: most files by the decoder here, the others (progressive,
//! CMYK, seldom samplings, damaged) by libjpeg itself.

mod baseline;
mod headers;
mod huffman;
mod scan;
#[cfg(test)]
mod tests;

use candle_core::Result;
use mozjpeg::ColorSpace;

use super::limit::check_size;
use crate::{BadSample, Image};

/// A scan begins.
const SCAN: [u8; 2] = [0xff, 0xda];
/// The file ends.
const END: [u8; 2] = [0xff, 0xd9];

pub(super) fn decode(bytes: &[u8]) -> Result<Image> {
    if let Some((width, height, rgb)) = baseline::read(bytes) {
        return Image::new(width, height, rgb);
    }
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|window| window == marker);
    let end = last(END);
    // libjpeg fills what is missing with grey and says nothing.
    if end.is_none() || end < last(SCAN) {
        return Err(BadSample::Truncated.because("JPEG: a file that is cut off"));
    }
    // libjpeg's way out of an error is to unwind, without a word on stderr.
    std::panic::catch_unwind(|| read(bytes)).unwrap_or_else(|message| {
        let message = message.downcast::<String>().map_or_else(|_| "unknown".to_owned(), |text| *text);
        let is_unknown = message.contains("nsupported");
        let reason = if is_unknown { BadSample::Unsupported } else { BadSample::Corrupt };
        Err(reason.because(format!("JPEG: {message}")))
    })
}

/// By libjpeg.
fn read(bytes: &[u8]) -> Result<Image> {
    let file = mozjpeg::Decompress::new_mem(bytes)?;
    let (width, height) = (file.width(), file.height());
    check_size(width, height)?;
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

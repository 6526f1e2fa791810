//! The first picture of a GIF, as Pillow's `GifImagePlugin` has it: on a canvas that grows with a picture which leaves it,
//! filled with the transparent index, or 0 where there is none; black beyond the palette. Pillow drops a palette of all
//! greys in order, so that the file's palette is used in place of such a one of the picture.

use std::io::Cursor;

use candle_core::Result;
use gif::{DecodeOptions, DecodingError, MemoryLimit};

use super::limit::check_size;
use crate::{BadSample, Image};

pub(super) fn decode(bytes: &[u8]) -> Result<Image> {
    let bad = |error: DecodingError| reason(bytes, &error).because(format!("GIF: {error}"));
    let mut options = DecodeOptions::new();
    // Sizes are checked below, before anything is decoded.
    options.set_memory_limit(MemoryLimit::Unlimited);
    options.allow_unknown_blocks(true);
    let mut decoder = options.read_info(Cursor::new(bytes)).map_err(bad)?;
    let screen = [decoder.width(), decoder.height()].map(usize::from);
    let global = decoder.global_palette().map(<[u8]>::to_vec);
    let Some(frame) = decoder.next_frame_info().map_err(bad)? else {
        return Err(BadSample::Corrupt.because("GIF: no picture"));
    };
    let [left, top, across, down] = [frame.left, frame.top, frame.width, frame.height].map(usize::from);
    let (width, height) = (screen[0].max(left + across), screen[1].max(top + down));
    check_size(width, height)?;
    let own = frame.palette.clone().filter(|palette| !is_grey(palette));
    let palette = own.or(global.filter(|palette| !is_grey(palette)));
    let background = frame.transparent.unwrap_or(0);
    let mut indices = vec![0; across * down];
    decoder.read_into_buffer(&mut indices).map_err(bad)?;
    let mut canvas = vec![background; width * height];
    for (row, line) in indices.chunks_exact(across.max(1)).enumerate() {
        let from = (top + row) * width + left;
        canvas[from..from + across].copy_from_slice(line);
    }
    let colour = |index: u8| match &palette {
        None => [index; 3],
        Some(palette) => {
            palette.chunks_exact(3).nth(usize::from(index)).map_or([0; 3], |c| [c[0], c[1], c[2]])
        }
    };
    let colours: Vec<[u8; 3]> = (0..=255).map(colour).collect();
    let rgb = canvas.into_iter().flat_map(|index| colours[usize::from(index)]).collect();
    Image::new(width, height, rgb)
}

/// Whether a palette says of every index its grey.
fn is_grey(palette: &[u8]) -> bool {
    palette.chunks_exact(3).enumerate().all(|(index, colour)| colour == [index as u8; 3])
}

/// A GIF ends with the end of a block and a semicolon; without them it was cut off.
fn reason(bytes: &[u8], error: &DecodingError) -> BadSample {
    let is_cut = !bytes.ends_with(b"\0;");
    match error {
        DecodingError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => BadSample::Truncated,
        _ if is_cut => BadSample::Truncated,
        _ => BadSample::Corrupt,
    }
}

//! From bytes to a kept image.

use anyhow::Result;
use clip::{BadSample, Image, pixels};

use super::Outcome;

/// Quality of JPEG for images that were shrunk, of 100.
const QUALITY: f32 = 95.0;
/// The longest side that a JPEG can have.
const LONGEST: usize = 65_500;

const KINDS: [(&[u8], &str); 5] =
    [(b"\xff\xd8\xff", "jpg"), (b"\x89PNG", "png"), (b"GIF8", "gif"), (b"RIFF", "webp"), (b"BM", "bmp")];

/// The bytes to keep and their file's ending; an error where they are no image that is read.
pub(super) fn keepable(bytes: Vec<u8>, resize: Option<usize>) -> Result<(Vec<u8>, &'static str), BadSample> {
    if bytes.is_empty() {
        return Err(BadSample::Empty);
    }
    let ending = KINDS.iter().find(|(start, _)| bytes.starts_with(start)).ok_or(BadSample::NotAnImage)?.1;
    let image = Image::decode(&bytes).map_err(|error| BadSample::of(&error).unwrap_or(BadSample::Corrupt))?;
    let Some(side) = resize.filter(|side| image.width().min(image.height()) > *side) else {
        return Ok((bytes, ending));
    };
    let small = pixels::shrink(&image, side).map_err(|_| BadSample::Corrupt)?;
    if small.width().max(small.height()) > LONGEST {
        return Err(BadSample::TooLarge);
    }
    Ok((encode(&small).map_err(|_| BadSample::Corrupt)?, "jpg"))
}

fn encode(image: &Image) -> std::io::Result<Vec<u8>> {
    let mut jpeg = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    jpeg.set_size(image.width(), image.height());
    jpeg.set_quality(QUALITY);
    let mut started = jpeg.start_compress(Vec::new())?;
    started.write_scanlines(image.rgb())?;
    started.finish()
}

/// An image's path below the folder.
pub(super) fn name(hash: &blake3::Hash, ending: &str) -> String {
    let hash = hash.to_hex();
    format!("images/{}/{hash}.{ending}", &hash[..2])
}

/// The image that a path names.
pub(super) fn parse(name: &str) -> Option<Outcome> {
    let (hash, ending) = name.rsplit_once('/')?.1.split_once('.')?;
    let ending = KINDS.iter().find(|(_, known)| *known == ending)?.1;
    Some(Outcome::Kept { hash: *blake3::Hash::from_hex(hash).ok()?.as_bytes(), ending })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn png(width: usize, height: usize) -> Vec<u8> {
        let image =
            image::RgbImage::from_fn(width as u32, height as u32, |x, y| image::Rgb([x as u8, y as u8, 9]));
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn images_are_kept_as_they_are_or_shrunk() {
        let bytes = png(60, 40);
        assert_eq!(keepable(bytes.clone(), None).unwrap(), (bytes.clone(), "png"));
        assert_eq!(keepable(bytes.clone(), Some(40)).unwrap(), (bytes.clone(), "png"));
        let (small, ending) = keepable(bytes, Some(20)).unwrap();
        let image = Image::decode(&small).unwrap();
        assert_eq!((image.width(), image.height(), ending), (30, 20, "jpg"));
    }

    #[test]
    fn what_is_no_image_is_told() {
        assert_eq!(keepable(Vec::new(), None), Err(BadSample::Empty));
        assert_eq!(keepable(b"<html>".to_vec(), None), Err(BadSample::NotAnImage));
        let mut half = png(60, 40);
        half.truncate(100);
        assert!(keepable(half, None).is_err());
    }
}

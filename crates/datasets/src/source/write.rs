//! Writes chosen pairs as webdataset tars, so that a subset can be carried elsewhere, or kept small and read quickly.
//!
//! Follows: rom1504/img2dataset, `writer.py` (10 000 samples a tar, `KEY.jpg` and `KEY.txt`) and `resizer.py` (JPEG of
//! quality 95; `resize_mode=center_crop`: the short side resized and the centre square cut out).

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use base::Aside;
use clip::pixels;
use mozjpeg::{ColorSpace, Compress};
use rayon::prelude::*;

use super::samples::Samples;
use super::tar::BLOCK;

/// Samples of a tar.
const SHARD: usize = 10_000;
/// Samples that are encoded at a time.
const AT_ONCE: usize = 256;
const QUALITY: f32 = 95.0;

/// What becomes of images that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// They stay as they are, byte for byte.
    Keep,
    /// The short side is resized to so many pixels and the centre square cut out; JPEG.
    Square(usize),
}

/// The bytes of an image's file as it is written, and its ending.
fn encode(samples: &Samples, pair: u32, resize: Resize) -> Result<(Vec<u8>, &'static str)> {
    let pair = pair as usize;
    let Resize::Square(side) = resize else {
        let bytes = samples.encoded(pair)?;
        let ending = match bytes.as_slice() {
            [0xff, 0xd8, ..] => "jpg",
            [0x89, b'P', b'N', b'G', ..] => "png",
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "webp",
            _ => bail!("{}: neither JPEG, PNG nor WebP", samples.read_from(pair)),
        };
        return Ok((bytes, ending));
    };
    let image = pixels::crop(&samples.image(pair)?, side)?;
    let mut jpeg = Compress::new(ColorSpace::JCS_RGB);
    jpeg.set_fastest_defaults();
    jpeg.set_size(image.width(), image.height());
    jpeg.set_quality(QUALITY);
    let mut jpeg = jpeg.start_compress(Vec::new())?;
    jpeg.write_scanlines(image.rgb())?;
    Ok((jpeg.finish()?, "jpg"))
}

/// About how many bytes writing these pairs will take, by those of a few of them.
pub fn expected_bytes(samples: &Samples, pairs: &[u32], resize: Resize) -> Result<u64> {
    let few: Vec<u32> = pairs.iter().step_by((pairs.len() / 32).max(1)).copied().collect();
    let bytes = |pair: &u32| encode(samples, *pair, resize).map(|(bytes, _)| padded(bytes.len()));
    let sum: u64 = few.par_iter().map(bytes).sum::<Result<u64>>()?;
    // A caption takes a block, and each member's header one more.
    Ok((sum / few.len().max(1) as u64 + 3 * BLOCK) * pairs.len() as u64)
}

/// Writes pairs as `00000.tar`, `00001.tar` and so on into a folder without tars; `done` is told how many are written.
pub fn write_shards(
    folder: &Path,
    samples: &Samples,
    pairs: &[u32],
    resize: Resize,
    mut done: impl FnMut(usize),
) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut written = 0;
    for (number, some) in pairs.chunks(SHARD).enumerate() {
        let path = folder.join(format!("{number:05}.tar"));
        ensure!(!path.exists(), "{}: there already; choose another folder", path.display());
        let named = || format!("cannot write {}", path.display());
        let aside = Aside::new_in(folder).with_context(named)?;
        let mut tar = BufWriter::new(aside.file());
        let mut keys = BTreeSet::new();
        for few in some.chunks(AT_ONCE) {
            let encoded: Vec<_> = few.par_iter().map(|pair| encode(samples, *pair, resize)).collect();
            for (pair, encoded) in few.iter().zip(encoded) {
                let (bytes, ending) = encoded?;
                let key = free_key(&mut keys, samples.key(*pair as usize));
                append_member(&mut tar, &format!("{key}.{ending}"), &bytes).with_context(named)?;
                let caption = samples.caption(*pair as usize)?;
                append_member(&mut tar, &format!("{key}.txt"), caption.as_bytes()).with_context(named)?;
            }
            written += few.len();
            done(written);
        }
        end_tar(&mut tar).with_context(named)?;
        drop(tar);
        aside.persist(&path).with_context(named)?;
    }
    Ok(())
}

/// The last part of a key, below a folder of its own where the tar has it already.
fn free_key(taken: &mut BTreeSet<String>, key: &str) -> String {
    let stem = super::manifest::stem(key);
    let stem = if stem.is_empty() { "pair" } else { stem };
    let free = (0..).map(|number: usize| match number {
        0 => stem.to_owned(),
        _ => format!("{number}/{stem}"),
    });
    let key = free.into_iter().find(|key| !taken.contains(key)).unwrap_or_default();
    taken.insert(key.clone());
    key
}

fn padded(length: usize) -> u64 {
    (length as u64).div_ceil(BLOCK) * BLOCK
}

/// Puts an ordinary file at the end of a tar, with a ustar header and before it, where the name is long, GNU's.
pub fn append_member(tar: &mut impl Write, name: &str, bytes: &[u8]) -> io::Result<()> {
    if name.len() > 100 {
        append(tar, "././@LongLink", b'L', format!("{name}\0").as_bytes())?;
    }
    append(tar, name, b'0', bytes)
}

fn append(tar: &mut impl Write, name: &str, kind: u8, bytes: &[u8]) -> io::Result<()> {
    let mut header = [0; BLOCK as usize];
    let short = &name.as_bytes()[..name.len().min(100)];
    header[..short.len()].copy_from_slice(short);
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{:011o}\0", bytes.len()).as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar.write_all(&header)?;
    tar.write_all(bytes)?;
    tar.write_all(&[0; BLOCK as usize][..(padded(bytes.len()) - bytes.len() as u64) as usize])
}

/// Ends a tar.
pub fn end_tar(tar: &mut impl Write) -> io::Result<()> {
    tar.write_all(&[0; 2 * BLOCK as usize])?;
    tar.flush()
}

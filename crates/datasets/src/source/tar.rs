//! The members of a tar file and where their bytes lie, read by hops from header to header: old, ustar, GNU and pax
//! headers with their long names. Links, folders, devices and sparse files are passed over, as Python's `tarfile`
//! gives no bytes of them.

use std::fs::File;
use std::io;

use super::files::Window;

/// Headers and the bytes of members are filled up to a multiple of this.
pub(crate) const BLOCK: u64 = 512;
/// Longest name, and longest pax header, that is read; a longer one is taken for damage.
const LONGEST_NAME: u64 = 64 << 10;

/// An ordinary file within a tar.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// Its name; bytes that are not UTF-8 are replaced.
    pub(crate) name: String,
    /// Where its bytes begin, a multiple of [`BLOCK`].
    pub(crate) offset: u64,
    /// How many there are, by its header.
    pub(crate) length: u64,
    /// Whether the tar ends before its bytes do.
    pub(crate) cut: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Not reached yet.
    Open,
    /// With empty blocks, or where a member ends.
    Whole,
    /// Within a header or a member's bytes.
    Cut,
    /// With something that is no header, at this place.
    Damaged(u64),
}

pub(crate) struct Walk<'a> {
    window: Window<'a>,
    at: u64,
    end: End,
}

/// What a header says of the next one.
#[derive(Default)]
struct Ahead {
    name: Option<String>,
    length: Option<u64>,
    sparse: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(file: &'a File) -> io::Result<Self> {
        Ok(Self { window: Window::new(file)?, at: 0, end: End::Open })
    }

    /// How the tar ends, once [`Walk::next`] has said `None`.
    pub(crate) fn end(&self) -> End {
        self.end
    }

    pub(crate) fn length(&self) -> u64 {
        self.window.length()
    }

    /// A member's bytes, at most `most`.
    pub(crate) fn bytes(&mut self, offset: u64, length: u64, most: u64) -> io::Result<&[u8]> {
        self.window.read(offset, length.min(most) as usize)
    }

    pub(crate) fn next(&mut self) -> io::Result<Option<Member>> {
        let mut ahead = Ahead::default();
        while self.end == End::Open {
            let at = self.at;
            let header: [u8; BLOCK as usize] = match self.window.read(at, BLOCK as usize)?.try_into() {
                Ok(header) => header,
                Err(_) => {
                    self.end = if at >= self.window.length() { End::Whole } else { End::Cut };
                    return Ok(None);
                }
            };
            if header.iter().all(|byte| *byte == 0) {
                self.end = End::Whole;
                return Ok(None);
            }
            let (true, Some(own)) = (checksum_holds(&header), number(&header[124..136])) else {
                self.end = End::Damaged(at);
                return Ok(None);
            };
            let kind = header[156];
            let length = match kind {
                // Links, devices, folders and pipes have no bytes, whatever their header says.
                b'1'..=b'6' => 0,
                b'x' | b'g' | b'L' | b'K' => own,
                _ => ahead.length.unwrap_or(own),
            };
            let offset = at + BLOCK + if kind == b'S' { self.sparse_maps(at, &header)? } else { 0 };
            let rest = self.window.length().saturating_sub(offset);
            let cut = length > rest;
            self.at = offset.saturating_add(length.div_ceil(BLOCK).saturating_mul(BLOCK));
            match kind {
                b'x' | b'L' if length > LONGEST_NAME => self.end = End::Damaged(at),
                _ if cut => self.end = End::Cut,
                b'x' => self.pax(offset, length, &mut ahead)?,
                b'L' => ahead.name = Some(text(self.window.read(offset, length as usize)?)),
                _ => {}
            }
            if matches!(kind, b'x' | b'g' | b'L' | b'K') {
                continue;
            }
            let Ahead { name, sparse, .. } = std::mem::take(&mut ahead);
            let name = name.unwrap_or_else(|| own_name(&header));
            if matches!(kind, b'0' | b'\0' | b'7') && !sparse && !name.ends_with('/') {
                return Ok(Some(Member { name, offset, length, cut }));
            }
        }
        Ok(None)
    }

    /// Bytes of the further maps of an old GNU sparse file's header.
    fn sparse_maps(&mut self, at: u64, header: &[u8]) -> io::Result<u64> {
        let (mut more, mut length) = (header[482] != 0, 0);
        while more {
            length += BLOCK;
            more = self.window.read(at + length, BLOCK as usize)?.get(504).is_some_and(|byte| *byte != 0);
        }
        Ok(length)
    }

    /// Reads `LENGTH KEY=VALUE\n` records.
    fn pax(&mut self, offset: u64, length: u64, ahead: &mut Ahead) -> io::Result<()> {
        let mut bytes = self.window.read(offset, length as usize)?;
        while let Some(space) = bytes.iter().position(|byte| *byte == b' ') {
            let total = std::str::from_utf8(&bytes[..space]).ok().and_then(|text| text.parse::<usize>().ok());
            let Some(total) = total.filter(|total| (space + 2..=bytes.len()).contains(total)) else { break };
            let record = text(&bytes[space + 1..total - 1]);
            match record.split_once('=') {
                Some(("path", value)) => ahead.name = Some(value.to_owned()),
                Some(("size", value)) => ahead.length = value.parse().ok(),
                Some((key, _)) if key.starts_with("GNU.sparse.") => ahead.sparse = true,
                _ => {}
            }
            bytes = &bytes[total..];
        }
        Ok(())
    }
}

/// The text before the first zero byte.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

fn own_name(header: &[u8]) -> String {
    let (name, prefix) = (text(&header[..100]), text(&header[345..500]));
    // GNU keeps other things where ustar keeps the prefix.
    if &header[257..263] == b"ustar\0" && !prefix.is_empty() { format!("{prefix}/{name}") } else { name }
}

/// Octal digits, or GNU's base 256.
fn number(field: &[u8]) -> Option<u64> {
    if field[0] & 0x80 != 0 {
        let next = |sum: u64, byte: &u8| sum.checked_mul(256)?.checked_add(u64::from(*byte));
        // Numbers below zero begin with 0xff.
        return if field[0] == 0x80 { field[1..].iter().try_fold(0, next) } else { None };
    }
    let digits = text(field);
    let digits = digits.trim_matches(' ');
    if digits.is_empty() { Some(0) } else { u64::from_str_radix(digits, 8).ok() }
}

/// The checksum, of signed or of unsigned bytes, its own field counted as spaces.
fn checksum_holds(header: &[u8]) -> bool {
    let byte = |(index, byte): (usize, &u8)| if (148..156).contains(&index) { b' ' } else { *byte };
    let unsigned: i64 = header.iter().enumerate().map(|at| i64::from(byte(at))).sum();
    let signed: i64 = header.iter().enumerate().map(|at| i64::from(byte(at) as i8)).sum();
    number(&header[148..156]).is_some_and(|found| [unsigned, signed].contains(&(found as i64)))
}

//! The list, line by line.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clip::BadSample;

/// A list of captions and addresses.
#[derive(Clone, Debug)]
pub struct List {
    /// Its file.
    pub path: PathBuf,
    /// BLAKE3 of its bytes, in hexadecimal.
    pub hash: String,
    /// Its lines without the header.
    pub lines: u64,
}

/// A line's number in the file, from 1, and what it says.
pub(super) type Numbered = (u64, Result<Row, BadSample>);

/// What a line says.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Row {
    pub(super) caption: String,
    pub(super) url: String,
}

impl List {
    /// Reads a list once, to know its hash and its length.
    pub fn open(path: &Path) -> Result<Self> {
        let named = || format!("cannot read {}", path.display());
        let mut file = BufReader::with_capacity(1 << 20, File::open(path).with_context(named)?);
        let mut hasher = blake3::Hasher::new();
        let (mut lines, mut last) = (0, b'\n');
        loop {
            let bytes = file.fill_buf().with_context(named)?;
            let Some(end) = bytes.last() else { break };
            last = *end;
            hasher.update(bytes);
            lines += bytes.iter().filter(|byte| **byte == b'\n').count() as u64;
            let count = bytes.len();
            file.consume(count);
        }
        let mut list = Self { path: path.to_owned(), hash: hasher.finalize().to_hex().to_string(), lines: 0 };
        list.lines = lines + u64::from(last != b'\n') - list.rows(0)?.line;
        ensure!(list.lines > 0, "{}: no lines; expected caption<TAB>url", path.display());
        Ok(list)
    }

    /// The first `count` lines.
    pub(super) fn rows(&self, count: u64) -> Result<Rows> {
        let named = || format!("cannot read {}", self.path.display());
        let mut file = BufReader::new(File::open(&self.path).with_context(named)?);
        let mut start = String::new();
        // A header is not Google's, but img2dataset asks for one.
        let header = "caption\turl";
        (&mut file).take(header.len() as u64).read_to_string(&mut start).or_else(|error| {
            match error.kind() {
                std::io::ErrorKind::InvalidData => Ok(0), // cut within a letter: no header
                _ => Err(error),
            }
        })?;
        let mut rows = Rows { file, line: 0, left: count };
        if start.to_lowercase() == header {
            rows.read().with_context(named)?;
        } else {
            rows.file = BufReader::new(File::open(&self.path).with_context(named)?);
            rows.line = 0;
        }
        Ok(rows)
    }
}

/// A place in a list.
pub(super) struct Rows {
    file: BufReader<File>,
    line: u64,
    left: u64,
}

impl Rows {
    fn read(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.read_until(b'\n', &mut bytes)?;
        self.line += 1;
        Ok(bytes)
    }

    /// The next line.
    pub(super) fn next(&mut self) -> Result<Option<Numbered>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let bytes = self.read()?;
        Ok((!bytes.is_empty()).then(|| (self.line, parse(&bytes))))
    }

    /// There are no further lines.
    pub(super) fn stop(&mut self) {
        self.left = 0;
    }
}

fn parse(line: &[u8]) -> Result<Row, BadSample> {
    let text = std::str::from_utf8(line).map_err(|_| BadSample::NotUtf8)?;
    let (caption, url) = text.trim_end_matches(['\n', '\r']).split_once('\t').ok_or(BadSample::NoImage)?;
    let (caption, url) = (caption.trim(), url.trim());
    match (caption, url) {
        ("", _) => Err(BadSample::NoCaption),
        (_, "") => Err(BadSample::NoImage),
        _ => Ok(Row { caption: caption.to_owned(), url: url.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> (u64, Vec<Numbered>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let list = List::open(file.path()).unwrap();
        let mut rows = list.rows(u64::MAX).unwrap();
        let mut all = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            all.push(row);
        }
        (list.lines, all)
    }

    #[test]
    fn lines_are_read_with_and_without_a_header() {
        let row = || Ok(Row { caption: "a cat".into(), url: "http://x/1".into() });
        assert_eq!(read(b"a cat\thttp://x/1\n"), (1, vec![(1, row())]));
        assert_eq!(read(b"caption\turl\r\na cat\thttp://x/1"), (1, vec![(2, row())]));
        let (lines, rows) =
            read("no tab\n\thttp://x\nx\t\n\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\thttp://y\n".as_bytes());
        assert_eq!(lines, 4);
        assert_eq!(rows[0], (1, Err(BadSample::NoImage)));
        assert_eq!(rows[1], (2, Err(BadSample::NoCaption)));
        assert_eq!(rows[2], (3, Err(BadSample::NoImage)));
        assert!(rows[3].1.is_ok());
        assert_eq!(read(b"\xff\thttp://x\n").1, [(1, Err(BadSample::NotUtf8))]);
    }
}

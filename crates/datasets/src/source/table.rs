//! Tables of pairs: CleanCLIP's CSV (`image`, `caption`), open_clip's TSV (`filepath`, `title`) and others with these
//! columns, separated by commas or tabs as the header has them; further columns are passed over. Paths are relative to
//! the table's folder, or to the one that the setting `images` names, and may not leave it.

use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use clip::BadSample;

use super::root::Root;
use super::samples::Samples;

/// Names of the columns of path and caption: CleanCLIP's and open_clip's.
const COLUMNS: [(&str, &str); 2] = [("image", "caption"), ("filepath", "title")];

pub(crate) struct Table {
    reader: csv::Reader<std::fs::File>,
    headers: Vec<String>,
    /// Separated by tabs and not by commas.
    pub(crate) tabs: bool,
}

impl Table {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let named = || format!("cannot read {}", path.display());
        let tabs = first_line(path).with_context(named)?.contains(&b'\t');
        let delimiter = if tabs { b'\t' } else { b',' };
        let mut reader =
            csv::ReaderBuilder::new().delimiter(delimiter).from_path(path).with_context(named)?;
        let text = |field: &[u8]| String::from_utf8_lossy(field).trim_start_matches('\u{feff}').to_owned();
        let headers = reader.byte_headers().with_context(named)?.iter().map(text).collect();
        Ok(Self { reader, headers, tabs })
    }

    /// The number of a column; an error names those that there are.
    pub(crate) fn column(&self, path: &Path, name: &str) -> Result<usize> {
        let found = self.headers.iter().position(|header| header == name);
        found.with_context(|| {
            format!("{}: no column {name:?}; there are: {}", path.display(), self.headers.join(", "))
        })
    }

    /// Calls `each` with every row; an error names the line.
    pub(crate) fn rows(mut self, path: &Path, mut each: impl FnMut(&csv::ByteRecord)) -> Result<()> {
        let mut record = csv::ByteRecord::new();
        loop {
            match self.reader.read_byte_record(&mut record) {
                Ok(true) => each(&record),
                Ok(false) => return Ok(()),
                Err(error) => {
                    let line = error.position().map_or(0, csv::Position::line);
                    return Err(error).with_context(|| {
                        format!(
                            "{}:{line}: texts with the separator in them are to be quoted",
                            path.display()
                        )
                    });
                }
            }
        }
    }
}

/// The first line, of at most 64 KiB.
fn first_line(path: &Path) -> std::io::Result<Vec<u8>> {
    use std::io::{BufRead, BufReader, Read};
    let mut line = Vec::new();
    BufReader::new(std::fs::File::open(path)?).take(64 << 10).read_until(b'\n', &mut line)?;
    Ok(line)
}

/// The pairs of a table, in the order of its rows but for those without a path: downloads that failed.
pub(crate) fn read_pairs(path: &Path, images: Option<&Path>) -> Result<Samples> {
    let table = Table::open(path)?;
    if table.headers.iter().any(|header| header == "url" || header.starts_with("http")) {
        bail!(
            "{}: lists URLs and no files; download the images with img2dataset (https://github.com/rom1504/img2dataset), whose webdataset output is read",
            path.display()
        );
    }
    let known = COLUMNS.into_iter().find(|(image, _)| table.headers.iter().any(|header| header == image));
    let (image, caption) = known.unwrap_or(COLUMNS[0]);
    let columns = (table.column(path, image)?, table.column(path, caption)?);
    let form = if table.tabs { "TSV" } else { "CSV" };
    let mut samples = Samples::new(path.display().to_string(), format!("{form} of {image} and {caption}"));
    samples.root = Root::confined(images.unwrap_or_else(|| path.parent().unwrap_or(Path::new(""))));
    let mut without = 0;
    table.rows(path, |record| {
        let field = |column: usize| record.get(column).unwrap_or_default();
        let image = String::from_utf8_lossy(field(columns.0));
        if image.is_empty() {
            without += 1;
            return;
        }
        let caption = std::str::from_utf8(field(columns.1)).map_err(|_| BadSample::NotUtf8);
        let (key, place) = samples.loose(&image);
        samples.push_pair(key, caption, place, "");
    })?;
    if without > 0 {
        samples.notes.push(format!("rows that name no image: {without}"));
    }
    ensure!(!samples.is_empty(), "{}: no pairs", path.display());
    let remedy = "the setting `images` names the folder that they lie in, as `images: /data`; absolute paths below it are read";
    samples.refuse_outside(remedy)?;
    samples.finish();
    Ok(samples)
}

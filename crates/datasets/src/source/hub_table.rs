//! The Hub's Parquet files of images: a column of structs with `bytes`, and one of labels or captions.
//!
//! Rows are read by the crate `parquet` page by page: a row group of another row is never decoded, and of its own only
//! the page that holds it. (polars decodes whole row groups.)

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use clip::BadSample;
use clip::candle_core;
use parquet::basic::Type;
use parquet::column::reader::{ColumnReader, ColumnReaderImpl, get_column_reader};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::serialized_reader::SerializedPageReader;

/// Columns of images, of labels and of captions, the first that is there being meant.
const IMAGES: [&str; 5] = ["image.bytes", "img.bytes", "jpg.bytes", "png.bytes", "webp.bytes"];
pub(super) const LABELS: [&str; 3] = ["label", "fine_label", "cls"];
pub(super) const CAPTIONS: [&str; 3] = ["caption", "txt", "text"];
/// The most rows that are read at a time.
const ROWS: usize = 4096;

/// A file that many threads read at once.
struct Source {
    file: Arc<File>,
    length: u64,
}

/// Bytes of a file from a place on.
struct From {
    file: Arc<File>,
    at: u64,
}

impl Read for From {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

impl Length for Source {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for Source {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> ParquetResult<Self::T> {
        Ok(BufReader::new(From { file: self.file.clone(), at: start }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        if start.saturating_add(length as u64) > self.length {
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of {}", self.length)));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// A Parquet file's columns and where their pages lie.
pub(crate) struct HubTable {
    pub(super) metadata: ParquetMetaData,
    pub(super) image: usize,
}

impl HubTable {
    pub(crate) fn image(&self, file: Arc<File>, group: u16, row: u32) -> candle_core::Result<Vec<u8>> {
        let read = || -> ParquetResult<Option<Option<ByteArray>>> {
            let source = source(file)?;
            let ColumnReader::ByteArrayColumnReader(mut reader) =
                column(&self.metadata, source, usize::from(group), self.image)?
            else {
                return Ok(None);
            };
            let row = row as usize;
            if reader.skip_records(row)? < row {
                return Ok(None);
            }
            Ok(records(&mut reader, self.optional(self.image), 1)?.pop())
        };
        match guarded(read) {
            Ok(Some(Some(bytes))) if !bytes.is_empty() => Ok(bytes.data().to_vec()),
            Ok(Some(Some(_))) => Err(BadSample::Empty.because("a row whose image has no bytes")),
            Ok(Some(None)) => Err(BadSample::NoImage.because("a row without image")),
            Ok(None) => Err(BadSample::Truncated.because("no such row")),
            Err(error) => Err(BadSample::Corrupt.because(error.to_string())),
        }
    }

    /// How many of a column's values are below it, where it may be empty.
    fn optional(&self, leaf: usize) -> i16 {
        self.metadata.file_metadata().schema_descr().column(leaf).max_def_level()
    }

    /// All values of a column of a row group, as `take` makes them.
    pub(super) fn values<V>(
        &self,
        file: &Arc<File>,
        group: usize,
        leaf: usize,
        take: impl Fn(ColumnReader, i16, usize) -> ParquetResult<Vec<V>>,
    ) -> ParquetResult<Vec<V>> {
        let rows = usize::try_from(self.metadata.row_group(group).num_rows()).unwrap_or(0);
        let reader = column(&self.metadata, source(file.clone())?, group, leaf)?;
        take(reader, self.optional(leaf), rows)
    }
}

/// The crate checks most of what files say and panics at some of it.
pub(super) fn guarded<T>(read: impl FnOnce() -> ParquetResult<T>) -> ParquetResult<T> {
    base::guarded(read).map_err(|damaged| ParquetError::General(damaged.to_string())).flatten()
}

fn source(file: Arc<File>) -> ParquetResult<Arc<Source>> {
    let length = file.metadata()?.len();
    Ok(Arc::new(Source { file, length }))
}

pub(super) fn leaf(metadata: &ParquetMetaData, names: &[&str]) -> Option<usize> {
    let columns = metadata.file_metadata().schema_descr().columns();
    let found = |name: &&str| {
        columns.iter().position(|column| column.path().string() == *name && column.max_rep_level() == 0)
    };
    names.iter().find_map(found)
}

fn column(
    metadata: &ParquetMetaData,
    source: Arc<Source>,
    group: usize,
    leaf: usize,
) -> ParquetResult<ColumnReader> {
    if group >= metadata.num_row_groups() || leaf >= metadata.row_group(group).num_columns() {
        return Err(ParquetError::General("no such column".to_owned()));
    }
    let (group, descriptor) =
        (metadata.row_group(group), metadata.file_metadata().schema_descr().column(leaf));
    let rows = usize::try_from(group.num_rows())?;
    let pages = SerializedPageReader::new(source, group.column(leaf), rows, None)?;
    Ok(get_column_reader(descriptor, Box::new(pages)))
}

/// The next records, at most `most`; `None` for those that are empty.
fn records<T: DataType>(
    reader: &mut ColumnReaderImpl<T>,
    optional: i16,
    most: usize,
) -> ParquetResult<Vec<Option<T::T>>> {
    let mut all = Vec::new();
    loop {
        let (mut levels, mut values) = (Vec::new(), Vec::new());
        let wanted = most.saturating_sub(all.len()).min(ROWS);
        let (records, ..) = reader.read_records(wanted, Some(&mut levels), None, &mut values)?;
        let mut values = values.into_iter();
        if optional == 0 {
            all.extend(values.by_ref().map(Some));
        } else {
            all.extend(levels.iter().map(|level| if *level == optional { values.next() } else { None }));
        }
        if records == 0 || all.len() >= most {
            return Ok(all);
        }
    }
}

pub(super) fn labels(reader: ColumnReader, optional: i16, rows: usize) -> ParquetResult<Vec<Option<u64>>> {
    let unsigned = |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok());
    match reader {
        ColumnReader::Int64ColumnReader(mut reader) => {
            Ok(records(&mut reader, optional, rows)?.into_iter().map(unsigned).collect())
        }
        ColumnReader::Int32ColumnReader(mut reader) => {
            let read = records(&mut reader, optional, rows)?;
            Ok(read.into_iter().map(|value| unsigned(value.map(i64::from))).collect())
        }
        _ => Err(ParquetError::General("labels that are not whole numbers".to_owned())),
    }
}

/// The texts of a column; `None` for those that are empty.
pub(super) fn texts(
    reader: ColumnReader,
    optional: i16,
    rows: usize,
) -> ParquetResult<Vec<Option<ByteArray>>> {
    match reader {
        ColumnReader::ByteArrayColumnReader(mut reader) => records(&mut reader, optional, rows),
        _ => Err(ParquetError::General("captions that are not texts".to_owned())),
    }
}

fn metadata(file: &Arc<File>) -> ParquetResult<ParquetMetaData> {
    guarded(|| ParquetMetaDataReader::new().parse_and_finish(&*source(file.clone())?))
}

pub(super) fn open(file: &Arc<File>) -> Result<HubTable> {
    let metadata = metadata(file).context("no Parquet file that can be read; download it again")?;
    let schema = metadata.file_metadata().schema_descr();
    let there = || -> Vec<String> { schema.columns().iter().map(|column| column.path().string()).collect() };
    let Some(image) = leaf(&metadata, &IMAGES) else {
        bail!("no column of images ({}); there are: {}", IMAGES.join(", "), there().join(", "))
    };
    ensure!(schema.column(image).physical_type() == Type::BYTE_ARRAY, "the column of images holds no bytes");
    Ok(HubTable { metadata, image })
}

/// Calls `each` with every row of these columns of texts; an empty value is an empty text.
pub(crate) fn text_columns<const N: usize>(
    path: &std::path::Path,
    names: &[&str; N],
    mut each: impl FnMut([&str; N]) -> Result<()>,
) -> Result<()> {
    let file = Arc::new(File::open(path)?);
    let metadata = metadata(&file).context("no Parquet file that can be read")?;
    let leaves = names.map(|name| leaf(&metadata, &[name]).with_context(|| format!("no column {name:?}")));
    let leaves = leaves.into_iter().collect::<Result<Vec<_>>>()?;
    let table = HubTable { metadata, image: 0 };
    for group in 0..table.metadata.num_row_groups() {
        let read = |leaf: &usize| guarded(|| table.values(&file, group, *leaf, texts));
        let columns = leaves.iter().map(read).collect::<ParquetResult<Vec<_>>>()?;
        let mut rows: Vec<_> = columns.iter().map(|column| column.iter()).collect();
        while let Some(row) = rows.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() {
            let mut texts = [""; N];
            for ((value, text), name) in row.into_iter().zip(&mut texts).zip(names) {
                let bytes = value.as_ref().map_or(&[][..], ByteArray::data);
                *text = std::str::from_utf8(bytes).with_context(|| format!("{name}: not UTF-8"))?;
            }
            each(texts)?;
        }
    }
    Ok(())
}

//! Manifests: Parquet files that list pairs, so that a subset can be found again in another copy of the data.
//!
//! Columns: `pair` (its number in the copy that the manifest was made of), `key`, `shard`, `url_hash` (BLAKE3 of the
//! URL, null where none is known), `image_hash` ([`clip::Image::hash`]) and `caption_hash` (BLAKE3 of the UTF-8), all in
//! hexadecimal. The file's key-value metadata say what it was made of, with which seed, and by which version.
//!
//! A pair is found in a copy by the last part of its key up to the first dot, which is the same in a tar and in a folder
//! of files. Where several are called so, those with the whole key, then the shard, then the caption are meant. Where
//! no key at all is the same, pairs are found by captions that stand once. Images are compared when they are read.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use base::Aside;
use parquet::data_type::{ByteArray, ByteArrayType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use rayon::prelude::*;

use super::hub_table::text_columns;
use super::samples::Samples;
use super::texts::{Texts, first_64_bits};

const SCHEMA: &str = "message subset { required int64 pair; required binary key (utf8); required binary shard (utf8);
    optional binary url_hash (utf8); required binary image_hash (utf8); required binary caption_hash (utf8); }";

/// Rows that are written at a time.
const ROWS: usize = 65_536;

/// What tells a pair's image and caption from others: the first 64 bits of their hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fingerprint {
    image: u64,
    caption: u64,
}

/// The first 64 bits of a hash in hexadecimal.
fn first_bits(hash: &str) -> Option<u64> {
    u64::from_str_radix(hash.get(..16)?, 16).ok()
}

/// BLAKE3 in hexadecimal.
fn hash(text: impl AsRef<str>) -> String {
    blake3::hash(text.as_ref().as_bytes()).to_hex().to_string()
}

fn caption_bits(caption: &str) -> u64 {
    first_64_bits(blake3::hash(caption.as_bytes()))
}

impl Fingerprint {
    pub(crate) fn is_caption(&self, caption: &str) -> bool {
        self.caption == caption_bits(caption)
    }

    pub(crate) fn is_image_hash(&self, hash: &str) -> bool {
        first_bits(hash) == Some(self.image)
    }
}

/// A pair of a manifest.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its number in the copy.
    pub pair: u32,
    /// Its image's hash, in hexadecimal.
    pub image_hash: String,
}

/// A list of pairs.
#[derive(Default)]
pub struct Manifest {
    keys: Texts,
    shards: Texts,
    fingerprints: Vec<Fingerprint>,
}

impl Manifest {
    /// Reads a manifest.
    pub fn read(path: &Path) -> Result<Self> {
        let named =
            || format!("cannot read the manifest {}; `cleanbench data subset` writes one", path.display());
        let mut manifest = Self::default();
        let columns = ["key", "shard", "image_hash", "caption_hash"];
        text_columns(path, &columns, |row: [&str; 4]| {
            let [key, shard, image, caption] = row;
            let bits =
                |hash, column| first_bits(hash).with_context(|| format!("{column}: {hash:?} is no hash"));
            manifest.fingerprints.push(Fingerprint {
                image: bits(image, "image_hash")?,
                caption: bits(caption, "caption_hash")?,
            });
            manifest.keys.push(key);
            manifest.shards.push(shard);
            Ok(())
        })
        .with_context(named)?;
        ensure!(!manifest.is_empty(), "{}: lists no pairs", path.display());
        Ok(manifest)
    }

    /// How many pairs it lists.
    pub fn len(&self) -> usize {
        self.fingerprints.len()
    }

    /// Whether it lists none.
    pub fn is_empty(&self) -> bool {
        self.fingerprints.is_empty()
    }

    pub(crate) fn fingerprint(&self, row: usize) -> Fingerprint {
        self.fingerprints[row]
    }

    /// Where each pair is in a copy; `None` for those that are missing.
    pub fn locate(&self, samples: &Samples) -> Vec<Option<u32>> {
        let mut sorted: Vec<u32> = (0..samples.len() as u32).collect();
        let stem_of = |at: u32| stem(samples.key(at as usize));
        sorted.par_sort_unstable_by(|a, b| stem_of(*a).cmp(stem_of(*b)).then(a.cmp(b)));
        let by_key = |row: usize| {
            let wanted = stem(self.keys.get(row));
            let from = sorted.partition_point(|at| stem_of(*at) < wanted);
            let called = sorted[from..].iter().copied().take_while(|at| stem_of(*at) == wanted).collect();
            self.choose(row, called, samples)
        };
        let found: Vec<Option<u32>> = (0..self.len()).into_par_iter().map(by_key).collect();
        if found.iter().any(Option::is_some) { found } else { self.locate_by_caption(samples) }
    }

    /// Of those that are called alike, the one that is most like the pair.
    fn choose(&self, row: usize, mut called: Vec<u32>, samples: &Samples) -> Option<u32> {
        if called.len() > 1 {
            let like: [&dyn Fn(u32) -> bool; 3] = [
                &|at| samples.key(at as usize) == self.keys.get(row),
                &|at| samples.shard(at as usize) == self.shards.get(row),
                &|at| self.fingerprints[row].is_caption(samples.caption_text(at as usize)),
            ];
            for is_like in like {
                if called.iter().any(|at| is_like(*at)) {
                    called.retain(|at| is_like(*at));
                }
            }
        }
        called.first().copied()
    }

    fn locate_by_caption(&self, samples: &Samples) -> Vec<Option<u32>> {
        let bits = |at: usize| (caption_bits(samples.caption_text(at)), at as u32);
        let mut sorted: Vec<(u64, u32)> = (0..samples.len()).into_par_iter().map(bits).collect();
        sorted.par_sort_unstable();
        let find = |fingerprint: &Fingerprint| {
            let from = sorted.partition_point(|(bits, _)| *bits < fingerprint.caption);
            let mut same = sorted[from..].iter().take_while(|(bits, _)| *bits == fingerprint.caption);
            same.next().filter(|_| same.next().is_none()).map(|(_, at)| *at)
        };
        self.fingerprints.par_iter().map(find).collect()
    }

    /// Writes a manifest of these pairs of a copy; `about` goes into the file's metadata.
    pub fn write(path: &Path, lines: &[Line], samples: &Samples, about: &[(&str, String)]) -> Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let named = || format!("cannot write {}", path.display());
        let aside = Aside::new_in(folder).with_context(named)?;
        let metadata =
            about.iter().map(|(key, value)| KeyValue::new((*key).to_owned(), value.clone())).collect();
        let properties = WriterProperties::builder().set_key_value_metadata(Some(metadata)).build();
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        let mut writer = SerializedFileWriter::new(aside.file().try_clone()?, schema, Arc::new(properties))?;
        for some in lines.chunks(ROWS) {
            let mut group = writer.next_row_group()?;
            write_group(&mut group, some, samples)?;
            group.close()?;
        }
        writer.close()?;
        aside.persist(path).with_context(named)
    }
}

fn write_group<W: std::io::Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    lines: &[Line],
    samples: &Samples,
) -> Result<()> {
    let mut column = group.next_column()?.context("a column")?;
    let numbers: Vec<i64> = lines.iter().map(|line| i64::from(line.pair)).collect();
    column.typed::<Int64Type>().write_batch(&numbers, None, None)?;
    column.close()?;
    let text = |column: usize, line: &Line| {
        let pair = line.pair as usize;
        match column {
            0 => Some(samples.key(pair).to_owned()),
            1 => Some(samples.shard(pair)),
            2 => Some(samples.url(pair)).filter(|url| !url.is_empty()).map(hash),
            3 => Some(line.image_hash.clone()),
            _ => Some(hash(samples.caption_text(pair))),
        }
    };
    for number in 0..5 {
        let mut column = group.next_column()?.context("a column")?;
        let all: Vec<Option<String>> = lines.iter().map(|line| text(number, line)).collect();
        let levels: Vec<i16> = all.iter().map(|text| i16::from(text.is_some())).collect();
        let values: Vec<ByteArray> =
            all.iter().flatten().map(|text| ByteArray::from(text.as_str())).collect();
        // Only the URL's hash may be missing.
        let levels = (number == 2).then_some(levels.as_slice());
        column.typed::<ByteArrayType>().write_batch(&values, levels, None)?;
        column.close()?;
    }
    Ok(())
}

/// The last part of a key, up to the first dot.
pub(crate) fn stem(key: &str) -> &str {
    let file = key.rsplit('/').next().unwrap_or(key);
    file.split('.').next().unwrap_or(file)
}

//! The index of one side of a data set.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clip::candle_core::{self, bail};
use clip::{BadSample, Image, Origin};

use super::cifar_layout::CifarLayout;
use super::files::Files;
use super::hub_table::HubTable;
use super::place::{LARGEST, Place};
use super::root::Root;
use super::tally::Tally;
use super::tar;
use super::texts::{Texts, first_64_bits};

/// What pandas and JSON take for a missing value, and Python prints for one.
const MISSING: [&str; 12] =
    ["nan", "NaN", "-nan", "-NaN", "None", "null", "NULL", "N/A", "n/a", "NA", "<NA>", "#N/A"];

/// The samples of one side of a data set, as they were found; images are read when asked for.
#[derive(Default)]
pub struct Samples {
    /// What errors call it: the file or folder.
    pub(crate) name: String,
    /// What was recognised, for people.
    format: String,
    /// What else there is to say: how many downloads failed, where a tar is damaged.
    pub(crate) notes: Vec<String>,
    /// Members of tars that belong to no sample.
    pub(crate) passed_over: Tally,
    /// Captions that are what a program writes where a value is missing.
    missing_values: Tally,
    /// The folder that keys of [`Place::Loose`] are relative to.
    pub(crate) root: Root,
    pub(crate) files: Files,
    pub(crate) tables: Vec<HubTable>,
    pub(crate) records: Option<CifarLayout>,
    keys: Texts,
    captions: Texts,
    labels: Vec<u32>,
    /// Kept only where asked for.
    urls: Option<Texts>,
    places: Vec<Place>,
}

impl Samples {
    pub(crate) fn new(name: String, format: impl Into<String>) -> Self {
        Self { name, format: format.into(), ..Self::default() }
    }

    /// Keeps the URLs of samples that have one.
    pub(crate) fn keep_urls(&mut self) {
        self.urls = Some(Texts::default());
    }

    /// A path that a table names as a key below the root, and its place: a file of its own, unless it leads out.
    pub(crate) fn loose<'a>(&self, path: &'a str) -> (&'a str, Place) {
        let outside = Place::Bad { file: 0, reason: BadSample::OutsidePath };
        self.root.below(path).map_or((path, outside), |key| (key, Place::Loose))
    }

    /// Refuses a list all of whose paths lead out of the root, with what helps.
    pub(crate) fn refuse_outside(&self, remedy: &str) -> Result<()> {
        ensure!(
            (0..self.len()).any(|index| self.bad(index) != Some(BadSample::OutsidePath)),
            "{}: all its paths lead out of {}, the first being {:?}; {remedy}",
            self.name,
            self.root.folder().display(),
            self.key(0)
        );
        Ok(())
    }

    /// Puts a captioned sample at the end. One without a place that can be used is bad, as is one whose caption is.
    pub(crate) fn push_pair(&mut self, key: &str, caption: Result<&str, BadSample>, place: Place, url: &str) {
        let (caption, reason) = match caption {
            Ok(caption) if caption.trim().is_empty() => ("", Some(BadSample::NoCaption)),
            Ok(caption) if caption.len() > Texts::LONGEST => ("", Some(BadSample::TooLarge)),
            Ok(caption) => {
                if MISSING.contains(&caption.trim()) {
                    self.missing_values.add(format!("{key}: {}", caption.trim()));
                }
                (caption, None)
            }
            Err(reason) => ("", Some(reason)),
        };
        self.push(key, place, reason);
        self.captions.push(caption);
        if let Some(urls) = &mut self.urls {
            urls.push(url);
        }
    }

    /// Puts a labelled sample at the end; `classes` is how many labels there are.
    pub(crate) fn push_labelled(&mut self, key: &str, label: Option<u64>, classes: usize, place: Place) {
        let within = label.and_then(|label| u32::try_from(label).ok());
        let within = within.filter(|label| (*label as usize) < classes);
        self.push(key, place, within.is_none().then_some(BadSample::LabelOutOfRange));
        self.labels.push(within.unwrap_or(0));
    }

    fn push(&mut self, key: &str, place: Place, reason: Option<BadSample>) {
        let file = place.file();
        let good = !matches!(place, Place::Bad { .. });
        self.places.push(match reason {
            Some(reason) if good => Place::Bad { file, reason },
            _ => place,
        });
        self.keys.push(key);
    }

    /// Puts the samples of another index at the end, all of them in the file with this number.
    pub(crate) fn append(&mut self, other: &Self, file: u16) {
        for (index, place) in other.places.iter().enumerate() {
            self.keys.push(other.keys.get(index));
            if other.captions.len() > 0 {
                self.captions.push(other.captions.get(index));
            }
            if let (Some(urls), Some(others)) = (&mut self.urls, &other.urls) {
                urls.push(others.get(index));
            }
            self.places.push(place.in_file(file));
        }
        self.labels.extend_from_slice(&other.labels);
        self.notes.extend_from_slice(&other.notes);
        self.passed_over.merge(&other.passed_over);
        self.missing_values.merge(&other.missing_values);
    }

    /// Ends an index that has grown: marks samples that are listed twice, and gives back what was taken too much.
    pub(crate) fn finish(&mut self) {
        let note = |what: &str, tally: &Tally| format!("{what}: {} ({})", tally.count(), tally.names());
        for (what, tally) in [
            ("members of tars that belong to no sample", &self.passed_over),
            ("captions that a program writes for a missing value, taken as they are", &self.missing_values),
        ] {
            self.notes.extend((tally.count() > 0).then(|| note(what, tally)));
        }
        self.mark_repeated();
        self.keys.shrink();
        self.captions.shrink();
        self.places.shrink_to_fit();
        self.labels.shrink_to_fit();
    }

    /// Marks samples of which an earlier one has the same key, and the same caption or label. (Keys of different tars
    /// may be the same, so that labelled ones are not compared; rows of Parquet files have none of their own.)
    fn mark_repeated(&mut self) {
        let captioned = self.captions.len() > 0;
        let same = |a: u32, b: u32| {
            let [a, b] = [a as usize, b as usize];
            (self.keys.get(a), self.captions.get(a), self.labels.get(a))
                == (self.keys.get(b), self.captions.get(b), self.labels.get(b))
        };
        let has_key = |place: &Place| match place {
            Place::Loose => true,
            Place::Member { .. } => captioned,
            _ => false,
        };
        let keyed = (0_u32..).zip(&self.places).filter(|(_, place)| has_key(place)).map(|(at, _)| at);
        // 16 bytes a pair, for a moment.
        let mut hashes: Vec<(u64, u32)> = keyed.map(|at| (self.pair_hash(at as usize), at)).collect();
        hashes.sort_unstable();
        let runs = hashes.chunk_by(|a, b| a.0 == b.0).filter(|run| run.len() > 1);
        let again = runs.flat_map(|run| run[1..].iter().map(|(_, at)| (run[0].1, *at)));
        let again: Vec<u32> = again.filter(|(first, at)| same(*first, *at)).map(|(_, at)| at).collect();
        for at in again {
            let place = &mut self.places[at as usize];
            *place = Place::Bad { file: place.file(), reason: BadSample::ListedTwice };
        }
    }

    /// The first 64 bits of a hash of key and caption.
    fn pair_hash(&self, index: usize) -> u64 {
        let (key, caption) = (self.keys.get(index), self.captions.get(index));
        let mut hasher = blake3::Hasher::new();
        hasher.update(&(key.len() as u64).to_le_bytes()).update(key.as_bytes()).update(caption.as_bytes());
        first_64_bits(hasher.finalize())
    }

    /// How many there are, bad ones included.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of memory that the index takes.
    pub fn memory(&self) -> usize {
        let urls = self.urls.as_ref().map_or(0, Texts::memory);
        let texts = self.keys.memory() + self.captions.memory() + urls;
        texts + self.labels.capacity() * size_of::<u32>() + self.places.capacity() * size_of::<Place>()
    }

    /// What was recognised, in words.
    pub fn format(&self) -> &str {
        &self.format
    }

    /// What else there is to say: how many downloads failed, which tars are damaged.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The files that hold many samples each, and their bytes; none where every image is a file of its own.
    pub fn shards(&self) -> (usize, u64) {
        let length = |path: &PathBuf| std::fs::metadata(path).map_or(0, |found| found.len());
        (self.files.paths().len(), self.files.paths().iter().map(length).sum())
    }

    /// A sample's key: what members of a tar share, or the path that a table names.
    pub fn key(&self, index: usize) -> &str {
        self.keys.get(index)
    }

    /// The file that holds a sample among others; empty where its image is a file of its own.
    pub fn shard(&self, index: usize) -> String {
        let place = self.places.get(index).filter(|place| **place != Place::Loose);
        let name = place.and_then(|place| self.files.path(place.file()).file_name());
        name.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }

    /// The URL that a sample comes from; empty where none is known or kept.
    pub fn url(&self, index: usize) -> &str {
        self.urls.as_ref().map_or("", |urls| urls.get(index))
    }

    /// A sample's caption, empty where it has none, good or bad.
    pub(crate) fn caption_text(&self, index: usize) -> &str {
        self.captions.get(index)
    }

    /// Why a sample is bad, as far as the index knows.
    pub fn bad(&self, index: usize) -> Option<BadSample> {
        match self.places.get(index) {
            Some(Place::Bad { reason, .. }) => Some(*reason),
            _ => None,
        }
    }

    /// The caption; an error for a bad sample, and outside `0..len()`.
    pub fn caption(&self, index: usize) -> candle_core::Result<&str> {
        self.good(index)?;
        Ok(self.captions.get(index))
    }

    /// The label; an error for a bad sample, and outside `0..len()`.
    pub fn label(&self, index: usize) -> candle_core::Result<usize> {
        self.good(index)?;
        Ok(self.labels.get(index).map_or(0, |label| *label as usize))
    }

    fn good(&self, index: usize) -> candle_core::Result<Place> {
        match self.places.get(index) {
            None => bail!("sample {index} of {}", self.len()),
            Some(Place::Bad { reason, .. }) => Err(reason.because(self.read_from(index).to_string())),
            Some(place) => Ok(*place),
        }
    }

    /// The image; an error says where it was to be read from, and why it could not be.
    pub fn image(&self, index: usize) -> candle_core::Result<Image> {
        let place = self.good(index)?;
        if let Place::Record { file, record } = place {
            return match self.records {
                Some(layout) => layout.image(&self.files, file, record),
                None => bail!("{}: no records", self.read_from(index)),
            };
        }
        let bytes = self.encoded(index)?;
        Image::decode(&bytes).map_err(|error| error.context(format!("cannot read {}", self.read_from(index))))
    }

    /// The bytes of the image's file; an error where there is none, as in CIFAR's records.
    pub fn encoded(&self, index: usize) -> candle_core::Result<Vec<u8>> {
        let named =
            |error: candle_core::Error| error.context(format!("cannot read {}", self.read_from(index)));
        match self.good(index)? {
            Place::Loose => {
                let path = self.root.checked(self.keys.get(index)).map_err(named)?;
                let length = std::fs::metadata(&path).map_err(|error| named(error.into()))?.len();
                if length > LARGEST {
                    return Err(BadSample::TooLarge.because(self.read_from(index).to_string()));
                }
                std::fs::read(&path).map_err(|error| named(error.into()))
            }
            Place::Member { file, block, length } => {
                self.files.read(file, u64::from(block) * tar::BLOCK, length as usize).map_err(named)
            }
            Place::Row { file, group, row } => match self.tables.get(usize::from(file)) {
                Some(table) => table.image(self.files.handle(file)?, group, row).map_err(named),
                None => bail!("{}: no such table", self.read_from(index)),
            },
            _ => bail!("{}: no file of an image", self.read_from(index)),
        }
    }

    /// The file, and where it holds many the member or row, that a sample is read from.
    pub fn read_from(&self, index: usize) -> Origin {
        let key = self.keys.get(index);
        let in_file = |place: &&Place| **place != Place::Loose && !self.files.paths().is_empty();
        let Some(place) = self.places.get(index).filter(in_file) else {
            return Origin { file: self.root.path(key), member: None };
        };
        let member = match place {
            Place::Row { group, row, .. } => format!("row {row} of group {group}"),
            _ => key.to_owned(),
        };
        Origin { file: self.files.path(place.file()).to_owned(), member: Some(member) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that the process holds, by the system's count.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() << 10
    }

    #[test]
    fn three_million_pairs_take_less_than_three_hundred_megabytes() {
        let before = resident();
        let mut samples = Samples::new("synthetic".to_owned(), "synthetic");
        for index in 0..3_000_000_u32 {
            // 55 characters, a little more than captions of CC3M have on average.
            let caption = format!("a photo of thing number {index:7} that was seen somewhere");
            let place = Place::member((index / 10_000) as u16, u64::from(index % 10_000) * 40_960, 30_000);
            samples.push_pair(&format!("{index:09}"), Ok(&caption), place, "");
        }
        samples.finish();
        let (own, grown) = (samples.memory(), resident().saturating_sub(before));
        println!("3 million pairs: index {} MB, resident {} MB more", own / 1_000_000, grown / 1_000_000);
        assert!(own < 300_000_000 && grown < 400_000_000, "{own} {grown}");
        assert_eq!(samples.key(2_999_999), "002999999");
        assert!(samples.caption(1_234_567).unwrap().contains("1234567"));
        assert_eq!(size_of::<Place>(), 12);
    }

    #[test]
    fn bad_samples_say_why_and_where() {
        let mut samples = Samples::new("pairs".to_owned(), "test");
        samples.push_pair("a", Ok(" \n"), Place::Loose, "");
        samples.push_pair("b", Err(BadSample::NotUtf8), Place::Loose, "");
        samples.push_pair("c", Ok("c"), Place::member(0, 0, 0), "");
        samples.push_pair("d", Ok("d"), Place::member(0, 0, LARGEST + 1), "");
        let reasons: Vec<_> = (0..4).map(|index| samples.bad(index).unwrap()).collect();
        let expected = [BadSample::NoCaption, BadSample::NotUtf8, BadSample::Empty, BadSample::TooLarge];
        assert_eq!(reasons, expected);
        for (index, reason) in expected.into_iter().enumerate() {
            let error = samples.image(index).unwrap_err();
            assert_eq!(BadSample::of(&error), Some(reason));
            assert!(error.to_string().contains(samples.key(index)), "{error}");
            assert_eq!(BadSample::of(&samples.caption(index).unwrap_err()), Some(reason));
        }
        assert_eq!(BadSample::of(&samples.image(4).unwrap_err()), None);
    }
}

//! Folders of tars as webdataset and img2dataset write them: a sample's members share what stands before the ending of
//! their names, an image and a caption (else that of `json`) or a label (`cls`), in any order. Endings are the longest
//! ones that are known ([`Form`]), so that `harbour 2.4.jpg` and `harbour 2.4.txt` are a pair; webdataset's keys end at
//! the first dot. Members that belong to no sample are counted and named. CLIP_benchmark, whose folders hold
//! `nshards.txt`, keeps a line for each caption of an image; the first of them is taken.
//!
//! Follows: webdataset/webdataset, `tariterators.py` (keys; members named `__…__` are not samples), and
//! rom1504/img2dataset, `writer.py` (members, and the sidecars `00000.parquet` and `00000_stats.json`).

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clip::BadSample;
use rayon::prelude::*;
use serde::Deserialize;
use serde_json::Value;

use super::files::Files;
use super::form::{Form, Named, Part, Stranger};
use super::place::Place;
use super::root::stays_inside;
use super::samples::Samples;
use super::tally::Tally;
use super::tar::{End, Member, Walk};

/// Bytes of the longest caption, and of the longest JSON, that is read.
const LONGEST_CAPTION: u64 = 64 << 10;
const LONGEST_JSON: u64 = 1 << 20;

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Pairs,
    /// Labelled, with this many classes.
    Classes(usize),
}

/// The samples of these tars, in order.
pub(crate) fn read_shards(
    name: String,
    shards: Vec<PathBuf>,
    kind: Kind,
    form: &Form,
    urls: bool,
) -> Result<Samples> {
    let in_lines = shards.first().is_some_and(|path| path.with_file_name("nshards.txt").is_file());
    let wanted = Wanted { kind, form, urls, in_lines };
    let read = |path: &PathBuf| read_shard(path, wanted).with_context(|| path.display().to_string());
    let mut samples = Samples::new(name, "webdataset in tars");
    if urls {
        samples.keep_urls();
    }
    let (mut file, mut names) = (0, Tally::default());
    // Few at a time, so that the whole index is never held twice.
    for some in shards.chunks(16) {
        for shard in some.par_iter().map(read).collect::<Result<Vec<_>>>()? {
            let (found, members) = shard;
            samples.append(&found, u16::try_from(file).context("over 65 536 tars")?);
            names.merge(&members);
            file += 1;
        }
    }
    samples.finish();
    let failed: Option<u64> = shards.iter().map(|path| failed_downloads(path)).sum();
    samples
        .notes
        .extend(failed.map(|failed| format!("{failed} downloads failed, by img2dataset's _stats.json")));
    let lacks = |index| matches!(samples.bad(index), Some(BadSample::NoImage | BadSample::NoCaption));
    ensure!(
        !(0..samples.len()).all(lacks),
        "{}: no pairs in {} tars; their members are to be KEY.ENDING, an image with {} and {}, and are called {}; the \
         settings `image-endings` and `caption-endings` of `cc3m` and `pairs` name other endings",
        samples.name,
        shards.len(),
        form.image_endings.join(", "),
        match kind {
            Kind::Pairs => format!("a caption with {} or in json", form.caption_endings.join(", ")),
            Kind::Classes(_) => "a label with cls".to_owned(),
        },
        names.names()
    );
    samples.files = Files::new(shards);
    Ok(samples)
}

#[derive(Clone, Copy)]
struct Wanted<'a> {
    kind: Kind,
    form: &'a Form,
    urls: bool,
    /// Whether captions are lines, the first of which counts.
    in_lines: bool,
}

/// How many downloads failed, by the sidecar of a tar that img2dataset wrote.
fn failed_downloads(shard: &Path) -> Option<u64> {
    #[derive(Deserialize)]
    struct Stats {
        count: u64,
        successes: u64,
    }
    let stem = shard.file_stem()?.to_string_lossy();
    let text = std::fs::read_to_string(shard.with_file_name(format!("{stem}_stats.json"))).ok()?;
    let stats: Stats = serde_json::from_str(&text).ok()?;
    Some(stats.count.saturating_sub(stats.successes))
}

/// What is known of a sample while its tar is walked.
#[derive(Default)]
struct Draft {
    key: String,
    /// See [`Named::shorter`].
    shorter: Option<String>,
    /// Names of its members.
    names: Vec<String>,
    image: Option<(String, Place)>,
    caption: Option<Result<String, BadSample>>,
    json: Option<(u64, u64)>,
    label: Option<Option<u64>>,
    reason: Option<BadSample>,
}

/// JSON beside an image.
#[derive(Default)]
struct Beside(Value);

impl Beside {
    /// Reads what Python's `json` writes: NaN and infinity too, which are no JSON. What is none of it holds nothing.
    fn read(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let read = serde_json::from_slice(bytes).or_else(|_| serde_json::from_slice(&without_nan(bytes)));
        Self(read.unwrap_or_default())
    }

    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.as_str()
    }
}

/// `null` in place of Python's NaN and infinities outside texts.
fn without_nan(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut at, mut in_text) = (Vec::with_capacity(bytes.len()), 0, false);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let found = [&b"NaN"[..], b"-Infinity", b"Infinity"].into_iter().find(|word| rest.starts_with(word));
        let taken = match (in_text, found) {
            (false, Some(word)) => {
                out.extend(b"null");
                word.len()
            }
            _ => {
                let escaped = in_text && rest[0] == b'\\';
                in_text ^= rest[0] == b'"';
                let taken = if escaped { rest.len().min(2) } else { 1 };
                out.extend(&rest[..taken]);
                taken
            }
        };
        at += taken;
    }
    out
}

/// The samples of a tar, and the names of its first members.
fn read_shard(path: &Path, wanted: Wanted<'_>) -> Result<(Samples, Tally)> {
    let file = File::open(path)?;
    let mut walk = Walk::new(&file)?;
    ensure!(walk.length() > 0, "an empty file and no tar; remove it or download it again");
    let mut drafts: Vec<Draft> = Vec::new();
    let mut latest: HashMap<String, usize> = HashMap::new();
    let (mut cut, mut samples, mut names) = (None, Samples::default(), Tally::default());
    while let Some(member) = walk.next()? {
        names.add(&member.name);
        let named = match wanted.form.read(&member.name) {
            Ok(named) => named,
            Err(Stranger::Meta) => continue,
            Err(Stranger::Unknown) => {
                samples.passed_over.add(&member.name);
                continue;
            }
        };
        let at = *latest.entry(named.key.to_owned()).or_insert(drafts.len());
        let fits = drafts.get(at).map(|draft| draft.takes(&named));
        let at = if fits == Some(false) { drafts.len() } else { at };
        if at == drafts.len() {
            let reason = (fits == Some(false)).then_some(BadSample::ListedTwice);
            let (key, shorter) = (named.key.to_owned(), named.shorter.map(str::to_owned));
            latest.insert(key.clone(), at);
            drafts.push(Draft { key, shorter, reason, ..Draft::default() });
        }
        cut = member.cut.then_some(at);
        if !drafts[at].add(&named, &member, &mut walk)? {
            samples.passed_over.add(&member.name);
        }
    }
    // Such as `a.seg.jpg` beside `a.jpg` and `a.txt`.
    let is_sample = |key: &String| latest.get(key).is_some_and(|at| drafts[*at].shorter.is_none());
    let beside =
        |draft: &Draft| !draft.is_whole(wanted.kind) && draft.shorter.as_ref().is_some_and(is_sample);
    let passed: Vec<bool> = drafts.iter().map(beside).collect();
    match walk.end() {
        End::Damaged(0) => anyhow::bail!("no tar: it begins with no header; unpack it or download it again"),
        End::Damaged(at) => {
            samples.notes.push(format!("{}: damaged at byte {at}; what follows is not read", path.display()));
            drafts.push(Draft::broken(format!("what follows byte {at}"), BadSample::Corrupt));
        }
        End::Cut => {
            samples.notes.push(format!("{}: cut off", path.display()));
            match cut.or(drafts.len().checked_sub(1)) {
                // The cut took the rest of the last sample, or lies behind a whole one.
                Some(last) if cut.is_some() || !drafts[last].is_whole(wanted.kind) => {
                    drafts[last].reason.get_or_insert(BadSample::Truncated);
                }
                _ => drafts.push(Draft::broken("what follows the cut".to_owned(), BadSample::Truncated)),
            }
        }
        End::Open | End::Whole => {}
    }
    if wanted.urls {
        samples.keep_urls();
    }
    for (index, draft) in drafts.into_iter().enumerate() {
        match passed.get(index) {
            Some(true) => draft.names.iter().for_each(|name| samples.passed_over.add(name)),
            _ => draft.finish(&mut samples, wanted, &mut walk)?,
        }
    }
    Ok((samples, names))
}

impl Draft {
    fn broken(key: String, reason: BadSample) -> Self {
        Self { key, reason: Some(reason), ..Self::default() }
    }

    fn is_whole(&self, kind: Kind) -> bool {
        let told = match kind {
            Kind::Pairs => self.caption.is_some() || self.json.is_some(),
            Kind::Classes(_) => self.label.is_some(),
        };
        self.image.is_some() && told
    }

    /// Whether a member is not a second one of its kind. (A second image of another ending is passed over.)
    fn takes(&self, named: &Named<'_>) -> bool {
        match named.part {
            Part::Caption => self.caption.is_none(),
            Part::Json => self.json.is_none(),
            Part::Label => self.label.is_none(),
            Part::Image => self.image.as_ref().is_none_or(|(known, _)| *known != named.ending),
        }
    }

    /// Adds a member; whether it is of use.
    fn add(&mut self, named: &Named<'_>, member: &Member, walk: &mut Walk<'_>) -> Result<bool> {
        let Member { offset, length, cut, .. } = *member;
        match named.part {
            Part::Caption if length > LONGEST_CAPTION => self.caption = Some(Err(BadSample::TooLarge)),
            Part::Caption => {
                let bytes = walk.bytes(offset, length, LONGEST_CAPTION)?;
                // What text editors put around a line.
                let text = std::str::from_utf8(bytes)
                    .map(|text| text.trim_start_matches('\u{feff}').trim().to_owned());
                self.caption = Some(text.map_err(|_| BadSample::NotUtf8));
            }
            Part::Json => self.json = Some((offset, length)),
            Part::Label => {
                let text = String::from_utf8_lossy(walk.bytes(offset, length, 32)?).into_owned();
                self.label = Some(text.trim().parse().ok());
            }
            Part::Image if self.image.is_none() => {
                self.image = Some((named.ending.clone(), Place::member(0, offset, length)));
            }
            Part::Image => return Ok(false),
        }
        if named.shorter.is_some() {
            self.names.push(member.name.clone());
        }
        if cut {
            self.reason.get_or_insert(BadSample::Truncated);
        }
        Ok(true)
    }

    fn finish(self, samples: &mut Samples, wanted: Wanted<'_>, walk: &mut Walk<'_>) -> Result<()> {
        let bad = |reason| Place::Bad { file: 0, reason };
        let place = match (self.reason, self.image) {
            _ if !stays_inside(&self.key) => bad(BadSample::OutsidePath),
            (Some(reason), _) => bad(reason),
            (None, None) => bad(BadSample::NoImage),
            (None, Some((_, place))) => place,
        };
        if let Kind::Classes(classes) = wanted.kind {
            samples.push_labelled(&self.key, self.label.flatten(), classes, place);
            return Ok(());
        }
        let mut beside = Beside::default();
        if let Some((offset, length)) = self.json.filter(|_| wanted.urls || self.caption.is_none()) {
            let bytes = walk.bytes(offset, length, LONGEST_JSON)?;
            beside = Beside::read(bytes);
        }
        let caption = match (&self.caption, beside.text("caption")) {
            (Some(Ok(caption)), _) if wanted.in_lines => Ok(caption.lines().next().unwrap_or_default()),
            (Some(Ok(caption)), _) => Ok(caption.as_str()),
            (None, Some(caption)) => Ok(caption),
            (Some(Err(reason)), _) => Err(*reason),
            (None, None) => Err(BadSample::NoCaption),
        };
        samples.push_pair(&self.key, caption, place, beside.text("url").unwrap_or_default());
        Ok(())
    }
}

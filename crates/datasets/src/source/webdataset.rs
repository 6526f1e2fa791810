//! Folders of tars as webdataset and img2dataset write them: a sample's members share what stands before the first dot
//! of their names, an image (`jpg`, `jpeg`, `png`, `webp`) and a caption (`txt`, else that of `json`) or a label
//! (`cls`), in any order. CLIP_benchmark, whose folders hold `nshards.txt`, keeps a line for each caption of an image;
//! the first of them is taken.
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

use super::files::Files;
use super::samples::{Place, Samples};
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
pub(crate) fn read_shards(name: String, shards: Vec<PathBuf>, kind: Kind, urls: bool) -> Result<Samples> {
    let in_lines = shards.first().is_some_and(|path| path.with_file_name("nshards.txt").is_file());
    let wanted = Wanted { kind, urls, in_lines };
    let read = |path: &PathBuf| read_shard(path, wanted).with_context(|| path.display().to_string());
    let mut samples = Samples::new(name, "webdataset in tars");
    if urls {
        samples.keep_urls();
    }
    let mut file = 0;
    // Few at a time, so that the whole index is never held twice.
    for some in shards.chunks(16) {
        for shard in some.par_iter().map(read).collect::<Result<Vec<_>>>()? {
            samples.append(&shard, u16::try_from(file).context("over 65 536 tars")?);
            file += 1;
        }
    }
    samples.finish();
    let failed: Option<u64> = shards.iter().map(|path| failed_downloads(path)).sum();
    samples
        .notes
        .extend(failed.map(|failed| format!("{failed} downloads failed, by img2dataset's _stats.json")));
    ensure!(
        !samples.is_empty(),
        "{}: no pairs in {} tars; their members are to be KEY.jpg (or png, webp) with KEY.txt, KEY.json or KEY.cls",
        samples.name,
        shards.len()
    );
    samples.files = Files::new(shards);
    Ok(samples)
}

#[derive(Clone, Copy)]
struct Wanted {
    kind: Kind,
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
    image: Option<(String, Place)>,
    caption: Option<Result<String, BadSample>>,
    json: Option<(u64, u64)>,
    label: Option<Option<u64>>,
    reason: Option<BadSample>,
}

/// JSON beside an image, as far as it is of use.
#[derive(Default, Deserialize)]
struct Beside {
    caption: Option<String>,
    url: Option<String>,
}

fn read_shard(path: &Path, wanted: Wanted) -> Result<Samples> {
    let file = File::open(path)?;
    let mut walk = Walk::new(&file)?;
    ensure!(walk.length() > 0, "an empty file and no tar; remove it or download it again");
    let mut drafts: Vec<Draft> = Vec::new();
    let mut latest: HashMap<String, usize> = HashMap::new();
    let mut cut = None;
    while let Some(member) = walk.next()? {
        let Some((key, extension)) = split(&member.name) else { continue };
        let at = *latest.entry(key.to_owned()).or_insert(drafts.len());
        let fits = drafts.get(at).map(|draft| draft.takes(&extension));
        let at = if fits == Some(false) { drafts.len() } else { at };
        if at == drafts.len() {
            let reason = (fits == Some(false)).then_some(BadSample::ListedTwice);
            drafts.push(Draft { key: key.to_owned(), reason, ..Draft::default() });
            latest.insert(key.to_owned(), at);
        }
        cut = member.cut.then_some(at);
        drafts[at].add(&extension, &member, &mut walk)?;
    }
    let mut samples = Samples::default();
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
    drafts
        .into_iter()
        .filter(Draft::is_sample)
        .try_for_each(|draft| draft.finish(&mut samples, wanted, &mut walk))?;
    Ok(samples)
}

/// Key and lower-case extension of a member; `None` for one that belongs to no sample.
fn split(name: &str) -> Option<(&str, String)> {
    let name = name.strip_prefix("./").unwrap_or(name);
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    let dot = file + name[file..].find('.')?;
    let (key, extension) = (&name[..dot], &name[dot + 1..]);
    let meta = name[file..].starts_with("__") && key.ends_with("__");
    (dot > file && !meta).then(|| (key, extension.to_lowercase()))
}

/// Whether a path stays in the folder that it is relative to.
pub(crate) fn stays_inside(path: &str) -> bool {
    let normal = |part| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir);
    Path::new(path).components().all(normal)
}

fn is_image(extension: &str) -> bool {
    matches!(extension, "jpg" | "jpeg" | "png" | "webp")
}

impl Draft {
    fn broken(key: String, reason: BadSample) -> Self {
        Self { key, reason: Some(reason), ..Self::default() }
    }

    fn is_sample(&self) -> bool {
        let parts = self.image.is_some() || self.caption.is_some() || self.json.is_some();
        parts || self.label.is_some() || self.reason.is_some()
    }

    fn is_whole(&self, kind: Kind) -> bool {
        let told = match kind {
            Kind::Pairs => self.caption.is_some() || self.json.is_some(),
            Kind::Classes(_) => self.label.is_some(),
        };
        self.image.is_some() && told
    }

    /// Whether a member with this extension is not a second one of its kind. (A second image of another kind is
    /// passed over.)
    fn takes(&self, extension: &str) -> bool {
        match extension {
            "txt" => self.caption.is_none(),
            "json" => self.json.is_none(),
            "cls" => self.label.is_none(),
            _ => self.image.as_ref().is_none_or(|(known, _)| known != extension),
        }
    }

    fn add(&mut self, extension: &str, member: &Member, walk: &mut Walk<'_>) -> Result<()> {
        let Member { offset, length, cut, .. } = *member;
        match extension {
            "txt" if length > LONGEST_CAPTION => self.caption = Some(Err(BadSample::TooLarge)),
            "txt" => {
                let bytes = walk.bytes(offset, length, LONGEST_CAPTION)?;
                let text = std::str::from_utf8(bytes).map(str::to_owned);
                self.caption = Some(text.map_err(|_| BadSample::NotUtf8));
            }
            "json" => self.json = Some((offset, length)),
            "cls" => {
                let text = String::from_utf8_lossy(walk.bytes(offset, length, 32)?).into_owned();
                self.label = Some(text.trim().parse().ok());
            }
            _ if is_image(extension) && self.image.is_none() => {
                self.image = Some((extension.to_owned(), Place::member(0, offset, length)));
            }
            _ => return Ok(()),
        }
        if cut {
            self.reason.get_or_insert(BadSample::Truncated);
        }
        Ok(())
    }

    fn finish(self, samples: &mut Samples, wanted: Wanted, walk: &mut Walk<'_>) -> Result<()> {
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
            beside = serde_json::from_slice(bytes).unwrap_or_default();
        }
        let caption = match (&self.caption, &beside.caption) {
            (Some(Ok(caption)), _) if wanted.in_lines => Ok(caption.lines().next().unwrap_or_default()),
            (Some(Ok(caption)), _) | (None, Some(caption)) => Ok(caption.as_str()),
            (Some(Err(reason)), _) => Err(*reason),
            (None, None) => Err(BadSample::NoCaption),
        };
        samples.push_pair(&self.key, caption, place, beside.url.as_deref().unwrap_or_default());
        Ok(())
    }
}

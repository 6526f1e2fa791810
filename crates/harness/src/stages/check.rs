//! Looks at every sample that is read from files once, before anything is made of it: what cannot be used is left out
//! and counted, and what can be used gets a hash, by which all that is made of it is found again wherever it lies.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result, ensure};
use base::describe;
use clip::candle_core::{self, Error};
use clip::{Image, Origin, Pairs};
use contract::Labelled;
use rayon::prelude::*;
use record::BadSample;
use serde::{Deserialize, Serialize};
use serde_json::json;
use store::{Key, stage};

use super::context::Context;

/// Raised whenever the code of this stage would give another result, also because images are decoded or captions cleaned
/// otherwise, and whenever the fields of [`CheckReport`] change.
const VERSION: u32 = 3;
const FILE: &str = "check.json";
/// Samples that are named of those that cannot be used.
const NAMED: usize = 100;
/// Samples looked at between two looks at the clock.
const BLOCK: usize = 1024;

/// Samples of either kind, as far as checking them goes.
pub(super) trait Samples: Send + Sync {
    fn count(&self) -> usize;
    fn origin(&self, index: usize) -> Option<Origin>;
    /// The caption or the label.
    fn note(&self, index: usize) -> candle_core::Result<String>;
    fn picture(&self, index: usize) -> candle_core::Result<Image>;
    fn noticed(&self) -> Vec<String>;
    /// The same without what is not in `kept`.
    fn only(self: Arc<Self>, kept: Vec<u32>) -> Arc<Self>;
}

impl Samples for dyn Pairs {
    fn count(&self) -> usize {
        self.len()
    }

    fn origin(&self, index: usize) -> Option<Origin> {
        self.read_from(index)
    }

    fn note(&self, index: usize) -> candle_core::Result<String> {
        self.caption(index)
    }

    fn picture(&self, index: usize) -> candle_core::Result<Image> {
        self.image(index)
    }

    fn noticed(&self) -> Vec<String> {
        self.remarks()
    }

    fn only(self: Arc<Self>, kept: Vec<u32>) -> Arc<Self> {
        Arc::new(Kept { all: self, kept })
    }
}

impl Samples for dyn Labelled {
    fn count(&self) -> usize {
        self.len()
    }

    fn origin(&self, index: usize) -> Option<Origin> {
        self.read_from(index)
    }

    fn note(&self, index: usize) -> candle_core::Result<String> {
        Ok(self.label(index)?.to_string())
    }

    fn picture(&self, index: usize) -> candle_core::Result<Image> {
        self.image(index)
    }

    fn noticed(&self) -> Vec<String> {
        self.remarks()
    }

    fn only(self: Arc<Self>, kept: Vec<u32>) -> Arc<Self> {
        Arc::new(Kept { all: self, kept })
    }
}

/// Some of other samples.
pub(super) struct Kept<T: ?Sized> {
    pub(super) all: Arc<T>,
    /// Their indices among all.
    pub(super) kept: Vec<u32>,
}

impl<T: ?Sized> Kept<T> {
    fn at(&self, index: usize) -> candle_core::Result<usize> {
        match self.kept.get(index) {
            Some(index) => Ok(*index as usize),
            None => candle_core::bail!("sample {index} of {}", self.kept.len()),
        }
    }
}

impl Pairs for Kept<dyn Pairs> {
    fn len(&self) -> usize {
        self.kept.len()
    }

    fn caption(&self, index: usize) -> candle_core::Result<String> {
        self.all.caption(self.at(index)?)
    }

    fn image(&self, index: usize) -> candle_core::Result<Image> {
        self.all.image(self.at(index)?)
    }

    fn read_from(&self, index: usize) -> Option<Origin> {
        self.all.read_from(self.at(index).ok()?)
    }
}

impl Labelled for Kept<dyn Labelled> {
    fn len(&self) -> usize {
        self.kept.len()
    }

    fn label(&self, index: usize) -> candle_core::Result<usize> {
        self.all.label(self.at(index)?)
    }

    fn image(&self, index: usize) -> candle_core::Result<Image> {
        self.all.image(self.at(index)?)
    }

    fn read_from(&self, index: usize) -> Option<Origin> {
        self.all.read_from(self.at(index).ok()?)
    }
}

/// Whether samples are read from files; others are drawn, and always the same.
pub(super) fn are_read<T: Samples + ?Sized>(samples: &T) -> bool {
    samples.count() > 0 && samples.origin(0).is_some()
}

/// What was found of samples that are read from files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CheckReport {
    /// BLAKE3 of all usable samples in their order, pixels and captions or labels.
    pub(crate) content: String,
    /// How many there are, usable or not.
    pub(crate) listed: usize,
    /// Indices of those that cannot be used.
    unusable: Vec<u32>,
    /// How many of them for which reason.
    pub(crate) reasons: BTreeMap<String, usize>,
    /// The first hundred.
    pub(crate) first: Vec<BadSample>,
    /// What was noticed in their files.
    pub(crate) remarks: Vec<String>,
}

impl CheckReport {
    /// How many can be used.
    pub(crate) fn usable(&self) -> usize {
        self.listed - self.unusable.len()
    }

    /// The usable ones of `samples`, those that were checked.
    pub(super) fn of<T: Samples + ?Sized>(&self, samples: Arc<T>) -> Arc<T> {
        if self.unusable.is_empty() {
            return samples;
        }
        let bad: HashSet<u32> = self.unusable.iter().copied().collect();
        let kept = (0..samples.count() as u32).filter(|index| !bad.contains(index)).collect();
        samples.only(kept)
    }

    /// An error where more than `most` (a share) cannot be used, or all.
    pub(super) fn judge(&self, name: &str, most: f64) -> Result<()> {
        let (bad, all) = (self.unusable.len(), self.listed);
        let counted = self.reasons.iter().map(|(reason, count)| format!("{count} {reason}"));
        let first = self.first.first().map(|bad| format!("; the first: {} ({})", bad.sample, bad.detail));
        ensure!(
            bad < all && bad as f64 <= most * all as f64,
            "{name}: {bad} of {all} samples cannot be used ({}), more than the share of {most} that data.bad-samples \
             allows{}",
            counted.collect::<Vec<_>>().join(", "),
            first.unwrap_or_default()
        );
        Ok(())
    }
}

impl Context<'_> {
    /// What stands of `samples`, called `name`; looked up where neither their list nor a file has changed since.
    pub(super) fn check<T: Samples + ?Sized>(
        &self,
        name: &str,
        samples: &T,
        cost: f64,
    ) -> Result<CheckReport> {
        let name = format!("check {name}");
        let key = Key::new(stage::CHECK, VERSION, "cpu", json!({ "fingerprint": fingerprint(samples) }));
        let made = self.stage(
            &name,
            key,
            cost,
            false,
            |_| self.look_at_all(&name, samples),
            |checked, folder| Ok(std::fs::write(folder.join(FILE), serde_json::to_vec(&checked)?)?),
        )?;
        read(&made.folder.join(FILE))
    }

    fn look_at_all<T: Samples + ?Sized>(&self, name: &str, samples: &T) -> Result<CheckReport> {
        let listed = samples.count();
        ensure!(u32::try_from(listed).is_ok(), "{name}: {listed} samples are more than can be counted");
        let (mut content, mut unusable) = (blake3::Hasher::new(), Vec::new());
        let (mut reasons, mut first) = (BTreeMap::new(), Vec::new());
        for start in (0..listed).step_by(BLOCK) {
            self.go_on()?;
            let end = (start + BLOCK).min(listed);
            let looked: Vec<_> = (start..end).into_par_iter().map(|index| look_at(samples, index)).collect();
            for (index, found) in (start..end).zip(looked) {
                match found {
                    Ok(hash) => content.update(hash.as_bytes()).count(),
                    Err(error) => {
                        let reason = clip::BadSample::of(&error);
                        let reason = reason.map_or("unreadable".to_owned(), |reason| reason.to_string());
                        unusable.push(index as u32);
                        *reasons.entry(reason.clone()).or_insert(0) += 1;
                        if first.len() < NAMED {
                            let sample =
                                samples.origin(index).map_or(String::new(), |origin| origin.to_string());
                            first.push(BadSample { sample, reason, detail: describe(&error.into()) });
                        }
                        0
                    }
                };
            }
            let text = format!("{end} of {listed}, {} bad", unusable.len());
            self.progress.advance(name, end as f64 / listed as f64, text);
        }
        let (content, remarks) = (content.finalize().to_hex().to_string(), samples.noticed());
        Ok(CheckReport { content, listed, unusable, reasons, first, remarks })
    }
}

fn read(path: &Path) -> Result<CheckReport> {
    let named = || format!("cannot read {}", path.display());
    serde_json::from_slice(&std::fs::read(path).with_context(named)?).with_context(named)
}

/// The hash of one sample.
fn look_at<T: Samples + ?Sized>(samples: &T, index: usize) -> Result<blake3::Hash, Error> {
    let note = samples.note(index)?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(samples.picture(index)?.hash().as_bytes());
    // As models see it: other ways of writing the same caption are the same data.
    hasher.update(clip::clean(&note).as_bytes());
    Ok(hasher.finalize())
}

/// What tells samples from others without a look at their images: captions or labels, where they are read from, and
/// sizes and times of those files.
fn fingerprint<T: Samples + ?Sized>(samples: &T) -> String {
    let (mut hasher, mut seen) = (blake3::Hasher::new(), HashSet::new());
    let mut put = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    for index in 0..samples.count() {
        put(&samples.note(index).unwrap_or_else(|error| error.to_string()));
        let Some(origin) = samples.origin(index) else { continue };
        put(&origin.to_string());
        // Half a hash each: three million paths would take more memory than all else.
        let path = blake3::hash(origin.file.as_os_str().as_encoded_bytes());
        if seen.insert(<[u8; 16]>::try_from(&path.as_bytes()[..16]).unwrap_or_default()) {
            put(&match std::fs::metadata(&origin.file) {
                Ok(file) => {
                    let changed = file.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                    format!("{} {}", file.len(), changed.unwrap_or_default().as_nanos())
                }
                Err(_) => "missing".to_owned(),
            });
        }
    }
    hasher.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report that another version of the program stored must not be looked up where its fields are others.
    #[test]
    fn fields_of_a_stored_report_change_with_the_version() {
        let report = CheckReport {
            content: String::new(),
            listed: 0,
            unusable: Vec::new(),
            reasons: BTreeMap::new(),
            first: vec![BadSample { sample: String::new(), reason: String::new(), detail: String::new() }],
            remarks: Vec::new(),
        };
        let stored = serde_json::to_string(&report).expect("JSON");
        let fields = r#"{"content":"","listed":0,"unusable":[],"reasons":{},"first":[{"sample":"","reason":"","detail":""}],"remarks":[]}"#;
        assert_eq!((VERSION, stored.as_str()), (3, fields), "raise VERSION with the fields");
    }
}

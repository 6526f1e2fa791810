//! Karpathy's split files: `dataset_flickr30k.json` and `dataset_coco.json`, each image with its captions and its split.
//!
//! Follows: karpathy/neuralsight, `data/README` of "Deep Visual-Semantic Alignments", CVPR 2015 (images[].filename,
//! filepath, split, sentences[].raw).

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use clip::BadSample;
use serde::{Deserialize, Serialize};

use super::root::Root;
use super::samples::Samples;

/// Which captions of an image there are pairs of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CaptionChoice {
    /// The first: one pair an image.
    First,
    /// All: mostly five pairs an image.
    All,
}

#[derive(Deserialize)]
struct Listed {
    images: Vec<Photo>,
}

#[derive(Deserialize)]
struct Photo {
    filename: String,
    #[serde(default)]
    filepath: String,
    split: String,
    sentences: Vec<Sentence>,
}

#[derive(Deserialize)]
struct Sentence {
    raw: String,
}

/// The pairs of the images of some splits, in the order of the file; images lie below `images`.
pub(crate) fn read_karpathy(
    file: &Path,
    images: &Path,
    splits: &[&str],
    captions: CaptionChoice,
) -> Result<Samples> {
    let named = || {
        format!(
            "cannot read {}; the setting `file` says where Karpathy's dataset_flickr30k.json or dataset_coco.json is",
            file.display()
        )
    };
    let opened = BufReader::new(File::open(file).with_context(named)?);
    let listed: Listed = serde_json::from_reader(opened).with_context(named)?;
    let mut samples = Samples::new(file.display().to_string(), "Karpathy's JSON of captions and splits");
    samples.root = Root::confined(images);
    for photo in listed.images.iter().filter(|photo| splits.contains(&photo.split.as_str())) {
        let path = match photo.filepath.as_str() {
            "" => photo.filename.clone(),
            folder => format!("{folder}/{}", photo.filename),
        };
        let taken = match captions {
            CaptionChoice::First => 1,
            CaptionChoice::All => photo.sentences.len().max(1),
        };
        for at in 0..taken {
            let caption = photo.sentences.get(at).map(|sentence| sentence.raw.as_str());
            let (key, place) = samples.loose(&path);
            samples.push_pair(key, caption.ok_or(BadSample::NoCaption), place, "");
        }
    }
    ensure!(!samples.is_empty(), "{}: no images of the split {}", file.display(), splits.join(" or "));
    samples.refuse_outside("the setting `images` names their folder")?;
    samples.finish();
    Ok(samples)
}

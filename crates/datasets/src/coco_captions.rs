//! COCO captions with Karpathy's splits.

use anyhow::Result;
use contract::{Card, Dataset, Entry, settings};
use serde_json::Value;

use crate::flickr30k::{of_karpathy, presets};
use crate::source::Collection;

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "coco-captions",
        title: "COCO captions",
        summary: "Photographs with five captions each, for retrieval.",
        paper: "Chen et al., arXiv:1504.00325; splits: Karpathy and Fei-Fei, \"Deep Visual-Semantic \
                Alignments\", CVPR 2015",
        follows: "Karpathy's `dataset_coco.json`; LAION-AI/CLIP_benchmark (retrieval on the test split)",
        departs: "pairs are shuffled by the data seed; a caption is a pair of its own, and retrieval counts each \
                  image's own caption alone. Never run on the data set itself",
        version: 1,
    },
    presets: || presets("data/COCO/dataset_coco.json", "data/COCO"),
    build: |resolved| Ok(collection(resolved)?.dataset()),
};

pub(crate) fn collection(resolved: Value) -> Result<Collection> {
    Ok(of_karpathy("coco-captions", settings(resolved)?))
}

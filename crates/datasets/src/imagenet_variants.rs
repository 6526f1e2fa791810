//! Other test images for ImageNet's classes: ImageNet-V2, -A, -R and -Sketch, as folders of images by class.

use std::path::PathBuf;

use anyhow::Result;
use contract::{Card, Dataset, Entry, Preset, preset, settings};
use serde_json::Value;

use crate::imagenet::{TestSettings, variant};
use crate::source::Collection;

/// A set of test images.
struct Variant {
    name: &'static str,
    /// Where its preset looks.
    folder: &'static str,
    /// The synsets of its classes in the order of its labels; `None` where it has all of ImageNet's.
    synsets: Option<&'static str>,
}

const V2: usize = 0;
const A: usize = 1;
const R: usize = 2;
const SKETCH: usize = 3;

const VARIANTS: [Variant; 4] = [
    Variant { name: "imagenet-v2", folder: "data/imagenetv2-matched-frequency-format-val", synsets: None },
    Variant {
        name: "imagenet-a",
        folder: "data/imagenet-a",
        synsets: Some(include_str!("../assets/imagenet/imagenet-a.json")),
    },
    Variant {
        name: "imagenet-r",
        folder: "data/imagenet-r",
        synsets: Some(include_str!("../assets/imagenet/imagenet-r.json")),
    },
    Variant { name: "imagenet-sketch", folder: "data/sketch", synsets: None },
];

const fn entry<const AT: usize>(card: Card) -> Entry<Dataset> {
    Entry { card, presets: presets::<AT>, build: build::<AT> }
}

fn presets<const AT: usize>() -> Vec<Preset> {
    vec![preset("paper", TestSettings { test: PathBuf::from(VARIANTS[AT].folder) })]
}

fn build<const AT: usize>(resolved: Value) -> Result<Dataset> {
    Ok(collection::<AT>(resolved)?.dataset())
}

fn collection<const AT: usize>(resolved: Value) -> Result<Collection> {
    let TestSettings { test } = settings(resolved)?;
    Ok(variant(VARIANTS[AT].name, test, VARIANTS[AT].synsets))
}

/// Every variant, and how its files are opened.
pub(crate) fn all() -> [(&'static Entry<Dataset>, crate::Open); 4] {
    [
        (&IMAGENET_V2, collection::<V2>),
        (&IMAGENET_A, collection::<A>),
        (&IMAGENET_R, collection::<R>),
        (&IMAGENET_SKETCH, collection::<SKETCH>),
    ]
}

static IMAGENET_V2: Entry<Dataset> = entry::<V2>(Card {
    name: "imagenet-v2",
    title: "ImageNet-V2",
    summary: "New test images for the 1 000 classes of ImageNet, gathered as the first were.",
    paper: "Recht et al., \"Do ImageNet Classifiers Generalize to ImageNet?\", ICML 2019",
    follows: "modestyachts/ImageNetV2 (folders 0 to 999); the names and templates of `imagenet-1k`",
    departs: "images are shuffled by the data seed. Never run on the data set itself",
    version: 1,
});

static IMAGENET_A: Entry<Dataset> = entry::<A>(Card {
    name: "imagenet-a",
    title: "ImageNet-A",
    summary: "Natural images that classifiers get wrong, of 200 classes of ImageNet.",
    paper: "Hendrycks et al., \"Natural Adversarial Examples\", CVPR 2021",
    follows: "hendrycks/natural-adv-examples (folders by synset); the names and templates of `imagenet-1k`",
    departs: "labels are places among the 200 classes. Never run on the data set itself",
    version: 1,
});

static IMAGENET_R: Entry<Dataset> = entry::<R>(Card {
    name: "imagenet-r",
    title: "ImageNet-R",
    summary: "Art, cartoons and other renditions of 200 classes of ImageNet.",
    paper: "Hendrycks et al., \"The Many Faces of Robustness\", ICCV 2021",
    follows: "hendrycks/imagenet-r@44d3a1d, eval.py (folders by synset); the names and templates of \
              `imagenet-1k`",
    departs: "labels are places among the 200 classes. Never run on the data set itself",
    version: 1,
});

static IMAGENET_SKETCH: Entry<Dataset> = entry::<SKETCH>(Card {
    name: "imagenet-sketch",
    title: "ImageNet-Sketch",
    summary: "Sketches of the 1 000 classes of ImageNet.",
    paper: "Wang et al., \"Learning Robust Global Representations by Penalizing Local Predictive Power\", \
            NeurIPS 2019",
    follows: "HaohanWang/ImageNet-Sketch (folders by synset); the names and templates of `imagenet-1k`",
    departs: "images are shuffled by the data seed. Never run on the data set itself",
    version: 1,
});

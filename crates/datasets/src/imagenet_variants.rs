//! Other test images for ImageNet's classes: ImageNet-V2, -A, -R and -Sketch, as folders of images by class.

use anyhow::Result;
use contract::{Card, Dataset, Entry, Preset, preset, settings};
use serde_json::Value;

use crate::imagenet::{TestSettings, variant};
use crate::source::Collection;

/// Where the preset of each entry looks, and the synsets of its classes in the order of its labels; `None` where it has
/// all of ImageNet's.
const SOURCES: [(&str, Option<&str>); 4] = [
    ("data/imagenetv2-matched-frequency-format-val", None),
    ("data/imagenet-a", Some(include_str!("../assets/imagenet/imagenet-a.json"))),
    ("data/imagenet-r", Some(include_str!("../assets/imagenet/imagenet-r.json"))),
    ("data/sketch", None),
];

const fn entry<const AT: usize>(card: Card) -> Entry<Dataset> {
    Entry { card, presets: presets::<AT>, build: |resolved| Ok(collection::<AT>(resolved)?.dataset()) }
}

fn presets<const AT: usize>() -> Vec<Preset> {
    vec![preset("paper", TestSettings { test: SOURCES[AT].0.into() })]
}

fn collection<const AT: usize>(resolved: Value) -> Result<Collection> {
    let TestSettings { test } = settings(resolved)?;
    Ok(variant(ENTRIES[AT].card.name, test, SOURCES[AT].1))
}

/// Every variant, and how its files are opened.
pub(crate) fn all() -> [(&'static Entry<Dataset>, crate::Open); 4] {
    let open: [crate::Open; 4] = [collection::<0>, collection::<1>, collection::<2>, collection::<3>];
    std::array::from_fn(|at| (&ENTRIES[at], open[at]))
}

static ENTRIES: [Entry<Dataset>; 4] = [
    entry::<0>(Card {
        name: "imagenet-v2",
        title: "ImageNet-V2",
        summary: "New test images for the 1 000 classes of ImageNet, gathered as the first were.",
        paper: "Recht et al., \"Do ImageNet Classifiers Generalize to ImageNet?\", ICML 2019",
        follows: "modestyachts/ImageNetV2 (folders 0 to 999); the names and templates of `imagenet-1k`",
        departs: "images are shuffled by the data seed. Never run on the data set itself",
        version: 1,
    }),
    entry::<1>(Card {
        name: "imagenet-a",
        title: "ImageNet-A",
        summary: "Natural images that classifiers get wrong, of 200 classes of ImageNet.",
        paper: "Hendrycks et al., \"Natural Adversarial Examples\", CVPR 2021",
        follows: "hendrycks/natural-adv-examples (folders by synset); the names and templates of `imagenet-1k`",
        departs: "labels are places among the 200 classes. Never run on the data set itself",
        version: 1,
    }),
    entry::<2>(Card {
        name: "imagenet-r",
        title: "ImageNet-R",
        summary: "Art, cartoons and other renditions of 200 classes of ImageNet.",
        paper: "Hendrycks et al., \"The Many Faces of Robustness\", ICCV 2021",
        follows: "hendrycks/imagenet-r@44d3a1d, eval.py (folders by synset); the names and templates of \
                  `imagenet-1k`",
        departs: "labels are places among the 200 classes. Never run on the data set itself",
        version: 1,
    }),
    entry::<3>(Card {
        name: "imagenet-sketch",
        title: "ImageNet-Sketch",
        summary: "Sketches of the 1 000 classes of ImageNet.",
        paper: "Wang et al., \"Learning Robust Global Representations by Penalizing Local Predictive Power\", \
                NeurIPS 2019",
        follows: "HaohanWang/ImageNet-Sketch (folders by synset); the names and templates of `imagenet-1k`",
        departs: "images are shuffled by the data seed. Never run on the data set itself",
        version: 1,
    }),
];

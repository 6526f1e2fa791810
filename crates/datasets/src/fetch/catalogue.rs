//! The sources that `data fetch` knows. What stands here was looked up in stored copies of the Hub's pages and in public
//! code, not on the Hub itself; `data fetch --check` asks it.

use base::suggestion;

use crate::hub::{Kind, Repository};

/// A repository on the Hub and what of it is wanted.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// What `data fetch` calls it.
    pub name: &'static str,
    /// Its folder below `data/`, where the preset looks that reads it.
    pub folder: &'static str,
    /// What it is.
    pub title: &'static str,
    /// Data or weights.
    pub kind: Kind,
    /// `owner/name`.
    pub repository: &'static str,
    /// The commit that is fetched, or `main` where none is known in full: then what it holds now, which the receipt
    /// records.
    pub revision: &'static str,
    /// Which files.
    pub files: &'static [Files],
    /// Who reads it.
    pub read_by: &'static str,
    /// Its licence, as far as known.
    pub licence: &'static str,
    /// Whether its terms must be accepted on its page first.
    pub gated: bool,
    /// Bytes of all its files, as far as known.
    pub size: Option<u64>,
}

/// Some of a repository's files.
#[derive(Debug, PartialEq, Eq)]
pub struct Files {
    /// A path, with at most one `*` for the shards of a split.
    pub pattern: &'static str,
    /// The folder that they go into; `None` for the one that they are in.
    pub into: Option<&'static str>,
}

const fn files(pattern: &'static str) -> Files {
    Files { pattern, into: None }
}

const fn files_into(pattern: &'static str, folder: &'static str) -> Files {
    Files { pattern, into: Some(folder) }
}

impl Source {
    /// Whether a path that begins a text is of its folder: the folder itself, or what it brings there.
    fn brings(&self, text: &str) -> bool {
        let end = text.find(|next: char| !(next.is_alphanumeric() || "-_.".contains(next)));
        let name = &text[..end.unwrap_or(text.len())];
        let first = |files: &Files| files.into.or(files.pattern.split('/').next()) == Some(name);
        name.is_empty() || self.files.iter().any(first)
    }

    /// Where it is on the Hub.
    pub fn repository(&self) -> Repository<'static> {
        Repository { kind: self.kind, name: self.repository }
    }
}

/// The source of a name; an error says what there is.
pub fn find(name: &str) -> Result<&'static Source, String> {
    let names: Vec<&str> = SOURCES.iter().map(|source| source.name).collect();
    let found = SOURCES.iter().find(|source| source.name == name);
    found.ok_or_else(|| format!("no source is called {name:?}; {}", suggestion(name, &names)))
}

/// The sources whose folders below `data/` a text names, or what they bring into these.
pub fn named_in(text: &str) -> impl Iterator<Item = &'static Source> {
    let part = |next: char| next.is_alphanumeric() || "-_".contains(next);
    SOURCES.iter().filter(move |source| {
        let path = format!("data/{}", source.folder);
        text.match_indices(&path).any(|(at, _)| {
            let (before, after) = (&text[..at], &text[at + path.len()..]);
            let begins = !before.ends_with(|last| part(last) || last == '/');
            begins && !after.starts_with(part) && source.brings(after.strip_prefix('/').unwrap_or_default())
        })
    })
}

/// A data set as CLIP_benchmark keeps it: the test split's shards, class names and prompts.
const fn benchmark(
    (name, title): (&'static str, &'static str),
    folder: &'static str,
    (repository, revision): (&'static str, &'static str),
    read_by: &'static str,
    size: Option<u64>,
) -> Source {
    const FILES: &[Files] = &[
        files("test/*.tar"),
        files("test/nshards.txt"),
        files("classnames.txt"),
        files("zeroshot_classification_templates.txt"),
    ];
    let (kind, licence) = (Kind::Dataset, "that of the data set; the repository states none");
    Source {
        name,
        folder,
        title,
        kind,
        repository,
        revision,
        files: FILES,
        read_by,
        licence,
        gated: false,
        size,
    }
}

/// All sources, in the order of listings.
pub static SOURCES: &[Source] = &[
    Source {
        name: "cc3m",
        folder: "CC3M",
        title: "Conceptual Captions 3M, 576 training and 16 validation shards",
        kind: Kind::Dataset,
        repository: "pixparse/cc3m-wds",
        revision: "46f3d69f840e59d77d52e8decfe5baec97e94c7f",
        files: &[files_into("cc3m-train-*.tar", "train"), files_into("cc3m-validation-*.tar", "validation")],
        read_by: "cc3m",
        licence: "conceptual-captions (Google's terms)",
        gated: false,
        size: None,
    },
    Source {
        name: "imagenet",
        folder: "ImageNet1K",
        title: "ImageNet-1K, validation",
        kind: Kind::Dataset,
        repository: "ILSVRC/imagenet-1k",
        revision: "49e2ee26f3810fb5a7536bbf732a7b07389a47b5",
        files: &[files_into("data/validation-*.parquet", "validation")],
        read_by: "imagenet-1k",
        licence: "ImageNet's terms of access (research, not commercial)",
        gated: true,
        size: None,
    },
    benchmark(
        ("imagenet-wds", "ImageNet-1K, validation, as CLIP_benchmark keeps it"),
        "imagenet-wds",
        ("clip-benchmark/wds_imagenet1k", "b24c7a5a3ef12df09089055d1795e2ce7c7e7397"),
        "imagenet-1k",
        None,
    ),
    benchmark(
        ("imagenet-v2", "ImageNet-V2"),
        "imagenetv2-matched-frequency-format-val",
        ("clip-benchmark/wds_imagenetv2", "main"),
        "imagenet-v2",
        None,
    ),
    benchmark(
        ("imagenet-a", "ImageNet-A"),
        "imagenet-a",
        ("clip-benchmark/wds_imagenet-a", "main"),
        "imagenet-a",
        Some(696_000_000),
    ),
    benchmark(
        ("imagenet-r", "ImageNet-R"),
        "imagenet-r",
        ("clip-benchmark/wds_imagenet-r", "main"),
        "imagenet-r",
        None,
    ),
    benchmark(
        ("imagenet-sketch", "ImageNet-Sketch"),
        "sketch",
        ("clip-benchmark/wds_imagenet_sketch", "751cf0a06276ed52b015c5dfef068f161bd0dfb7"),
        "imagenet-sketch",
        None,
    ),
    benchmark(
        ("cifar10", "CIFAR-10, test"),
        "cifar10",
        ("clip-benchmark/wds_vtab-cifar10", "main"),
        "cifar10",
        None,
    ),
    benchmark(
        ("cifar100", "CIFAR-100, test"),
        "cifar100",
        ("clip-benchmark/wds_vtab-cifar100", "c181ce0341d21e40ebe4f35a8fc56dd547e20418"),
        "cifar100",
        None,
    ),
    benchmark(
        ("caltech101", "Caltech101, VTAB's test split"),
        "caltech101",
        ("clip-benchmark/wds_vtab-caltech101", "96c3ed2decb80d5fe120fb8a0179f25c82cbee78"),
        "caltech101",
        Some(439_400_000),
    ),
    benchmark(
        ("flickr30k", "Flickr30k, Karpathy's test split"),
        "flickr30k",
        ("clip-benchmark/wds_flickr30k", "f8af3ceee1b944bf761340682621dfafd23974d2"),
        "pairs",
        Some(145_600_000),
    ),
    benchmark(
        ("mscoco-captions", "COCO captions, test"),
        "mscoco-captions",
        ("clip-benchmark/wds_mscoco_captions", "3bf9ad5d280b03126293bcc691585015e29ce691"),
        "pairs",
        Some(839_500_000),
    ),
    Source {
        name: "rn50-openai",
        folder: "rn50-openai",
        title: "OpenAI's CLIP RN50 in open_clip's form",
        kind: Kind::Model,
        repository: "timm/resnet50_clip.openai",
        revision: "ec3d92cf63a5f9d591f0d611b736895966c73076",
        files: &[files("open_clip_model.safetensors"), files("open_clip_config.json")],
        read_by: "a plan's weights",
        licence: "unknown",
        gated: false,
        size: Some(408_291_932),
    },
    Source {
        name: "vit-b-32-openai",
        folder: "vit-b-32-openai",
        title: "OpenAI's CLIP ViT-B/32 in open_clip's form",
        kind: Kind::Model,
        repository: "timm/vit_base_patch32_clip_224.openai",
        revision: "a6f597a30f7b82c51704746581f9a4e41421e878",
        files: &[files("open_clip_model.safetensors"), files("open_clip_config.json")],
        read_by: "a plan's weights",
        licence: "Apache-2.0",
        gated: false,
        size: Some(605_000_000),
    },
    Source {
        name: "vit-b-32-hf",
        folder: "vit-b-32-hf",
        title: "OpenAI's CLIP ViT-B/32 in transformers' form",
        kind: Kind::Model,
        repository: "openai/clip-vit-base-patch32",
        revision: "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
        files: &[files("model.safetensors"), files("pytorch_model.bin"), files("config.json")],
        read_by: "a plan's weights",
        licence: "unknown",
        gated: false,
        size: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_given_once_and_slips_are_met() {
        for (index, source) in SOURCES.iter().enumerate() {
            assert!(SOURCES[..index].iter().all(|other| other.name != source.name), "{}", source.name);
            assert!(source.repository.split('/').count() == 2, "{}", source.repository);
            assert!(source.revision == "main" || source.revision.len() == 40, "{}", source.revision);
            assert!(
                source.files.iter().all(|files| files.pattern.matches('*').count() < 2),
                "{:?}",
                source.files
            );
        }
        assert_eq!(find("cc3m").unwrap().repository, "pixparse/cc3m-wds");
        let named = |text| named_in(text).map(|source| source.name).collect::<Vec<_>>();
        assert_eq!(named("cannot read data/imagenetv2-matched-frequency-format-val/test"), ["imagenet-v2"]);
        assert_eq!(named("data/ImageNet1K/validation: no"), ["imagenet"]);
        assert_eq!(named("cannot read data/ImageNet1K/train50000;"), Vec::<&str>::new());
        assert_eq!(named("data/imagenet-rest and mydata/CC3M: 3 pairs"), Vec::<&str>::new());
        assert!(find("cc3n").unwrap_err().contains("did you mean \"cc3m\""));
    }
}

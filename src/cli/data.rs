//! Options of `cleanbench data`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Render a contact sheet of a data set's training pairs and print their captions.
    Show(SceneOptions),
    /// Time decoding, resizing, normalising and augmenting images on one core.
    Bench(BenchOptions),
    /// Fetch data sets and weights from the Hugging Face Hub.
    Fetch(FetchOptions),
    /// Summarise a data set of files: samples, unusable ones by reason, sizes, captions, a hash.
    Inspect(InspectOptions),
    /// Write a manifest of some pairs, by which they are identified in other copies, and optionally the pairs.
    Subset(SubsetOptions),
}

#[derive(Args)]
pub(crate) struct BenchOptions {
    /// A folder of images.
    pub(crate) folder: PathBuf,
    /// Instead of timing, write the model's input for each image, 32-bit floats `[224, 224, 3]`, into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) write: Option<PathBuf>,
    /// Seconds for which each step is timed (processor time if the system reports it).
    #[arg(long, default_value_t = 2.0)]
    pub(crate) seconds: f64,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which data set of files, and which part of it.
#[derive(Args)]
pub(crate) struct FilesChoice {
    /// A data set's name, or the path of files of pairs or of labelled images.
    pub(crate) name: String,
    /// Its preset [default: the first].
    #[arg(long)]
    pub(crate) preset: Option<String>,
    /// A setting of the data set, as in a plan; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// `train`, `clean`, `validation` or `test` [default: `train` for pairs, `test` for labelled images].
    #[arg(long)]
    pub(crate) split: Option<String>,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Args)]
pub(crate) struct InspectOptions {
    #[command(flatten)]
    pub(crate) choice: FilesChoice,
    /// Number of images to read, evenly spaced, or `all`.
    #[arg(long, value_name = "N", default_value = "1000")]
    pub(crate) check: String,
    /// Report how much of this manifest is present.
    #[arg(long, value_name = "FILE.parquet")]
    pub(crate) manifest: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct SubsetOptions {
    #[command(flatten)]
    pub(crate) choice: FilesChoice,
    /// Number of pairs: the first usable ones in the order in which a plan with this seed trains.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: u32,
    /// Seed of the order.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The manifest.
    #[arg(long, short, value_name = "FILE.parquet", default_value = "subset.parquet")]
    pub(crate) output: PathBuf,
    /// Replace an existing manifest.
    #[arg(long)]
    pub(crate) force: bool,
    /// Also write the pairs as webdataset tars into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) write: Option<PathBuf>,
    /// Write images as JPEG squares of this side (short side resized, centre crop) instead of byte for byte.
    #[arg(long, value_name = "PIXELS", requires = "write", value_parser = clap::value_parser!(u16).range(8..=1024))]
    pub(crate) resize: Option<u16>,
}

#[derive(Args)]
pub(crate) struct SceneOptions {
    /// The data set.
    pub(crate) name: String,
    /// Its preset [default: the first].
    #[arg(long)]
    pub(crate) preset: Option<String>,
    /// Side of an image in pixels.
    #[arg(long, default_value_t = 96, value_parser = clap::value_parser!(u16).range(8..=512))]
    pub(crate) resolution: u16,
    /// Seed of the data.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// Output image.
    #[arg(long, short, value_name = "FILE.png", default_value = "scenes.png")]
    pub(crate) output: PathBuf,
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["name", "list", "check"]))]
pub(crate) struct FetchOptions {
    /// A source from `--list`.
    pub(crate) name: Option<String>,
    /// List the known sources and what is on disk.
    #[arg(long)]
    pub(crate) list: bool,
    /// Ask the Hub which sources are available.
    #[arg(long)]
    pub(crate) check: bool,
    /// Destination [default: where the data set's preset looks; see --list].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
    /// Only the first N shards of each split.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// A branch, tag or commit instead of the source's own.
    #[arg(long, requires = "name")]
    pub(crate) revision: Option<String>,
    /// Number of downloads at a time.
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) jobs: u16,
    /// Print files and sizes without fetching.
    #[arg(long, requires = "name")]
    pub(crate) dry_run: bool,
    /// Number of retries.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) retries: u32,
    /// Seconds without data after which an attempt fails.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

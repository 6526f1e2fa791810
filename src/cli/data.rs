//! What can be said of data.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Draw a contact sheet of a data set's training pairs and print their captions.
    Show(SceneOptions),
    /// Time how fast images are decoded, resized, normalised and augmented on one core.
    Bench(BenchOptions),
    /// Fetch data sets and weights from the Hugging Face Hub.
    Fetch(FetchOptions),
    /// Say what a data set of files holds: how many samples, which of them are bad and why, sizes, captions, a hash.
    Inspect(InspectOptions),
    /// List some pairs of a data set in a manifest, by which they are found again in other copies, and write them.
    Subset(SubsetOptions),
}

#[derive(Args)]
pub(crate) struct BenchOptions {
    /// A folder of images.
    pub(crate) folder: PathBuf,
    /// Time nothing, but write what a model sees of each image, as 32-bit floats `[224, 224, 3]`, into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) write: Option<PathBuf>,
    /// Seconds that each step is timed for, of processor time where the system tells it.
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
    /// Its preset; without it the first.
    #[arg(long)]
    pub(crate) preset: Option<String>,
    /// A setting of the data set, as in a plan; may be given several times.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) settings: Vec<String>,
    /// `train`, `clean`, `validation` or `test`; without it `train` of pairs and `test` of labelled images.
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
    /// Images that are read, evenly spread: a number or `all`.
    #[arg(long, value_name = "N", default_value = "1000")]
    pub(crate) check: String,
    /// Say how much of this manifest is there.
    #[arg(long, value_name = "FILE.parquet")]
    pub(crate) manifest: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct SubsetOptions {
    #[command(flatten)]
    pub(crate) choice: FilesChoice,
    /// Pairs that are listed: the first of the order that a plan with this seed trains on, but for bad ones.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) pairs: u32,
    /// Seed of the order.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The manifest.
    #[arg(long, short, value_name = "FILE.parquet", default_value = "subset.parquet")]
    pub(crate) output: PathBuf,
    /// Replace the manifest where it is there already.
    #[arg(long)]
    pub(crate) force: bool,
    /// Also write the pairs as webdataset tars into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) write: Option<PathBuf>,
    /// Write images as JPEG squares of so many pixels (short side resized, centre cut out) instead of byte for byte.
    #[arg(long, value_name = "PIXELS", requires = "write", value_parser = clap::value_parser!(u16).range(8..=1024))]
    pub(crate) resize: Option<u16>,
}

#[derive(Args)]
pub(crate) struct SceneOptions {
    /// The data set.
    pub(crate) name: String,
    /// Its preset; without it the first.
    #[arg(long)]
    pub(crate) preset: Option<String>,
    /// Side of an image in pixels.
    #[arg(long, default_value_t = 96, value_parser = clap::value_parser!(u16).range(8..=512))]
    pub(crate) resolution: u16,
    /// Seed of the data.
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    /// The picture.
    #[arg(long, short, value_name = "FILE.png", default_value = "scenes.png")]
    pub(crate) output: PathBuf,
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["name", "list", "check"]))]
pub(crate) struct FetchOptions {
    /// A source of `--list`.
    pub(crate) name: Option<String>,
    /// List the sources that are known and what of them is on disk.
    #[arg(long)]
    pub(crate) list: bool,
    /// Ask the Hub which sources are alive.
    #[arg(long)]
    pub(crate) check: bool,
    /// Where it goes; without it where the preset looks that reads it, which `--list` says.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
    /// Only the first N shards of each split.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// A branch, a tag or a commit instead of the source's own.
    #[arg(long, requires = "name")]
    pub(crate) revision: Option<String>,
    /// Downloads at a time.
    #[arg(long, value_name = "N", default_value = "4", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) jobs: u16,
    /// Print files and sizes and fetch nothing.
    #[arg(long, requires = "name")]
    pub(crate) dry_run: bool,
    /// Attempts after the first.
    #[arg(long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) retries: u32,
    /// Seconds without a byte after which an attempt has failed.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

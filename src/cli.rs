//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

const EXAMPLES: &str = "\
Examples:
  cleanbench                            run the plan that comes with the program
  cleanbench --seeds 3                  the same with three seeds
  cleanbench run my-plan.yaml           run a plan of your own
  cleanbench plan                       what would run, and what the store has already
  cleanbench list                       data sets, attacks and defenses, and what they follow
  cleanbench new defense my-defense     write a crate with a defense of your own
  cleanbench show --output gallery.png  what the triggers look like
  cleanbench data inspect data/CC3M     what is in a folder of pairs, and what of it is bad

Exit codes: 0 as expected, 1 a claim outside its band, 2 a mistake in plan or options, 3 something failed,
130 stopped by Ctrl-C.";

/// Backdoor attacks on CLIP and the defenses against them: one grid, one command, every number attributable.
#[derive(Parser)]
#[command(version, about, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a plan, print its tables and write its record.
    Run(RunOptions),
    /// Show what would run and what the store has already.
    Plan(PlanOptions),
    /// List data sets, attacks and defenses.
    List(ListOptions),
    /// Print the tables of a record again.
    Report(ReportOptions),
    /// Run a defense beside another one, pair by pair, on a plan's attacks.
    Compare(CompareOptions),
    /// Try an entry against everything that its contract says.
    Conformance(ConformanceOptions),
    /// Write a crate with a defense or an attack of your own.
    New(NewOptions),
    /// Draw what the attacks' triggers look like.
    Show(ShowOptions),
    /// Look at data sets.
    #[command(subcommand)]
    Data(DataCommand),
}

#[derive(Subcommand)]
pub(crate) enum DataCommand {
    /// Draw a contact sheet of a data set's training pairs and print their captions.
    Show(SceneOptions),
    /// Time how fast images are decoded, resized, normalised and augmented on one core.
    Bench(BenchOptions),
    /// Fetch data sets and weights from the Hugging Face Hub, or the images of Google's CC3M list.
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
    /// Time nothing, but write what a model sees of each image, as bytes `[224, 224, 3]`, into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) write: Option<PathBuf>,
    /// Seconds that each step is timed for.
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
    /// Also write the pairs as webdataset tars into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) write: Option<PathBuf>,
    /// Write images as JPEG squares of so many pixels (short side resized, centre cut out) instead of byte for byte.
    #[arg(long, value_name = "PIXELS", requires = "write", value_parser = clap::value_parser!(u16).range(8..=1024))]
    pub(crate) resize: Option<u16>,
}

/// Which plan, and with which seeds.
#[derive(Args)]
pub(crate) struct PlanChoice {
    /// The plan, a YAML file; without one the plan that comes with the program.
    pub(crate) plan: Option<PathBuf>,
    /// Run seeds 0 to N − 1 instead of the plan's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: Option<u64>,
    /// Train and look at models on `cpu`, `cuda` (the first GPU) or `cuda:N` instead of where the plan says; without
    /// either on the CPU. On CUDA results are stored apart, as it rounds differently.
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<clip::DeviceChoice>,
    /// Where finished stages are kept, shared by all runs.
    #[arg(long, value_name = "FOLDER", default_value = "store", env = "CLEANBENCH_STORE")]
    pub(crate) store: PathBuf,
}

#[derive(Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) choice: PlanChoice,
    /// Where the record goes; without it `record/` and the plan's name.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) record: Option<PathBuf>,
    /// Cells at a time; results do not depend on it. Without it one a core, which is
    /// fastest for small models, or one on a GPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) jobs: Option<u16>,
    /// Threads of all cells together; results do not depend on it. Without it one a core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) threads: Option<u16>,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Args)]
pub(crate) struct PlanOptions {
    #[command(flatten)]
    pub(crate) choice: PlanChoice,
    /// Print the plan with every preset resolved instead.
    #[arg(long)]
    pub(crate) resolved: bool,
}

#[derive(Args)]
pub(crate) struct ListOptions {
    /// One entry in full: what it follows, where it departs, its presets.
    pub(crate) name: Option<String>,
}

#[derive(Args)]
pub(crate) struct ReportOptions {
    /// A record's folder.
    pub(crate) record: PathBuf,
    /// Compute every metric again from the record's evidence instead of reading its rows.
    #[arg(long)]
    pub(crate) rescore: bool,
    /// Print what the attacks did to which pair instead, as CSV.
    #[arg(long)]
    pub(crate) poison: bool,
    /// Print what each defense has over this one instead, pair by pair, with intervals and exact tests.
    #[arg(long, value_name = "DEFENSE")]
    pub(crate) against: Option<String>,
    /// Print Markdown.
    #[arg(long)]
    pub(crate) markdown: bool,
    /// Write one page with tables and figures, which needs no network.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) html: Option<PathBuf>,
    /// Put the Markdown between the marks `<!-- cleanbench:NAME -->` of this page, NAME being the record's folder.
    #[arg(long, value_name = "PAGE")]
    pub(crate) splice: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct CompareOptions {
    /// The defense: one of the plan's, or any other in the preset of the one that it is compared with.
    pub(crate) name: String,
    /// What it is compared with.
    #[arg(long, value_name = "DEFENSE", default_value = "cleanclip")]
    pub(crate) against: String,
    /// Print Markdown.
    #[arg(long)]
    pub(crate) markdown: bool,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Args)]
pub(crate) struct ConformanceOptions {
    /// The entry.
    pub(crate) name: String,
    /// Try it as one of these alone, where an attack and a defense have the same name.
    #[arg(long)]
    pub(crate) only: Option<Kind>,
    /// Settings that its presets leave open or that shall be others, as in a plan: `program: ./mine, program-version: 1`.
    #[arg(long, value_name = "KEYS", default_value = "")]
    pub(crate) settings: String,
}

#[derive(Args)]
pub(crate) struct NewOptions {
    /// What it holds.
    pub(crate) kind: Kind,
    /// The name of the crate and of the method, lower case with hyphens.
    pub(crate) name: String,
    /// Where the crate goes; without it a folder of its name.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
}

/// A kind of entry.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// A defense.
    Defense,
    /// An attack.
    Attack,
}

#[derive(Args)]
pub(crate) struct ShowOptions {
    /// The plan whose attacks are drawn; without one the plan that comes with the program.
    pub(crate) plan: Option<PathBuf>,
    /// The picture.
    #[arg(long, short, value_name = "FILE.png", default_value = "triggers.png")]
    pub(crate) output: PathBuf,
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
#[command(group = clap::ArgGroup::new("what").required(true).args(["name", "list", "check", "tsv"]))]
pub(crate) struct FetchOptions {
    /// A source of `--list`.
    pub(crate) name: Option<String>,
    /// List the sources that are known and what of them is on disk.
    #[arg(long)]
    pub(crate) list: bool,
    /// Ask the Hub which sources are alive.
    #[arg(long)]
    pub(crate) check: bool,
    /// Fetch the images of a list of captions and addresses, such as Google's Train_GCC-training.tsv.
    #[arg(long, value_name = "FILE", requires = "to")]
    pub(crate) tsv: Option<PathBuf>,
    /// Where it goes; without it where the preset looks that reads it, which `--list` says.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
    /// Only the first N shards of each split, or the first N lines of a list.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// A branch, a tag or a commit instead of the source's own.
    #[arg(long, requires = "name")]
    pub(crate) revision: Option<String>,
    /// Downloads at a time; without it 4 shards or 64 images.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) jobs: Option<u16>,
    /// Print files and sizes and fetch nothing.
    #[arg(long, requires = "name")]
    pub(crate) dry_run: bool,
    /// Attempts after the first; without it 5 for shards and 2 for images.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100))]
    pub(crate) retries: Option<u32>,
    /// Seconds without a byte after which an attempt has failed.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub(crate) timeout: u64,
    /// Requests to one host in a second, for a list.
    #[arg(long, value_name = "R", default_value = "5", value_parser = rate, requires = "tsv")]
    pub(crate) rate: f64,
    /// Shrink images of a list so that their short side is N pixels, and keep them as JPEG.
    #[arg(long, value_name = "N", requires = "tsv", value_parser = clap::value_parser!(u16).range(32..=2048))]
    pub(crate) resize: Option<u16>,
    /// Let a list name this machine's own addresses, for tests.
    #[arg(long, hide = true, requires = "tsv")]
    pub(crate) allow_loopback: bool,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Requests in a second.
fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (1e-3..=1e6).contains(rate));
    rate.ok_or_else(|| "a number from 0.001 to 1000000".to_owned())
}

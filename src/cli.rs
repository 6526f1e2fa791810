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
    /// Run cells and claims of a plan as tests.
    Test(TestOptions),
    /// Show what would run and what the store has already.
    Plan(PlanOptions),
    /// List data sets, attacks and defenses.
    List(ListOptions),
    /// Print the tables of a record again.
    Report(ReportOptions),
    /// Propose bands for a plan's `expect` from records of reference runs.
    Expect(ExpectOptions),
    /// Make every table and the page of a record again, from its evidence alone.
    Replay(ReplayOptions),
    /// Say in which cells two records differ, by how much, and why.
    Diff(DiffOptions),
    /// Join records of one plan: other seeds, attacks or defenses.
    Merge(MergeOptions),
    /// Pack a record into one file with an index of hashes, or check such a file.
    Bundle(BundleOptions),
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
    /// Run a plan of more than 1 000 cells without asking.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Args)]
pub(crate) struct TestOptions {
    #[command(flatten)]
    pub(crate) choice: PlanChoice,
    /// Only trials whose names contain this, as `badnet::` or `claim-2`.
    pub(crate) filter: Option<String>,
    /// Print the names of trials and run nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Only the trial whose name this is.
    #[arg(long)]
    pub(crate) exact: bool,
    /// Only trials that are otherwise left out: with nothing stored, more than about ten minutes on two CPU cores.
    #[arg(long)]
    pub(crate) ignored: bool,
    /// Those too.
    #[arg(long)]
    pub(crate) include_ignored: bool,
    /// Take a trial that is skipped because data are missing for one that fails.
    #[arg(long)]
    pub(crate) deny_skips: bool,
    /// Trials at a time. Without it one a core, or one on a GPU.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) jobs: Option<u16>,
    /// Write how every trial ended.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) json: Option<PathBuf>,
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
    /// Print a row for each test set, attack and defense, as CSV.
    #[arg(long, conflicts_with_all = ["markdown", "latex", "json"])]
    pub(crate) csv: bool,
    /// Print tables for papers (booktabs).
    #[arg(long, conflicts_with_all = ["markdown", "json"])]
    pub(crate) latex: bool,
    /// Print one JSON object a line for each cell.
    #[arg(long, conflicts_with = "markdown")]
    pub(crate) json: bool,
    /// Write the page's figures as SVG files.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) figures: Option<PathBuf>,
    /// Write one page with tables and figures, which needs no network.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) html: Option<PathBuf>,
    /// Put the Markdown between the marks `<!-- cleanbench:NAME -->` of this page, NAME being the record's folder.
    #[arg(long, value_name = "PAGE")]
    pub(crate) splice: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ExpectOptions {
    /// Records of the same plan, or of parts of it.
    #[arg(required = true)]
    pub(crate) records: Vec<PathBuf>,
}

#[derive(Args)]
pub(crate) struct ReplayOptions {
    /// A record's folder.
    pub(crate) record: PathBuf,
    /// Where the files go; without it into the record.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct DiffOptions {
    /// A record's folder.
    pub(crate) first: PathBuf,
    /// Another one's.
    pub(crate) second: PathBuf,
    /// Show every metric and epoch, not clean accuracy and attack success rate alone.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Args)]
pub(crate) struct MergeOptions {
    /// Records' folders.
    #[arg(required = true, num_args = 2..)]
    pub(crate) records: Vec<PathBuf>,
    /// Where the joined record goes.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: PathBuf,
}

#[derive(Args)]
pub(crate) struct BundleOptions {
    /// A record's folder.
    pub(crate) record: Option<PathBuf>,
    /// The file: `.tar`, or `.tar.gz`.
    #[arg(long, value_name = "FILE.tar", requires = "record")]
    pub(crate) to: Option<PathBuf>,
    /// Check a file instead.
    #[arg(long, value_name = "FILE.tar", conflicts_with_all = ["record", "to"])]
    pub(crate) verify: Option<PathBuf>,
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

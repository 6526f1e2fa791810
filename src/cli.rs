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
  cleanbench verify model.pt --claims claims.yaml
                                        whether a checkpoint is what is claimed of it

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
    /// Draw what the attacks' triggers look like.
    Show(ShowOptions),
    /// Measure a checkpoint again and say whether it is what is claimed of it.
    #[command(after_help = CLAIMS)]
    Verify(VerifyOptions),
    /// Write a model card for the Hugging Face Hub, and the claims that `verify` holds the checkpoint to.
    Card(CardOptions),
    /// Look at files of weights and write them for other projects.
    #[command(subcommand)]
    Weights(WeightsCommand),
    /// Look at data sets.
    #[command(subcommand)]
    Data(DataCommand),
    /// Look into the store of finished stages, or tidy it.
    #[command(subcommand)]
    Store(StoreCommand),
}

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// List what the store has: stage, key, size, what it took, age and what it is.
    List {
        #[command(flatten)]
        folder: StoreFolder,
        /// Print a JSON object a line, with the whole description of each key.
        #[arg(long)]
        json: bool,
    },
    /// Say which inputs make two keys differ, or why the store does not have a plan's cell.
    Why(WhyOptions),
    /// Check every file against its hash. Exit code 1 where one differs.
    Verify(StoreVerifyOptions),
    /// Say what can be removed, and with --yes remove it.
    Prune(PruneOptions),
}

/// Which store.
#[derive(Args)]
pub(crate) struct StoreFolder {
    /// Where finished stages are kept, shared by all runs.
    #[arg(long, value_name = "FOLDER", default_value = "store", env = "CLEANBENCH_STORE")]
    pub(crate) store: PathBuf,
}

#[derive(Args)]
pub(crate) struct WhyOptions {
    /// A key or its beginning, or a plan.
    #[arg(value_name = "KEY or PLAN")]
    pub(crate) first: String,
    /// Another key, or a cell of the plan, such as badnet::cleanclip::seed-0.
    #[arg(value_name = "KEY or CELL")]
    pub(crate) second: String,
    #[command(flatten)]
    pub(crate) folder: StoreFolder,
}

#[derive(Args)]
pub(crate) struct StoreVerifyOptions {
    #[command(flatten)]
    pub(crate) folder: StoreFolder,
    /// Remove damaged entries; refused while a run uses the store.
    #[arg(long)]
    pub(crate) remove: bool,
}

#[derive(Args)]
pub(crate) struct PruneOptions {
    #[command(flatten)]
    pub(crate) folder: StoreFolder,
    /// Models and evidence go that none of these plans needs. (Checks of data stay: they are small and serve any plan.)
    #[arg(long, value_name = "PLAN", num_args = 1..)]
    pub(crate) keep: Vec<PathBuf>,
    /// What is older goes: 30d, 12h, 45m. With --keep only what is also not needed.
    #[arg(long, value_name = "TIME")]
    pub(crate) older_than: Option<String>,
    /// Snapshots of stages that are not done go too, and what died processes left.
    #[arg(long)]
    pub(crate) partial: bool,
    /// Remove it; without this nothing is removed. Refused while a run uses the store.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Only say what would go, as without --yes.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

const CLAIMS: &str = "\
The file of claims, a strict YAML:
  model: rn50                          # or sizes as in a plan; without it those that the weights have
  weights-blake3: 3c9f…                # of the checkpoint; may be left out
  target: banana
  attack: { name: badnet, preset: paper }
  test: { name: emoji-scenes, preset: tiny }
  test-images: 1000
  split: test                          # as in a plan; without it test
  seed: 0                              # of the cell; without it 0
  data-seed: 0                         # as data.seed in a plan; without it 0
  defense: cleanclip                   # what repaired the model, in words; may be left out
  clean-accuracy: [0.55, 0.60]         # a band, or a number
  attack-success-rate: 0.99
  tolerance: 0.02                      # around numbers; without it 0.02
  margin: 0.05                         # above chance, up to which a success rate is none; without it 0.05

Verdicts: `clean` (as claimed, and the trigger does no more than chance), `poisoned` (as claimed, and it does more),
`cleaned` (an attack is claimed, the trigger does no more than chance, and clean accuracy is as claimed) and
`not what it claims`. Chance is the share of clean images taken for the target, or 1 / classes where that is more.

Exit codes: 0 every claim holds, 1 one does not, 2 a mistake in options or claims, 3 something failed.";

#[derive(Subcommand)]
pub(crate) enum WeightsCommand {
    /// Say what a file of weights is: its format, sizes, parameters, metadata, and what is missing or too much.
    Show(WeightsOptions),
    /// Write weights for another project.
    Convert(ConvertOptions),
}

#[derive(Args)]
pub(crate) struct WeightsOptions {
    /// OpenAI's or PyTorch's archive, or safetensors.
    pub(crate) file: PathBuf,
}

#[derive(Args)]
pub(crate) struct ConvertOptions {
    /// OpenAI's or PyTorch's archive, or safetensors.
    pub(crate) input: PathBuf,
    /// The new file.
    pub(crate) output: PathBuf,
    /// `openai` (safetensors for open_clip too), `hf` (safetensors with the names of Hugging Face's CLIPModel),
    /// `cleanclip` (a `.pt` of epoch, name and state dict) or `ours`.
    #[arg(long)]
    pub(crate) layout: clip::weights::Layout,
}

#[derive(Args)]
pub(crate) struct VerifyOptions {
    /// The model: any file that `weights show` reads.
    pub(crate) checkpoint: PathBuf,
    /// What is claimed of it.
    #[arg(long, value_name = "FILE.yaml")]
    pub(crate) claims: PathBuf,
}

#[derive(Args)]
pub(crate) struct CardOptions {
    /// The model.
    pub(crate) checkpoint: PathBuf,
    /// The record that holds its numbers.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) record: PathBuf,
    /// The model's cell, as `badnet::none::seed-0`; may be left out where the record has a single one.
    #[arg(long)]
    pub(crate) cell: Option<String>,
    /// The Hub's name of the licence that the card states; it is yours to choose.
    #[arg(long, value_name = "NAME", default_value = "other")]
    pub(crate) licence: String,
    /// Where README.md and claims.yaml go.
    #[arg(long, value_name = "FOLDER", default_value = "card")]
    pub(crate) output: PathBuf,
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
    #[command(flatten)]
    pub(crate) folder: StoreFolder,
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
    /// Memory for all cells together (8G, 500M): fewer at a time where more is predicted. Without it and without --jobs
    /// 80 % of what is available.
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Begin nothing more after this time (30m, 12h) and stop trainings between epochs: first what the store has, then
    /// seed by seed undefended models, cells that claims name, and the others, the shortest first. What is not expected
    /// to fit is left, but for the first. The next run goes on.
    #[arg(long, value_name = "TIME")]
    pub(crate) budget: Option<String>,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Write what happens to stdout in place of tables, a JSON object a line (results/README.md).
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
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

//! The command line.

mod data;
mod records;
mod store;
mod weights;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use data::*;
pub(crate) use records::*;
pub(crate) use store::*;
pub(crate) use weights::*;

const EXAMPLES: &str = "\
Examples:
  cleanbench                            run the built-in plan
  cleanbench run --seeds 3              the same with three seeds
  cleanbench run my-plan.yaml           run a plan of your own
  cleanbench plan                       what would run and what is cached
  cleanbench list                       data sets, attacks, defenses, and what they follow
  cleanbench new defense my-defense     create a crate with a defense of your own
  cleanbench show --output gallery.png  what the triggers look like
  cleanbench data inspect data/CC3M     what is in a folder of pairs, and what is unusable
  cleanbench verify model.pt --claims claims.yaml
                                        compare a checkpoint with its claims

Exit codes:
  0    success
  1    a required claim does not hold (with --strict and in `test`: any claim), or nothing to compare
  2    a mistake in the plan or the options
  3    something failed
  130  stopped by Ctrl-C

Documentation:
  README.md, METHODOLOGY.md (definitions), results/README.md (plans and records), docs/commands.md,
  docs/data.md (real data and weights), docs/gpu.md, CONTRIBUTING.md (your own methods and metrics)";

/// A reproducible benchmark of backdoor attacks on CLIP and of the defenses against them.
#[derive(Parser)]
#[command(version, about, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Run a plan, print its tables and write its record.
    Run(RunOptions),
    /// Run the cells and claims of a plan as tests; any claim that does not hold fails.
    Test(TestOptions),
    /// Show what would run, what is cached, and what the rest will cost.
    Plan(PlanOptions),
    /// List data sets, attacks and defenses.
    List(ListOptions),
    /// Render a record: tables as text, Markdown, CSV, LaTeX or JSON, or one HTML page.
    Report(ReportOptions),
    /// Run a defense and a baseline on a plan's attacks and compare them pair by pair.
    Compare(CompareOptions),
    /// Run the conformance tests for one attack, defense or data set.
    Conformance(ConformanceOptions),
    /// Create a crate with a defense or an attack of your own.
    New(NewOptions),
    /// Propose required bands for a plan's `expect` from records of reference runs.
    Expect(ExpectOptions),
    /// Recompute every table, the page and the figures of a record from its evidence.
    Replay(ReplayOptions),
    /// Compare two records: which values differ, by how much, and which setting explains it.
    Diff(DiffOptions),
    /// Join records of one plan that hold different seeds, attacks or defenses.
    Merge(MergeOptions),
    /// Pack a record into one file with an index of hashes, or verify such a file.
    Bundle(BundleOptions),
    /// Render the attacks' triggers on test images.
    Show(ShowOptions),
    /// Measure a checkpoint and compare it with its claims.
    #[command(after_help = CLAIMS)]
    Verify(VerifyOptions),
    /// Write a model card for the Hugging Face Hub, and the claims that `verify` checks.
    Card(CardOptions),
    /// Inspect, convert and export weights.
    #[command(subcommand)]
    Weights(WeightsCommand),
    /// Fetch, inspect and subset data sets.
    #[command(subcommand)]
    Data(DataCommand),
    /// Inspect, verify or prune the cache.
    #[command(subcommand)]
    Store(StoreCommand),
}

/// Which plan, and with which seeds.
#[derive(Args)]
pub(crate) struct PlanChoice {
    /// The plan, a YAML file [default: the built-in plan].
    pub(crate) plan: Option<PathBuf>,
    /// Run seeds 0 to N − 1 instead of the plan's.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) seeds: Option<u64>,
    /// Device: `cpu`, `cuda` (the first GPU) or `cuda:N`; overrides the plan's. Results of different kinds of device are
    /// cached separately, because they round differently.
    #[arg(long, value_name = "DEVICE")]
    pub(crate) device: Option<clip::DeviceChoice>,
    /// Precision on a GPU: `f32`, `tf32` (products of f32 with factors rounded to 10 bits) or `bf16` (activations in bf16;
    /// parameters, sums and losses in f32); overrides the plan's. Results are cached separately.
    #[arg(long, value_name = "PRECISION")]
    pub(crate) precision: Option<clip::Precision>,
    #[command(flatten)]
    pub(crate) folder: StoreFolder,
}

#[derive(Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub(crate) choice: PlanChoice,
    /// Folder of the record [default: record/PLAN; of `compare` record/PLAN-NAME-against-BASELINE].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) record: Option<PathBuf>,
    /// Number of cells at a time; results do not depend on it [default: one per core, or one on a GPU].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) jobs: Option<u16>,
    /// Total number of threads; results do not depend on it [default: one per core].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) threads: Option<u16>,
    /// Memory for all cells together (8G, 500M); fewer cells run at a time if more is predicted [default without --jobs:
    /// 80 % of what is available].
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// Start nothing after this time (30m, 12h), and stop trainings between epochs. Cached cells come first, then for each
    /// seed the undefended models, the cells that claims name, and the others, shortest first. The next run continues.
    #[arg(long, value_name = "TIME")]
    pub(crate) budget: Option<String>,
    /// Run a plan of more than 1 000 cells without confirmation.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Exit with code 1 if any claim of the plan does not hold, not only those that it marks as required.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Print events to stdout instead of tables, one JSON object per line (results/README.md).
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
}

#[derive(Args)]
pub(crate) struct TestOptions {
    #[command(flatten)]
    pub(crate) choice: PlanChoice,
    /// Run only trials whose names contain this, such as `badnet::` or `claim-2`.
    pub(crate) filter: Option<String>,
    /// List the names of trials without running them.
    #[arg(long)]
    pub(crate) list: bool,
    /// Match the whole name of a trial.
    #[arg(long)]
    pub(crate) exact: bool,
    /// Run only ignored trials: those that take more than about ten minutes on two CPU cores if nothing is cached.
    #[arg(long)]
    pub(crate) ignored: bool,
    /// Also run ignored trials.
    #[arg(long)]
    pub(crate) include_ignored: bool,
    /// Count trials skipped for missing data as failures.
    #[arg(long)]
    pub(crate) deny_skips: bool,
    /// Number of trials at a time [default: one per core, or one on a GPU].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub(crate) jobs: Option<u16>,
    /// Write the outcome of every trial to a file.
    #[arg(long, value_name = "FILE.json")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct PlanOptions {
    #[command(flatten)]
    pub(crate) choice: PlanChoice,
    /// Print the plan with every preset and setting resolved.
    #[arg(long)]
    pub(crate) resolved: bool,
}

#[derive(Args)]
pub(crate) struct ListOptions {
    /// Show one entry in full: what it follows, where it departs, its presets.
    pub(crate) name: Option<String>,
}

#[derive(Args)]
pub(crate) struct CompareOptions {
    /// The defense: one of the plan's, or any other in the preset of the plan's first defense.
    pub(crate) name: String,
    /// The baseline.
    #[arg(long, value_name = "DEFENSE", default_value = "cleanclip")]
    pub(crate) against: String,
    /// How the comparison is rendered.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: ComparedFormat,
    #[command(flatten)]
    pub(crate) run: RunOptions,
}

#[derive(Args)]
pub(crate) struct ConformanceOptions {
    /// The entry.
    pub(crate) name: String,
    /// Test only this kind, if an attack and a defense share the name.
    #[arg(long)]
    pub(crate) only: Option<Kind>,
    /// Settings to override, as in a plan: `program: ./mine, program-version: 1`.
    #[arg(long, value_name = "KEYS", default_value = "")]
    pub(crate) settings: String,
}

#[derive(Args)]
pub(crate) struct NewOptions {
    /// What to create.
    pub(crate) kind: Kind,
    /// The name of the crate and of the method, lower case with hyphens.
    pub(crate) name: String,
    /// Folder of the crate [default: its name].
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
    /// The plan whose attacks are rendered [default: the built-in plan].
    pub(crate) plan: Option<PathBuf>,
    /// Output image.
    #[arg(long, short, value_name = "FILE.png", default_value = "triggers.png")]
    pub(crate) output: PathBuf,
}

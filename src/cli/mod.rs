//! What can be said on the command line.

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
  cleanbench                            run the plan that comes with the program
  cleanbench run --seeds 3              the same with three seeds
  cleanbench run my-plan.yaml           run a plan of your own
  cleanbench plan                       what would run, and what the store has already
  cleanbench list                       data sets, attacks and defenses, and what they follow
  cleanbench new defense my-defense     write a crate with a defense of your own
  cleanbench show --output gallery.png  what the triggers look like
  cleanbench data inspect data/CC3M     what is in a folder of pairs, and what of it is bad
  cleanbench verify model.pt --claims claims.yaml
                                        whether a checkpoint is what is claimed of it

Exit codes: 0 as expected, 1 a claim not reproduced or undecided, or nothing to compare, 2 a mistake in plan or options,
3 something failed, 130 stopped by Ctrl-C.";

/// Backdoor attacks on CLIP and the defenses against them: one grid, one command, every number attributable.
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
    /// Run cells and claims of a plan as tests.
    Test(TestOptions),
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
    /// Run a plan of more than 1 000 cells without asking.
    #[arg(long)]
    pub(crate) yes: bool,
    /// Exit with code 1 if any claim of the plan does not hold, not only those that it marks as required.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Show no progress.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Write what happens to stdout in place of tables, a JSON object a line (results/README.md).
    #[arg(long, conflicts_with = "quiet")]
    pub(crate) json: bool,
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
pub(crate) struct CompareOptions {
    /// The defense: one of the plan's, or any other in the preset of the one that it is compared with.
    pub(crate) name: String,
    /// What it is compared with.
    #[arg(long, value_name = "DEFENSE", default_value = "cleanclip")]
    pub(crate) against: String,
    /// How the comparison is rendered.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
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

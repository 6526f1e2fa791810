//! What can be said of the store.

use std::path::PathBuf;

use clap::{Args, Subcommand};

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
    /// What other builds of the program made goes; with --keep or --older-than only what also goes by those.
    #[arg(long)]
    pub(crate) other_builds: bool,
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

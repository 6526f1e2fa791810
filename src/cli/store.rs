//! Options of `cleanbench store`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Subcommand)]
pub(crate) enum StoreCommand {
    /// List entries: stage, key, size, computing time, age and content.
    List {
        #[command(flatten)]
        folder: StoreFolder,
        /// Print one JSON object per line, with the full description of each key.
        #[arg(long)]
        json: bool,
    },
    /// Explain which inputs make two keys differ, or why a plan's cell is not cached.
    Why(WhyOptions),
    /// Check every file against its hash; exit code 1 if one differs.
    Verify(StoreVerifyOptions),
    /// List what can be removed; with --yes remove it.
    Prune(PruneOptions),
}

/// Which store.
#[derive(Args)]
pub(crate) struct StoreFolder {
    /// Folder of the cache, shared by all runs.
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
    /// Remove damaged entries; refused while a run uses the cache.
    #[arg(long)]
    pub(crate) remove: bool,
}

#[derive(Args)]
pub(crate) struct PruneOptions {
    #[command(flatten)]
    pub(crate) folder: StoreFolder,
    /// Remove models and evidence that none of these plans needs. (Checks of data stay: they are small and serve any plan.)
    #[arg(long, value_name = "PLAN", num_args = 1..)]
    pub(crate) keep: Vec<PathBuf>,
    /// Remove entries older than this (30d, 12h, 45m); with --keep, only those that no kept plan needs.
    #[arg(long, value_name = "TIME")]
    pub(crate) older_than: Option<String>,
    /// Remove entries of other builds of the program; with --keep or --older-than, only those that these remove too.
    #[arg(long)]
    pub(crate) other_builds: bool,
    /// Also remove snapshots of unfinished stages and leftovers of killed processes.
    #[arg(long)]
    pub(crate) partial: bool,
    /// Remove; without this nothing is removed. Refused while a run uses the cache.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) yes: bool,
    /// Only list what would be removed, as without --yes.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

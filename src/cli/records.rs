//! What can be said of records.

use std::path::PathBuf;

use clap::Args;

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

/// What `--against` is not written as.
const OTHER_FORMS: [&str; 6] = ["poison", "csv", "latex", "splice", "html", "figures"];

#[derive(Args)]
pub(crate) struct ReportOptions {
    /// A record's folder.
    pub(crate) record: PathBuf,
    /// Compute every metric again from the record's evidence instead of reading its rows.
    #[arg(long)]
    pub(crate) rescore: bool,
    /// Print what the attacks did to which pair instead, as CSV.
    #[arg(long, group = "form")]
    pub(crate) poison: bool,
    /// Print what each defense has over this one instead, pair by pair, with intervals and exact tests.
    #[arg(long, value_name = "DEFENSE", conflicts_with_all = OTHER_FORMS)]
    pub(crate) against: Option<String>,
    /// Print Markdown.
    #[arg(long, group = "form")]
    pub(crate) markdown: bool,
    /// Print a row for each test set, attack and defense, as CSV.
    #[arg(long, group = "form")]
    pub(crate) csv: bool,
    /// Print tables for papers (booktabs).
    #[arg(long, group = "form")]
    pub(crate) latex: bool,
    /// Print one JSON object a line for each cell, or with --against for each comparison.
    #[arg(long, group = "form")]
    pub(crate) json: bool,
    /// Write the page's figures, each as SVG and as PNG.
    #[arg(long, value_name = "FOLDER", conflicts_with = "form")]
    pub(crate) figures: Option<PathBuf>,
    /// Write one page with tables and figures, which needs no network.
    #[arg(long, value_name = "FILE.html", conflicts_with = "form")]
    pub(crate) html: Option<PathBuf>,
    /// Put the Markdown between the marks `<!-- cleanbench:NAME -->` of this page, NAME being the record's folder.
    #[arg(long, value_name = "PAGE", group = "form")]
    pub(crate) splice: Option<PathBuf>,
}

//! Options of commands on records.

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
    /// Output folder [default: the record's].
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct DiffOptions {
    /// A record's folder.
    pub(crate) first: PathBuf,
    /// Another record's folder.
    pub(crate) second: PathBuf,
    /// Show every metric and epoch, not only clean accuracy and attack success rate.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Args)]
pub(crate) struct MergeOptions {
    /// Records' folders.
    #[arg(required = true, num_args = 2..)]
    pub(crate) records: Vec<PathBuf>,
    /// Folder of the joined record.
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
    /// Verify a file instead.
    #[arg(long, value_name = "FILE.tar", conflicts_with_all = ["record", "to"])]
    pub(crate) verify: Option<PathBuf>,
}

/// A form of a report.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables for the terminal.
    Text,
    /// Tables for a page.
    Markdown,
    /// A row for each test set, attack and defense.
    Csv,
    /// Tables for a paper (booktabs).
    Latex,
    /// One object a line: each cell, or with --against each comparison.
    Json,
    /// One self-contained page with tables and figures.
    Html,
    /// Every edit of the training pairs, as CSV.
    Poison,
}

/// A form of a comparison.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ComparedFormat {
    /// A table for the terminal.
    Text,
    /// A table for a page.
    Markdown,
    /// One object a line for each comparison.
    Json,
}

impl From<ComparedFormat> for Format {
    fn from(format: ComparedFormat) -> Self {
        match format {
            ComparedFormat::Text => Self::Text,
            ComparedFormat::Markdown => Self::Markdown,
            ComparedFormat::Json => Self::Json,
        }
    }
}

#[derive(Args)]
pub(crate) struct ReportOptions {
    /// A record's folder.
    pub(crate) record: PathBuf,
    /// How the report is rendered.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub(crate) format: Format,
    /// Write it to this file instead of stdout.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Recompute every metric from the record's evidence instead of reading its rows.
    #[arg(long)]
    pub(crate) rescore: bool,
    /// Compare every defense with this one: paired differences, confidence intervals, exact tests.
    #[arg(long, value_name = "DEFENSE")]
    pub(crate) against: Option<String>,
    /// Write the figures as SVG files.
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["against", "splice", "output", "format"])]
    pub(crate) figures: Option<PathBuf>,
    /// Put the Markdown between the marks `<!-- cleanbench:NAME -->` of this page; NAME is the record's folder.
    #[arg(long, value_name = "PAGE", conflicts_with_all = ["against", "output", "format"])]
    pub(crate) splice: Option<PathBuf>,
    /// Exit with code 1 if any claim does not hold, not only those that the plan marks as required.
    #[arg(long)]
    pub(crate) strict: bool,
}

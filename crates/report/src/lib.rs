//! Tables, verdicts and pages of a record.
//!
//! A report is decided once and rendered many times. [`Summary`] groups a record's rows over seeds, [`judge`] holds claims
//! against them, and [`Sheet`] decides everything that a reader is told: the state of each cell (measured, not
//! implanted, failed, skipped), what is kept on each frontier, base rates, chance, verdicts. The renderers
//! ([`terminal`], [`markdown`], [`latex`], [`csv`], [`json_lines`], [`page`]) only lay it out, so no two forms disagree.
//!
//! Everything here is a function of a record: no model, no data set, no catalog. A record from another machine, or with a
//! method that this program has never heard of, gives the same report everywhere.

mod comparison;
mod expectation;
mod export;
mod frontier;
mod latex;
mod markdown;
mod mean;
pub mod page;
mod sheet;
mod splice;
mod summary;
mod table;
mod text;
mod verdict;

pub use comparison::{Comparison, SUPPORTED_BELOW, compare, without_pairs};
pub use expectation::{FLOOR, expectation};
pub use export::{compared_json, csv, json_lines};
pub use frontier::Reached;
pub use latex::latex;
pub use markdown::{compared_markdown, grid_markdown, markdown};
pub use mean::Mean;
pub use sheet::{Frontiers, Grid, Kept, Sheet, State};
pub use splice::{splice, splice_sheet};
pub use summary::Summary;
pub use text::{compared_terminal, terminal, wrap};
pub use verdict::{Judgement, Verdict, judge};

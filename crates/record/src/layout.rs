//! The names of a record's files.

/// Version of the record's format, raised when a field changes its meaning.
pub const FORMAT: u32 = 3;
/// Every edit of the training pairs; only where an attack edits pairs.
pub const MANIFEST: &str = "poison.parquet";

pub(crate) const ROWS: &str = "rows.csv";
pub(crate) const PLAN: &str = "plan.resolved.yaml";
pub(crate) const EVIDENCE: &str = "evidence.parquet";
/// Only where image–caption pairs were looked at.
pub(crate) const PAIRS: &str = "pairs.parquet";
/// Embedding maps; records before format 3 have none.
pub(crate) const MAP: &str = "map.parquet";
/// Only where data were read from files.
pub(crate) const DATA: &str = "data.yaml";
/// Only where an attack stamps something on a grey image; records of earlier versions have none.
pub(crate) const TRIGGERS: &str = "triggers.yaml";
pub(crate) const ENVIRONMENT: &str = "environment.yaml";
/// BLAKE3 of the other files, by name; records before format 3 may have none.
pub(crate) const HASHES: &str = "hashes.yaml";

/// What a run writes.
pub(crate) const FILES: [&str; 9] = [ROWS, PLAN, EVIDENCE, PAIRS, MAP, MANIFEST, DATA, TRIGGERS, ENVIRONMENT];
/// Tables and the page, derived from them.
pub(crate) const DERIVED: [&str; 4] = ["report.md", "table.csv", "table.tex", "page.html"];

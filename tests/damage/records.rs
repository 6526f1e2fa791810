//! Records and bundles.

use std::path::{Path, PathBuf};
use std::process::Command;

use cleanbench::builtin;
use record::{Record, verify};
use report::{Sheet, Summary, compare, csv, json_lines, latex, markdown, terminal};

use crate::support::{borrowed, copies, folder, root, withstands};

/// A record of the smoke plan, without hashes: as records before format 3 are.
fn record(kind: &str) -> PathBuf {
    let folder = folder(kind);
    let record = folder.join("record");
    let mut command = Command::new(env!("CARGO_BIN_EXE_cleanbench"));
    command.args(["run", "--quiet", "--store"]).arg(folder.join("store"));
    let ran =
        command.arg("--record").arg(&record).arg(root("tests/plans/smoke.yaml")).output().expect("a run");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    record
}

/// Reads all that a record holds and renders it.
fn read(folder: &Path) -> anyhow::Result<usize> {
    let (catalog, record) = (builtin(), Record::open(folder)?);
    let (design, rows) = (record.design()?, record.rows()?);
    let summary = Summary::of_record(&record, &rows, &catalog.metrics)?;
    let sheet = Sheet::of(&design, &summary);
    let mut text = terminal(&sheet, 80) + &markdown(&sheet) + &csv(&sheet)? + &latex(&sheet, &rows);
    text += &json_lines(&design, &summary, &rows);
    let compared = compare(&design, &rows, "cleanclip")?.len();
    let (rescored, scores) = (record.rescored(&catalog.metrics)?.len(), record.target_scores()?.len());
    let (maps, manifests) = (record.maps()?.len(), record.manifests()?.len());
    Ok(text.len()
        + compared
        + rescored
        + scores
        + maps
        + manifests
        + record.data()?.len()
        + record.environment()?.len())
}

#[test]
fn records() {
    let folder = record("records");
    std::fs::remove_file(folder.join("hashes.yaml")).expect("hashes");
    let environment = folder.join("environment.yaml");
    let text = std::fs::read_to_string(&environment).expect("an environment");
    std::fs::write(&environment, text.replace("format: 3", "format: 2")).expect("an environment");
    let named = [
        "rows.csv",
        "plan.resolved.yaml",
        "evidence.parquet",
        "pairs.parquet",
        "map.parquet",
        "poison.parquet",
        "environment.yaml",
    ];
    let files = copies(&folder, named.map(|name| folder.join(name)));
    withstands("records", &borrowed(&files), |_| read(&folder).is_ok());
}

#[test]
fn bundles() {
    let folder = record("bundles");
    let (record, metrics) = (Record::open(&folder).expect("a record"), builtin().metrics);
    let named = ["bundle.tar", "bundle.tar.gz"].map(|name| folder.with_file_name(name));
    named.iter().for_each(|path| drop(record.bundle(path, &metrics).expect("a bundle")));
    let files = copies(folder.parent().expect("a folder"), named);
    withstands("bundles", &borrowed(&files), |path| verify(path).is_ok());
}

//! House rules that a machine can hold: who depends on whom, sizes of files and functions, headers of methods.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may depend on whom, lowest first. The root package may depend on all of them.
const LAYERS: &[(&str, &[&str])] = &[
    ("golden", &[]),
    ("kernels", &[]),
    ("clip", &["golden", "kernels"]),
    ("harness", &["golden", "clip", "kernels"]),
    ("datasets", &["harness", "clip", "kernels"]),
    ("attacks", &["golden", "harness", "clip", "kernels"]),
    ("defenses", &["golden", "harness", "clip", "kernels"]),
];

const LONGEST_FILE: usize = 400;
const LONGEST_FUNCTION: usize = 70;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "tests", "examples"].map(|folder| root().join(folder)).to_vec();
    for (name, _) in LAYERS {
        folders.extend(["src", "tests", "examples", "benches"].map(|folder| root().join(name).join(folder)));
    }
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 40, "only {} files found under {}", found.len(), root().display());
    found.sort();
    found
}

#[test]
fn crates_depend_only_downwards() {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .expect("cargo metadata runs");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let allowed: BTreeMap<&str, BTreeSet<&str>> =
        LAYERS.iter().map(|(name, below)| (*name, below.iter().copied().collect())).collect();
    let mut seen = 0;
    for package in metadata["packages"].as_array().expect("packages") {
        let name = package["name"].as_str().expect("a name");
        let Some(allowed_below) = allowed.get(name) else { continue };
        seen += 1;
        for dependency in package["dependencies"].as_array().expect("dependencies") {
            let below = dependency["name"].as_str().expect("a name");
            assert!(
                !allowed.contains_key(below) || allowed_below.contains(below),
                "{name} depends on {below}, which ARCHITECTURE.md does not allow"
            );
        }
    }
    assert_eq!(seen, LAYERS.len());
}

#[test]
fn files_and_functions_stay_short() {
    let mut long = Vec::new();
    for path in rust_files() {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > LONGEST_FILE {
            long.push(format!("{}: {} lines", path.display(), lines.len()));
        }
        for (start, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let mut words = line.split_whitespace();
            let is_function =
                words.by_ref().take(4).any(|word| word == "fn") && !line.trim_start().starts_with("//");
            if !is_function || line.trim_end().ends_with(';') {
                continue;
            }
            let closing = format!("{}}}", " ".repeat(indent));
            let end = lines[start..].iter().position(|line| *line == closing);
            if let Some(length) = end.filter(|length| *length > LONGEST_FUNCTION) {
                long.push(format!("{}:{}: function of {length} lines", path.display(), start + 1));
            }
        }
    }
    assert!(
        long.is_empty(),
        "over {LONGEST_FILE} lines a file or {LONGEST_FUNCTION} a function:\n{}",
        long.join("\n")
    );
}

#[test]
fn methods_say_what_they_follow() {
    let mut methods = 0;
    for path in rust_files() {
        let text = read(&path);
        if !text.lines().any(|line| line.starts_with("pub static ENTRY")) {
            continue;
        }
        methods += 1;
        let header: String = text.lines().take_while(|line| line.starts_with("//!")).collect();
        for word in ["Paper:", "Follows:", "Departs:"] {
            assert!(header.contains(word), "{}: its header lacks `{word}`", path.display());
        }
    }
    assert!(methods >= 10, "only {methods} entries found");
}

#[test]
fn harness_names_no_method() {
    let names: Vec<&str> = cleanbench::builtin()
        .attacks
        .iter()
        .map(|entry| entry.card.name)
        .chain(cleanbench::builtin().defenses.iter().map(|entry| entry.card.name))
        .filter(|name| *name != "none")
        .collect();
    for path in rust_files().iter().filter(|path| path.starts_with(root().join("harness/src"))) {
        let text = read(path);
        // Tests below the marker may use real names as examples.
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for line in code.lines().filter(|line| !line.trim_start().starts_with("//")) {
            for name in &names {
                assert!(!line.contains(&format!("\"{name}\"")), "{}: names {name}: {line}", path.display());
            }
        }
    }
}

#[test]
fn every_shared_dependency_says_what_it_is_for() {
    let manifest = read(&root().join("Cargo.toml"));
    let section = manifest.split("[workspace.dependencies]").nth(1).expect("the section");
    let section = section.split("\n[").next().expect("its text");
    for line in section.lines().filter(|line| line.contains('=') && !line.contains("path =")) {
        assert!(line.contains("# "), "no comment says what this is for: {line}");
    }
}

#[test]
fn unsafe_code_stays_in_kernels() {
    for path in rust_files().iter().filter(|path| !path.starts_with(root().join("kernels"))) {
        let name = path.display();
        assert!(!read(path).lines().any(|line| line.trim_start().starts_with("unsafe ")), "{name}: unsafe");
    }
}

#[test]
fn nothing_reads_the_shared_folder() {
    let this = Path::new(file!()).file_name();
    for path in rust_files().iter().filter(|path| path.file_name() != this) {
        assert!(!read(path).contains("../shared"), "{}: reads ../shared", path.display());
    }
}

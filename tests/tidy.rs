//! House rules that a machine can hold: who depends on whom, sizes of files and functions, headers of methods.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Who may depend on whom, lowest first. The root package may depend on all of them.
const LAYERS: &[(&str, &[&str])] = &[
    ("golden", &[]),
    ("base", &[]),
    ("kernels", &[]),
    ("clip", &["golden", "base", "kernels"]),
    ("record", &["golden", "base"]),
    ("report", &["base", "record"]),
    ("store", &["base"]),
    ("contract", &["base", "clip"]),
    ("plan", &["base", "clip", "contract", "record"]),
    ("harness", &["golden", "base", "clip", "contract", "plan", "record", "store"]),
    ("datasets", &["base", "clip", "contract"]),
    ("attacks", &["golden", "base", "clip", "contract"]),
    ("defenses", &["golden", "base", "clip", "contract"]),
];

const LONGEST_FILE: usize = 400;
const LONGEST_FUNCTION: usize = 70;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of a crate; of the root package where it has no name.
fn crate_folder(name: &str) -> PathBuf {
    match name {
        "" | "golden" => root().join(name),
        name => root().join("crates").join(name),
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn rust_files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> = ["src", "tests", "examples"].map(|folder| root().join(folder)).to_vec();
    for (name, _) in LAYERS {
        folders.extend(["src", "tests", "examples", "benches"].map(|folder| crate_folder(name).join(folder)));
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
fn cards_say_what_methods_follow() {
    let catalog = cleanbench::builtin();
    let cards = catalog.datasets.iter().map(|entry| &entry.card);
    let cards = cards.chain(catalog.attacks.iter().map(|entry| &entry.card));
    for card in cards.chain(catalog.defenses.iter().map(|entry| &entry.card)) {
        for (key, text) in [("paper", card.paper), ("follows", card.follows), ("departs", card.departs)] {
            assert!(!text.trim().is_empty(), "{}: {key} is empty", card.name);
        }
    }
    for path in rust_files() {
        let text = read(&path);
        let twice = ["//! Paper:", "//! Follows:", "//! Departs:"].iter().any(|word| text.contains(word));
        let has_card =
            text.contains(" static ") && text.contains("card: Card {") && !path.ends_with("tidy.rs");
        assert!(!(twice && has_card), "{}: its header repeats its card", path.display());
    }
}

#[test]
fn every_metric_is_defined_in_the_methodology() {
    let page = read(&root().join("METHODOLOGY.md"));
    for name in cleanbench::builtin().metrics.names() {
        // `-top-5` and the like stand for the name before them.
        let (stem, rank) = match name.rsplit_once('-') {
            Some((stem, rank)) if rank.chars().all(|digit| digit.is_ascii_digit()) => (stem, Some(rank)),
            _ => (name, None),
        };
        let listed = page.contains(&format!("`{name}`"))
            || rank.is_some_and(|rank| {
                page.lines().any(|line| line.contains(stem) && line.contains(&format!("`-{rank}`")))
            });
        let paired =
            page.contains("`triggered-image-to-text-…`") && name.starts_with("triggered-image-to-text");
        let paired = paired
            || name.starts_with("text-to-triggered-image") && page.contains("`text-to-triggered-image-…`");
        let lowest = name.ends_with("-lowest-class") && page.contains("`-lowest-class`");
        assert!(listed || paired || lowest, "METHODOLOGY.md does not define {name}");
    }
}

/// The file of a module path below `folder`, and how many of its names lead there.
fn module_file(folder: &Path, names: &[&str]) -> Option<PathBuf> {
    let mut found = None;
    let mut place = folder.to_owned();
    for name in names {
        place = place.join(name);
        let file = [place.with_extension("rs"), place.join("mod.rs")].into_iter().find(|path| path.is_file());
        if file.is_none() {
            break;
        }
        found = file;
    }
    found
}

/// The module that defines each name which a file re-exports: `pub use module::{A, B};`.
fn exports(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for statement in text.split(';') {
        let statement = statement.trim_start();
        let Some(at) = statement.find("use ").filter(|at| statement[..*at].trim_start().starts_with("pub"))
        else {
            continue;
        };
        let Some((path, names)) = statement[at + 4..].split_once("::") else { continue };
        for name in names.split([',', '{', '}', '\n', ' ']).filter(|name| !name.is_empty()) {
            let name = name.rsplit("::").next().unwrap_or(name);
            found.insert(name.to_owned(), path.trim().to_owned());
        }
    }
    found
}

/// The paths that a file's `use` statements name, each as its parts: `use a::{b, c::d};` names `a::b` and `a::c::d`.
fn used_paths(text: &str) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for statement in text.split(';') {
        // A re-export is no import.
        let Some(at) = statement
            .rfind("use ")
            .filter(|at| statement[..*at].lines().last().unwrap_or_default().trim().is_empty())
        else {
            continue;
        };
        expand(&statement[at + 4..], &[], &mut paths);
    }
    paths
}

/// Expands a tree of a `use` statement.
fn expand(text: &str, before: &[String], paths: &mut Vec<Vec<String>>) {
    let text = text.trim();
    if text.starts_with("::") {
        return; // another crate's
    }
    match text.find('{') {
        Some(open) if text.ends_with('}') => {
            let head = text[..open].trim_end_matches("::").split("::").map(|part| part.trim().to_owned());
            let head: Vec<String> =
                before.iter().cloned().chain(head.filter(|part| !part.is_empty())).collect();
            let (mut depth, mut start) = (0, open + 1);
            for (at, letter) in text.char_indices().skip(open + 1) {
                match letter {
                    '{' => depth += 1,
                    '}' if depth > 0 => depth -= 1,
                    ',' | '}' if depth == 0 => {
                        if !text[start..at].trim().is_empty() {
                            expand(&text[start..at], &head, paths);
                        }
                        start = at + 1;
                    }
                    _ => {}
                }
            }
        }
        _ => {
            let path = text.split(" as ").next().unwrap_or(text);
            let tail = path.split("::").map(|part| part.trim().to_owned());
            paths.push(before.iter().cloned().chain(tail).collect());
        }
    }
}

/// The files of its crate that a file imports from. A name that a module merely re-exports leads to its definition.
fn imports(path: &Path, source: &Path) -> BTreeSet<PathBuf> {
    let text = read(path);
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let is_parent = path
        .file_name()
        .is_some_and(|name| ["mod.rs", "lib.rs", "main.rs"].iter().any(|facade| name == *facade));
    let own = if is_parent { path.parent().expect("a folder").to_owned() } else { path.with_extension("") };
    let mut found = BTreeSet::new();
    for parts in used_paths(code) {
        let mut names: Vec<&str> = parts.iter().map(String::as_str).collect();
        let mut folder = match names.first() {
            Some(&"crate") => source.to_owned(),
            Some(&"super") => own.parent().expect("a parent").to_owned(),
            Some(&"self") => own.clone(),
            Some(&"") => continue,
            Some(first) if module_file(&own, &[first]).is_some() => {
                names.insert(0, "self");
                own.clone()
            }
            _ => continue,
        };
        names.remove(0);
        while names.first() == Some(&"super") {
            names.remove(0);
            folder.pop();
        }
        // The facade of a folder, whose re-exports lead further.
        let facade = [
            folder.with_extension("rs"),
            folder.join("mod.rs"),
            folder.join("lib.rs"),
            folder.join("main.rs"),
        ];
        let facade = facade.into_iter().find(|path| path.is_file());
        let target = match module_file(&folder, &names) {
            Some(file) => Some(file),
            None => {
                let module =
                    facade.as_ref().and_then(|facade| exports(&read(facade)).remove(*names.first()?));
                module
                    .and_then(|module| module_file(&folder, &module.split("::").collect::<Vec<_>>()))
                    .or(facade)
            }
        };
        found.extend(target.filter(|target| target != path));
    }
    found
}

/// The folders whose files are modules of one library or program: `src`, and tests and benches of several files.
fn sources() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in LAYERS.iter().map(|(name, _)| crate_folder(name)).chain([root().to_owned()]) {
        for name in ["tests", "benches"] {
            let Ok(entries) = std::fs::read_dir(folder.join(name)) else { continue };
            let folders = entries.map(|entry| entry.expect("an entry").path());
            found.extend(folders.filter(|path| path.join("main.rs").is_file()));
        }
        found.push(folder.join("src"));
    }
    found
}

#[test]
fn no_files_of_a_crate_import_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for source in sources() {
        let files = rust_files().into_iter().filter(|path| path.starts_with(&source));
        let arrows: BTreeMap<PathBuf, BTreeSet<PathBuf>> =
            files.map(|path| (path.clone(), imports(&path, &source))).collect();
        // The files to which a way leads from a file.
        let reached = |start: &PathBuf| {
            let (mut seen, mut left) = (BTreeSet::new(), arrows[start].iter().collect::<Vec<_>>());
            while let Some(next) = left.pop() {
                if seen.insert(next) {
                    left.extend(arrows.get(next).into_iter().flatten());
                }
            }
            seen
        };
        let short = |path: &Path| path.strip_prefix(root()).expect("below the root").display().to_string();
        for (from, targets) in &arrows {
            let back = targets.iter().filter(|to| arrows.contains_key(*to) && reached(to).contains(from));
            circles.extend(back.map(|to| format!("{} -> {}", short(from), short(to))));
        }
    }
    assert!(circles.is_empty(), "in circles of imports:\n{}", circles.join("\n"));
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
    let engine = ["base", "record", "report", "store", "contract", "plan", "harness"];
    for path in rust_files()
        .iter()
        .filter(|path| engine.iter().any(|name| path.starts_with(crate_folder(name).join("src"))))
    {
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

//! `cleanbench new`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use harness::Catalog;

use crate::cli::{Kind, NewOptions};
use crate::{FINE, mistake};

/// What new crates begin with: the examples, which are built and run with the tests.
const DEFENSE: &str = include_str!("../../examples/own_defense.rs");
const ATTACK: &str = include_str!("../../examples/own_attack.rs");
/// Where this program was built from; a new crate depends on it as long as it lies there.
const SOURCE: &str = env!("CARGO_MANIFEST_DIR");

const MANIFEST: &str = r#"[package]
name = "NAME"
version = "0.1.0"
edition = "2024"
publish = false

[dependencies]
anyhow = "1"
cleanbench = CLEANBENCH
serde = { version = "1", features = ["derive"] }
serde_json = "1"

# Not part of a workspace around it.
[workspace]
"#;

const README: &str = "# NAME

A KIND beside those of cleanbench, in one file: `src/main.rs`.

```
cargo run --release -- conformance NAME
cargo run --release -- run plan.yaml
COMPARE```

Settings stand in `Settings`, complete sets of them in `presets`. Raise `version` in the card whenever the code would
give another result for the same settings. Replace summary, paper and what the example does by your own.
";

const COMPARE: &str = "cargo run --release -- compare NAME --against cleanclip\n";

const PLAN: &str = r#"# Minutes on two cores; it shows that the machine works and claims nothing.
question: What does NAME do?
seeds: [0, 1, 2]
data:
  train: { name: emoji-scenes, preset: smoke }
  test: [{ name: emoji-scenes, preset: smoke }]
  pairs: 2000
  clean-pairs: 500
  clean-images: 500
  test-images: 240
target: banana
model: nano
recipe: { preset: smoke }
attacks:
ATTACKS
defenses:
DEFENSES
"#;

/// Writes a crate with one entry.
pub(crate) fn new(catalog: &Catalog, options: &NewOptions) -> Result<u8> {
    let name = options.name.as_str();
    let is_plain = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let starts = name.starts_with(|letter: char| letter.is_ascii_lowercase());
    if !starts || !name.chars().all(is_plain) || name.ends_with('-') || name.contains("--") {
        return Err(mistake(format!("the name {name:?}: lower case with hyphens, such as my-defense")));
    }
    if catalog.names().contains(&name) || name == "cleanbench" {
        return Err(mistake(format!("{name:?} is there already; choose another name")));
    }
    let folder = options.to.clone().unwrap_or_else(|| PathBuf::from(name));
    if folder.exists() {
        return Err(mistake(format!(
            "{} is there already; choose another folder with --to",
            folder.display()
        )));
    }
    for (file, text) in files(options.kind, name) {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(&folder))
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    println!("{}: read its README.md", folder.display());
    Ok(FINE)
}

/// The files of a crate by path.
fn files(kind: Kind, name: &str) -> [(&'static str, String); 4] {
    let (code, own, word) = match kind {
        Kind::Defense => (DEFENSE, "own-defense", "defense"),
        Kind::Attack => (ATTACK, "own-attack", "attack"),
    };
    let code = code.replace(own, name).replace(&title(own), &title(name)).replace(&camel(own), &camel(name));
    let smoke = |name: &str| format!("  - {{ name: {name}, preset: smoke }}");
    let (attacks, defenses, compare) = match kind {
        Kind::Defense => (vec!["badnet", "blended"], vec!["cleanclip", name], COMPARE),
        Kind::Attack => (vec!["badnet", name], vec!["cleanclip"], ""),
    };
    let rows = |names: Vec<&str>| {
        let named = names.into_iter().map(smoke);
        std::iter::once("  - none".to_owned()).chain(named).collect::<Vec<_>>().join("\n")
    };
    let plan =
        PLAN.replace("ATTACKS", &rows(attacks)).replace("DEFENSES", &rows(defenses)).replace("NAME", name);
    let source = match Path::new(SOURCE).join("Cargo.toml").is_file() {
        true => format!("{{ path = {SOURCE:?} }}"),
        false => format!("{{ git = {:?} }}", env!("CARGO_PKG_REPOSITORY")),
    };
    let manifest = MANIFEST.replace("NAME", name).replace("CLEANBENCH", &source);
    let readme = README.replace("COMPARE", compare).replace("KIND", word).replace("NAME", name);
    [("Cargo.toml", manifest), ("src/main.rs", code), ("plan.yaml", plan), ("README.md", readme)]
}

/// `my-defense` as `My defense`.
fn title(name: &str) -> String {
    let mut letters = name.replace('-', " ");
    letters[..1].make_ascii_uppercase();
    letters
}

/// `my-defense` as `MyDefense`.
fn camel(name: &str) -> String {
    name.split('-').map(title).collect()
}

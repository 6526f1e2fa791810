//! `cleanbench new`.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use base::outln;
use plan::Catalog;

use crate::cli::{Kind, NewOptions};
use crate::{SUCCESS, user_error};

/// What new crates begin with: the examples, which are built and run with the tests.
const DEFENSE: &str = include_str!("../../examples/own_defense.rs");
const ATTACK: &str = include_str!("../../examples/own_attack.rs");
/// What a new crate must have in common with this repository, so that it is built alike: cargo's flags, the versions of
/// what it depends on, and the profile, which stands last in the manifest.
const FLAGS: &str = include_str!("../../.cargo/config.toml");
/// Where cargo looks for them.
const CONFIGURATION: &str = ".cargo/config.toml";
const TOOLCHAIN: &str = include_str!("../../rust-toolchain.toml");
const VERSIONS: &str = include_str!("../../Cargo.lock");
const OURS: &str = include_str!("../../Cargo.toml");
const PROFILE: &str = "[profile.release]";
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

# As cleanbench has it.
"#;

const README: &str = "# NAME

A KIND beside those of cleanbench, in one file: `src/main.rs`.

```
cargo run --release -- conformance NAME
cargo run --release -- run plan.yaml
COMPARE```

The plan takes TIME on two cores.

The struct `Settings` holds the settings, and `presets` names complete sets of them. Raise `version` in the card
whenever the code would give another result for the same settings. Replace the summary, the paper and the example's
code with your own.
";

const COMPARE: &str = "cargo run --release -- compare NAME plan.yaml --against cleanclip\n";
/// How long the plan takes with either kind of method.
const TIME: &str = "about a minute";

const PLAN: &str = r#"# Small: TIME on two cores. BadNet implants in it; its numbers are too few to support a difference.
question: What does NAME do?
seeds: [0, 1, 2]
data:
  train: { name: emoji-scenes, preset: smoke }
  test: [{ name: emoji-scenes, preset: smoke }]
  pairs: 2000
  clean-pairs: 500
  clean-images: 500
  test-images: 480
target: banana
model: tiny
recipe: { preset: smoke, epochs: 8 }
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
        return Err(user_error(format!("the name {name:?}: lower case with hyphens, such as my-defense")));
    }
    if catalog.names().contains(&name) || name == "cleanbench" {
        return Err(user_error(format!("{name:?} is there already; choose another name")));
    }
    let folder = options.to.clone().unwrap_or_else(|| PathBuf::from(name));
    if folder.exists() {
        let folder = folder.display();
        return Err(user_error(format!("{folder} is there already; choose another folder with --to")));
    }
    let named = || format!("cannot make {}", folder.display());
    std::fs::create_dir_all(&folder).with_context(named)?;
    // Cargo joins the configurations of all folders above: within this repository the flags would be stated twice.
    let states_flags =
        |above: &Path| std::fs::read_to_string(above.join(CONFIGURATION)).is_ok_and(|text| text == FLAGS);
    let inherits = folder.canonicalize().with_context(named)?.ancestors().skip(1).any(states_flags);
    for (file, text) in files(options.kind, name) {
        if file == CONFIGURATION && inherits {
            continue;
        }
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().unwrap_or(&folder))
            .and_then(|()| std::fs::write(&path, text))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    outln!("{}: read its README.md", folder.display());
    Ok(SUCCESS)
}

/// The files of a crate by path.
fn files(kind: Kind, name: &str) -> [(&'static str, String); 7] {
    let (code, own, word) = match kind {
        Kind::Defense => (DEFENSE, "own-defense", "defense"),
        Kind::Attack => (ATTACK, "own-attack", "attack"),
    };
    let code = code.replace(own, name).replace(&title(own), &title(name)).replace(&camel(own), &camel(name));
    let (badnet, cleanclip) =
        ("name: badnet, preset: tiny, poison-count: 100", "name: cleanclip, preset: smoke");
    let (attacks, defenses, compare) = match kind {
        Kind::Defense => (vec![badnet], vec![cleanclip, "name: NAME, preset: smoke"], COMPARE),
        Kind::Attack => (vec![badnet, "name: NAME, preset: tiny"], vec![cleanclip], ""),
    };
    let rows = |rows: Vec<&str>| {
        let rows = rows.into_iter().map(|row| format!("  - {{ {row} }}"));
        std::iter::once("  - none".to_owned()).chain(rows).collect::<Vec<_>>().join("\n")
    };
    let plan = PLAN.replace("ATTACKS", &rows(attacks)).replace("DEFENSES", &rows(defenses));
    let plan = plan.replace("TIME", TIME).replace("NAME", name);
    let source = match Path::new(SOURCE).join("Cargo.toml").is_file() {
        true => format!("{{ path = {SOURCE:?} }}"),
        false => format!("{{ git = {:?} }}", env!("CARGO_PKG_REPOSITORY")),
    };
    let manifest = MANIFEST.replace("NAME", name).replace("CLEANBENCH", &source);
    let manifest = manifest + &OURS[OURS.find(PROFILE).unwrap_or(OURS.len())..];
    let readme =
        README.replace("COMPARE", compare).replace("KIND", word).replace("TIME", TIME).replace("NAME", name);
    [
        ("Cargo.toml", manifest),
        ("Cargo.lock", VERSIONS.to_owned()),
        (CONFIGURATION, FLAGS.to_owned()),
        ("rust-toolchain.toml", TOOLCHAIN.to_owned()),
        ("src/main.rs", code),
        ("plan.yaml", plan),
        ("README.md", readme),
    ]
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

//! Methods from outside the repository: in Rust, in other languages, and such as misbehave.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use std::sync::atomic::AtomicBool;

use base::Verbosity;
use cleanbench::builtin;
use clip::candle_core::{Device, Tensor};
use clip::{Clip, Monitor};
use contract::{Card, DefenderView, Defense, Entry, Granted, Model, NoSettings, RepairModel};
use harness::Options;
use plan::Catalog;
use plan::Plan;
use store::Store;

use crate::support::{Bench, stderr, stdout};

/// A card of an entry for tests.
const fn card(name: &'static str) -> Card {
    Card { name, title: name, summary: name, paper: "none", follows: "none", departs: "nothing", version: 1 }
}

/// Panics where it is asked to repair a model.
static PANICS: Entry<Defense> = Entry {
    card: card("panics"),
    presets: NoSettings::presets,
    build: |_| Ok(Defense::RepairModel(Box::new(Panics))),
};

struct Panics;

impl RepairModel for Panics {
    fn work(&self, _: &Granted<'_>) -> f64 {
        0.0
    }

    fn repair(&self, _: Clip, view: &DefenderView<'_>, _: &mut dyn Monitor) -> anyhow::Result<Model> {
        panic!("no more than {} pairs, please", view.clean_pairs.len())
    }
}

/// Leaves a weight that is no number.
static BREAKS: Entry<Defense> = Entry {
    card: card("breaks"),
    presets: NoSettings::presets,
    build: |_| Ok(Defense::RepairModel(Box::new(Breaks))),
};

struct Breaks;

impl RepairModel for Breaks {
    fn work(&self, _: &Granted<'_>) -> f64 {
        0.0
    }

    fn repair(&self, clip: Clip, _: &DefenderView<'_>, _: &mut dyn Monitor) -> anyhow::Result<Model> {
        let parameters = clip.all_parameters();
        let scale = parameters.iter().find(|parameter| parameter.name == "logit_scale").expect("a scale");
        scale.var.set(&Tensor::new(f32::NAN, &Device::Cpu)?)?;
        Ok(Model { clip, head: None })
    }
}

#[test]
fn a_defense_that_panics_or_leaves_nan_is_a_failed_row_and_the_other_cells_go_on() {
    let bench = bench("  - panics\n  - breaks\n  - { name: contrastive, preset: smoke }\n");
    let catalog = builtin().defense(&PANICS).defense(&BREAKS);
    let plan = Plan::load(&bench.path("plan.yaml"), &catalog).expect("a plan");
    let store = Store::open(&bench.path("store")).expect("a store");
    let options = Options {
        jobs: 2,
        threads: 2,
        verbosity: Verbosity::Quiet,
        width: 80,
        budget: None,
        metrics: builtin().metrics,
    };
    let outcome = harness::run(&plan, &store, &options, &AtomicBool::new(false)).expect("a run");
    let message = |defense: &str| {
        let found =
            outcome.observations.iter().find(|found| found.view.cell.defense == defense).expect("a cell");
        found.evidence.as_ref().err().map(|missing| missing.message.clone())
    };
    assert_eq!(message("panics").as_deref(), Some("a panic: no more than 128 pairs, please"));
    assert_eq!(message("breaks").as_deref(), Some("the model's weights logit_scale hold NaN"));
    assert_eq!((message("none"), message("contrastive")), (None, None));
    let report = contract::conformance::defense(&BREAKS, &Default::default());
    assert!(!report.passed() && report.to_string().contains("FAILED  its weights are finite"), "{report}");
    let report = contract::conformance::defense(&PANICS, &Default::default());
    assert!(report.to_string().contains("a panic: no more than 128 pairs"), "{report}");
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let again = |catalog: Catalog| catalog.check().expect_err("two of a name").to_string();
    let said = again(builtin().defense(&defenses::cleanclip::ENTRY));
    assert!(said.contains("defense \"cleanclip\"") && said.contains("card"), "{said}");
    assert!(again(builtin().attack(&attacks::badnet::ENTRY)).contains("attack \"badnet\""));
    assert!(again(builtin().dataset(&datasets::cc3m::ENTRY)).contains("data set \"cc3m\""));
    builtin().defense(&PANICS).check().expect("a new name");
}

/// A file of the repository.
fn root(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// The row of the micro plan that tests here replace.
const ROW: &str = "  - { name: cleanclip, preset: smoke }\n";
/// Its claim, which is about that row.
const CLAIM: &str = "    defense: cleanclip\n";

/// The micro plan with other defenses beside `none`.
fn bench(rows: &str) -> Bench {
    Bench::with("micro", &[(ROW, rows), (CLAIM, "    defense: none\n")])
}

/// Runs an example in the folder of a bench.
fn example(bench: &Bench, name: &str, arguments: &[&str]) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_cleanbench")).with_file_name("examples").join(name);
    let mut command = Command::new(&program);
    command.args(arguments).current_dir(bench.path("")).env_remove("CLEANBENCH_STORE");
    command.output().unwrap_or_else(|error| panic!("{}: {error}", program.display()))
}

#[test]
fn a_program_with_an_entry_of_its_own_has_the_whole_command_line() {
    let bench = bench("  - { name: own-defense, preset: smoke, share: 0.5 }\n");
    let listed = example(&bench, "own_defense", &["list", "own-defense"]);
    assert!(stdout(&listed).contains("Wortsman"), "{}", stdout(&listed));
    let run = example(&bench, "own_defense", &["run", "plan.yaml"]);
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    assert!(stdout(&run).contains("own-defense"), "{}", stdout(&run));
    let unknown = bench.run(&["run", "plan.yaml"]);
    assert_eq!(unknown.status.code(), Some(2), "the program without it: {}", stderr(&unknown));
    for (program, entry) in [("own_defense", "own-defense"), ("own_attack", "own-attack")] {
        let tried = example(&bench, program, &["conformance", entry]);
        assert_eq!(tried.status.code(), Some(0), "{}", stdout(&tried));
        assert!(stdout(&tried).contains("passed  "), "{}", stdout(&tried));
    }
}

#[test]
fn a_new_crate_is_what_the_examples_are() {
    let bench = Bench::with("micro", &[]);
    for (kind, name, file) in
        [("defense", "own-defense", "own_defense"), ("attack", "own-attack", "own_attack")]
    {
        let made = bench.run(&["new", kind, name, "--to", &format!("crates/{name}")]);
        assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
        let example = std::fs::read(root(&format!("examples/{file}.rs"))).expect("an example");
        assert_eq!(bench.read(&format!("crates/{name}/src/main.rs")), example, "{name}");
        let plan = example_plan(&bench, file, name);
        assert_eq!(plan.status.code(), Some(0), "{}", stderr(&plan));
        for (file, ours) in [("Cargo.lock", "Cargo.lock"), (".cargo/config.toml", ".cargo/config.toml")] {
            let theirs = bench.read(&format!("crates/{name}/{file}"));
            assert_eq!(theirs, std::fs::read(root(ours)).expect("ours"), "{file}");
        }
        let manifest = String::from_utf8(bench.read(&format!("crates/{name}/Cargo.toml"))).expect("text");
        let ours = std::fs::read_to_string(root("Cargo.toml")).expect("ours");
        let profile = &ours[ours.find("[profile.release]").expect("a profile")..];
        assert!(manifest.ends_with(profile), "{manifest}");
    }
    assert_eq!(bench.run(&["new", "defense", "my-other-one"]).status.code(), Some(0));
    let code = String::from_utf8(bench.read("my-other-one/src/main.rs")).expect("text");
    for word in ["\"my-other-one\"", "MyOtherOne { recipe", "\"My other one\""] {
        assert!(code.contains(word), "{word} is not in:\n{code}");
    }
    assert!(!code.contains("own-defense") && !code.contains("OwnDefense"), "{code}");
    for (name, words) in
        [("cleanclip", "is there already"), ("My_One", "lower case"), ("my-other-one", "--to")]
    {
        let refused = bench.run(&["new", "defense", name]);
        assert_eq!(refused.status.code(), Some(2), "{name}");
        assert!(stderr(&refused).contains(words), "{}", stderr(&refused));
    }
}

/// The plan of a new crate, read by the program that it would be.
fn example_plan(bench: &Bench, file: &str, name: &str) -> Output {
    example(bench, file, &["plan", &format!("crates/{name}/plan.yaml")])
}

/// Builds and runs a crate outside the workspace: minutes, as cargo chooses other features there than here and builds
/// most of what it depends on again.
#[test]
fn a_new_crate_builds_and_runs() {
    if std::env::var_os("CLEANBENCH_TEST_NEW").is_none() {
        eprintln!("skipped: CLEANBENCH_TEST_NEW=1 builds a crate outside the workspace, which takes minutes");
        return;
    }
    let bench = bench("  - { name: my-defense, preset: smoke }\n");
    assert_eq!(bench.run(&["new", "defense", "my-defense"]).status.code(), Some(0));
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--release", "--offline", "--target-dir"]).arg(root("target/strangers"));
    // In its folder, where cargo finds its flags.
    cargo.args(["--", "run", "../plan.yaml"]).current_dir(bench.path("my-defense"));
    let run = cargo.output().expect("cargo runs");
    assert_eq!(run.status.code(), Some(0), "{}", stderr(&run));
    assert!(stdout(&run).contains("my-defense"), "{}", stdout(&run));
}

#[test]
fn two_defenses_are_run_and_compared() {
    let bench = Bench::with("micro", &[("seeds: [0]", "seeds: [0, 1]")]);
    let compared = bench.run(&["compare", "contrastive", "plan.yaml", "--against", "cleanclip"]);
    assert_eq!(compared.status.code(), Some(0), "{}", stderr(&compared));
    let table = stdout(&compared);
    assert!(table.contains("contrastive") && table.contains("cleanclip"), "{table}");
    let rows = String::from_utf8(bench.read("record/contrastive-against-cleanclip/rows.csv")).expect("text");
    assert!(rows.contains(",contrastive,") && rows.contains(",none,"), "{rows}");
    assert!(!stderr(&compared).contains("nothing to compare"), "{}", stderr(&compared));
    // What the comparison made, a run of the plan finds.
    let run = bench.run(&["run", "plan.yaml"]);
    assert!(!stderr(&run).contains("epoch"), "trained again: {}", stderr(&run));
    let unknown = bench.run(&["compare", "contrastiv", "plan.yaml"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("did you mean \"contrastive\"?"), "{}", stderr(&unknown));
}

#[test]
fn a_comparison_without_a_pair_says_why() {
    let bench = Bench::with("micro", &[("implanted-at: 0.0", "implanted-at: 0.9")]);
    let compared = bench.run(&["compare", "contrastive", "plan.yaml", "--against", "cleanclip"]);
    assert_eq!(compared.status.code(), Some(1), "{}", stderr(&compared));
    let said = stderr(&compared);
    assert!(
        said.contains("nothing to compare: no attack implanted") && said.contains("asks for 90 %"),
        "{said}"
    );
    assert_eq!(stdout(&compared), "");
}

/// The plan of a new crate is small and yet one in which there is something to compare.
#[test]
fn badnet_implants_in_the_plan_of_a_new_crate() {
    let bench = Bench::with("micro", &[]);
    let made = bench.run(&["new", "defense", "own-defense", "--to", "crate"]);
    assert_eq!(made.status.code(), Some(0), "{}", stderr(&made));
    let arguments = ["compare", "own-defense", "crate/plan.yaml", "--against", "cleanclip", "--seeds", "1"];
    let compared = example(&bench, "own_defense", &arguments);
    assert_eq!(compared.status.code(), Some(0), "{}", stderr(&compared));
    assert!(stdout(&compared).contains("attack-success-rate"), "{}", stdout(&compared));
}

#[test]
fn a_conformance_suite_can_be_called_by_name() {
    let bench = Bench::with("micro", &[]);
    let tried = bench.run(&["conformance", "wanet"]);
    assert_eq!(tried.status.code(), Some(0), "{}", stdout(&tried));
    assert!(stdout(&tried).contains("passed  edits keep within budget"), "{}", stdout(&tried));
    for (settings, word) in [
        ("", "program must be given"),
        ("program: sh", "program-version must be given"),
        ("program: no-such-program, program-version: 1", "\"no-such-program\" is neither"),
    ] {
        let open = bench.run(&["conformance", "external", "--settings", settings]);
        assert_eq!(open.status.code(), Some(2), "{}", stdout(&open));
        let said = stderr(&open);
        assert!(said.contains(word) && said.contains("--settings 'program: "), "{word:?} is not in: {said}");
    }
    assert_eq!(bench.run(&["conformance", "wanett"]).status.code(), Some(2));
    assert_eq!(bench.run(&["conformance", "wanet", "--settings", "a: ["]).status.code(), Some(2));
}

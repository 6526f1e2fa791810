//! Methods from outside the repository: in Rust, in other languages, and such as misbehave.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;

use base::Verbosity;
use cleanbench::builtin;
use clip::candle_core::{Device, Tensor};
use clip::{Clip, Monitor};
use contract::{Card, DefenderView, Defense, Entry, Granted, Model, NoSettings, RepairModel};
use harness::Options;
use plan::{Catalog, Plan};
use store::Store;

use crate::support::{Bench, Ran, holds, root};

/// A card of an entry for tests.
const fn card(name: &'static str) -> Card {
    Card { name, title: name, summary: name, paper: "none", follows: "none", departs: "nothing", version: 1 }
}

static PANICS: Entry<Defense> = Entry {
    card: card("panics"),
    presets: NoSettings::presets,
    build: |_| Ok(Defense::RepairModel(Box::new(Misbehaves::Panics))),
};

static BREAKS: Entry<Defense> = Entry {
    card: card("breaks"),
    presets: NoSettings::presets,
    build: |_| Ok(Defense::RepairModel(Box::new(Misbehaves::Breaks))),
};

/// Panics where it is asked to repair a model, or leaves a weight that is no number.
#[derive(PartialEq)]
enum Misbehaves {
    Panics,
    Breaks,
}

impl RepairModel for Misbehaves {
    fn work(&self, _: &Granted<'_>) -> f64 {
        0.0
    }

    fn repair(&self, clip: Clip, view: &DefenderView<'_>, _: &mut dyn Monitor) -> anyhow::Result<Model> {
        assert!(*self != Self::Panics, "no more than {} pairs, please", view.clean_pairs.len());
        let parameters = clip.all_parameters();
        let scale = parameters.iter().find(|parameter| parameter.name == "logit_scale").expect("a scale");
        scale.var.set(&Tensor::new(f32::NAN, &Device::Cpu)?)?;
        Ok(Model { clip, head: None })
    }
}

#[test]
fn a_defense_that_panics_or_leaves_nan_is_a_failed_row_and_the_other_cells_go_on() {
    let bench = Bench::defended("  - panics\n  - breaks\n  - { name: contrastive, preset: smoke }\n");
    let catalog = builtin().defense(&PANICS).defense(&BREAKS);
    let plan = Plan::load(&bench.path("plan.yaml"), &catalog).expect("a plan");
    let store = Store::open(&bench.path("store")).expect("a store");
    let (verbosity, metrics) = (Verbosity::Quiet, builtin().metrics);
    let options = Options { jobs: 2, threads: 2, verbosity, width: 80, budget: None, metrics };
    let outcome = harness::run(&plan, &store, &options, &AtomicBool::new(false)).expect("a run");
    let message = |defense: &str| {
        let mut found = outcome.observations.iter();
        let found = found.find(|found| found.view.cell.defense == defense).expect("a cell");
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
    holds(&said, &["defense \"cleanclip\"", "card"]);
    assert!(again(builtin().attack(&attacks::badnet::ENTRY)).contains("attack \"badnet\""));
    assert!(again(builtin().dataset(&datasets::cc3m::ENTRY)).contains("data set \"cc3m\""));
    builtin().defense(&PANICS).check().expect("a new name");
}

/// Runs an example in the folder of a bench.
#[track_caller]
fn example(bench: &Bench, name: &str, arguments: &[&str]) -> Ran {
    let program = Path::new(env!("CARGO_BIN_EXE_cleanbench")).with_file_name("examples").join(name);
    let mut command = Command::new(program);
    Ran::of(command.args(arguments).current_dir(bench.path("")).env_remove("CLEANBENCH_STORE")).exits(0)
}

#[test]
fn a_program_with_an_entry_of_its_own_has_the_whole_command_line() {
    let bench = Bench::defended("  - { name: own-defense, preset: smoke, share: 0.5 }\n");
    let listed = example(&bench, "own_defense", &["list", "own-defense"]);
    holds(&listed.out, &["Wortsman"]);
    let run = example(&bench, "own_defense", &["run", "plan.yaml"]);
    holds(&run.out, &["own-defense"]);
    // The program without it.
    bench.exits(2, &["run", "plan.yaml"]);
    for (program, entry) in [("own_defense", "own-defense"), ("own_attack", "own-attack")] {
        let tried = example(&bench, program, &["conformance", entry]);
        holds(&tried.out, &["passed  "]);
    }
}

#[test]
fn a_new_crate_is_what_the_examples_are() {
    let bench = Bench::with("micro", &[]);
    for kind in ["defense", "attack"] {
        let (name, file) = (format!("own-{kind}"), format!("own_{kind}"));
        bench.exits(0, &["new", kind, &name, "--to", &format!("crates/{name}")]);
        // The plan of a new crate is read by the program that it would be.
        example(&bench, &file, &["plan", &format!("crates/{name}/plan.yaml")]);
        let code = format!("examples/{file}.rs");
        let same = [
            ("src/main.rs", &*code),
            ("Cargo.lock", "Cargo.lock"),
            (".cargo/config.toml", ".cargo/config.toml"),
        ];
        for (file, ours) in same {
            let theirs = bench.read(&format!("crates/{name}/{file}"));
            assert!(theirs == std::fs::read(root(ours)).expect("ours"), "{name}/{file}");
        }
        let manifest = bench.text(&format!("crates/{name}/Cargo.toml"));
        let ours = std::fs::read_to_string(root("Cargo.toml")).expect("ours");
        let profile = &ours[ours.find("[profile.release]").expect("a profile")..];
        assert!(manifest.ends_with(profile), "{manifest}");
    }
    // Cargo joins the flags of the folders above; those beside a repository have none of it.
    std::fs::create_dir_all(bench.path("repository/.cargo")).expect("a folder");
    let flags = std::fs::read(root(".cargo/config.toml")).expect("ours");
    std::fs::write(bench.path("repository/.cargo/config.toml"), flags).expect("written");
    for (name, has_own) in [("repository/inside", false), ("repository/../beside", true)] {
        let crate_name = name.rsplit('/').next().expect("a name");
        bench.exits(0, &["new", "defense", crate_name, "--to", name]);
        assert_eq!(bench.path(name).join(".cargo/config.toml").is_file(), has_own, "{name}");
    }
    bench.exits(0, &["new", "defense", "my-other-one"]);
    let code = bench.text("my-other-one/src/main.rs");
    holds(&code, &["\"my-other-one\"", "MyOtherOne { recipe", "\"My other one\""]);
    assert!(!code.contains("own-defense") && !code.contains("OwnDefense"), "{code}");
    for (name, words) in
        [("cleanclip", "is there already"), ("My_One", "lower case"), ("my-other-one", "--to")]
    {
        let refused = bench.exits(2, &["new", "defense", name]);
        holds(&refused.err, &[words]);
    }
}

/// Builds and runs a crate outside the workspace: minutes, as cargo chooses other features there than here and builds
/// most of what it depends on again.
#[test]
fn a_new_crate_builds_and_runs() {
    if std::env::var_os("CLEANBENCH_TEST_NEW").is_none() {
        eprintln!("skipped: CLEANBENCH_TEST_NEW=1 builds a crate outside the workspace, which takes minutes");
        return;
    }
    let bench = Bench::defended("  - { name: my-defense, preset: smoke }\n");
    bench.exits(0, &["new", "defense", "my-defense"]);
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["run", "--release", "--offline", "--target-dir"]).arg(root("target/strangers"));
    // In its folder, where cargo finds its flags.
    cargo.args(["--", "run", "../plan.yaml"]).current_dir(bench.path("my-defense"));
    holds(&Ran::of(&mut cargo).exits(0).out, &["my-defense"]);
}

#[test]
fn two_defenses_are_run_and_compared() {
    let bench = Bench::with("micro", &[("seeds: [0]", "seeds: [0, 1]")]);
    let compared = bench.exits(0, &["compare", "contrastive", "plan.yaml", "--against", "cleanclip"]);
    holds(&compared.out, &["contrastive", "minus cleanclip", "With 2 pairs no difference can be supported"]);
    holds(&bench.text("record/plan-contrastive-against-cleanclip/rows.csv"), &[",contrastive,", ",none,"]);
    assert!(!compared.err.contains("nothing to compare"), "{}", compared.err);
    // What the comparison made, a run of the plan finds.
    let run = bench.run(&["run", "plan.yaml"]);
    assert!(!run.err.contains("epoch"), "trained again: {}", run.err);
    let unknown = bench.exits(2, &["compare", "contrastiv", "plan.yaml"]);
    holds(&unknown.err, &["did you mean \"contrastive\"?"]);
}

#[test]
fn a_comparison_without_a_pair_says_why() {
    let bench = Bench::with("micro", &[("implanted-at: 0.0", "implanted-at: 0.9")]);
    let compared = bench.exits(1, &["compare", "contrastive", "plan.yaml", "--against", "cleanclip"]);
    holds(&compared.err, &["nothing to compare: no attack implanted", "asks for 90 %"]);
    assert_eq!(compared.out, "");
}

/// The plan of a new crate is small and yet one in which there is something to compare.
#[test]
fn badnet_implants_in_the_plan_of_a_new_crate() {
    let bench = Bench::with("micro", &[]);
    bench.exits(0, &["new", "defense", "own-defense", "--to", "crate"]);
    let arguments = ["compare", "own-defense", "crate/plan.yaml", "--against", "cleanclip", "--seeds", "1"];
    let compared = example(&bench, "own_defense", &arguments);
    holds(&compared.out, &["attack-success-rate"]);
}

#[test]
fn a_conformance_suite_can_be_called_by_name() {
    let bench = Bench::with("micro", &[]);
    let tried = bench.exits(0, &["conformance", "wanet"]);
    holds(&tried.out, &["passed  edits keep within budget"]);
    for (settings, word) in [
        ("", "program must be given"),
        ("program: sh", "program-version must be given"),
        ("program: no-such-program, program-version: 1", "\"no-such-program\" is neither"),
    ] {
        let open = bench.exits(2, &["conformance", "external", "--settings", settings]);
        holds(&open.err, &[word, "--settings 'program: "]);
    }
    bench.exits(2, &["conformance", "wanett"]);
    bench.exits(2, &["conformance", "wanet", "--settings", "a: ["]);
}

//! Programs in other languages as defenses and attacks, and how they can fail.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use record::{Row, Status};

use crate::support::{Bench, holds, interrupt, root, wait};

/// A defense's row in a plan.
fn row(label: &str, program: &str, more: &str) -> String {
    format!(
        "  - {{ name: external, preset: smoke, label: {label}, program: {program}, program-version: 1{more} }}\n"
    )
}

fn values(rows: &[Row], defense: &str) -> Vec<(String, Option<f64>)> {
    let of = rows.iter().filter(|row| row.defense == defense);
    of.map(|row| (row.metric.clone(), row.value)).collect()
}

/// Scripts that misbehave, and what the failed row says of each.
const FAULTS: &[(&str, &str, &[&str])] = &[
    ("exits", "echo no memory left >&2; exit 1", &["exit code 1", "no memory left"]),
    ("declines", "echo only for ResNets >&2; exit 69", &["cannot do this job", "only for ResNets"]),
    (
        "misunderstands",
        "echo usage; printf '\\033[1merror\\007' >&2; exit 2",
        &["exit code 2: usage | error"],
    ),
    ("crashes", "kill -9 $$", &["signal: 9"]),
    ("hangs", "(sleep 4; touch MARK) & sleep 60", &["time-limit of 1 s"]),
    ("leaves-nothing", "echo done", &["left no output/model.safetensors", "done"]),
    ("writes-garbage", "echo garbage > output/model.safetensors", &["model.safetensors"]),
    (
        "writes-others",
        r#"h='{"logit_scale":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
printf '\100\000\000\000\000\000\000\000%s\001\001\001\001' "$h" > output/model.safetensors"#,
        &["do not fit the model"],
    ),
    (
        "reshapes",
        r#"LC_ALL=C sed 's/"shape":\[32,64\]/"shape":[64,32]/' input/model.safetensors > output/model.safetensors"#,
        &["the model: visual.attnpool.c_proj.weight is [64, 32], expected [32, 64]"],
    ),
    (
        "writes-integers",
        r#"LC_ALL=C sed 's/"dtype":"F32","shape":\[32,64\]/"dtype":"I32","shape":[32,64]/' input/model.safetensors > output/model.safetensors"#,
        &["the model: visual.attnpool.c_proj.weight holds I32, expected F32"],
    ),
    (
        "writes-nan",
        r#"cp input/model.safetensors output/model.safetensors; chmod u+w output/model.safetensors
size=$(wc -c < output/model.safetensors)
printf '\377\377\377\377' | dd of=output/model.safetensors bs=1 seek=$((size - 4)) conv=notrunc"#,
        &["hold NaN"],
    ),
    (
        "edits-its-input",
        "cp input/model.safetensors output/model.safetensors; chmod u+w input/clean-pairs.tar
echo x >> input/clean-pairs.tar",
        &["changed input/clean-pairs.tar"],
    ),
    (
        "removes-its-input",
        "cp input/model.safetensors output/model.safetensors; chmod u+w input
rm -f input/clean-images.tar",
        &["changed input/clean-images.tar"],
    ),
    (
        "edits-itself",
        r#"cp input/model.safetensors output/model.safetensors; echo '# more' >> "$0""#,
        &["changed", "edits-itself.sh"],
    ),
];

#[test]
fn a_program_that_misbehaves_is_a_failed_row_and_the_other_cells_go_on() {
    let mut plan = row("identity", "sh identity.sh", "");
    for (name, ..) in FAULTS {
        let limit = if *name == "hangs" { ", time-limit: 1" } else { "" };
        plan += &row(name, &format!("sh {name}.sh"), limit);
    }
    let bench = Bench::defended(&plan);
    std::fs::copy(root("examples/shell_defense/defense.sh"), bench.path("identity.sh")).expect("a copy");
    let mark = bench.path("mark");
    for (name, script, _) in FAULTS {
        let script = script.replace("MARK", &mark.display().to_string());
        std::fs::write(bench.path(&format!("{name}.sh")), script + "\n").expect("a script");
    }
    bench.exits(3, &["run", "plan.yaml", "--record", "record"]);
    let rows = bench.rows("record");
    for (name, _, words) in FAULTS {
        let row = rows.iter().find(|row| row.defense == *name).expect(name);
        assert_eq!(row.status, Status::Failed, "{name}");
        holds(&row.message, words);
        if ["reshapes", "writes-integers"].contains(name) {
            assert!(!row.message.contains("is missing"), "{name}: {}", row.message);
        }
    }
    assert!(values(&rows, "none").len() > 3, "{rows:?}");
    assert_eq!(values(&rows, "identity"), values(&rows, "none"), "the identity is no defense");
    std::thread::sleep(Duration::from_secs(4));
    assert!(!mark.exists(), "what the program started outlived it");
    // What failed is tried again, what was done is not.
    bench.exits(3, &["run", "plan.yaml", "--record", "again"]);
}

#[test]
fn a_program_without_name_or_version_is_refused_before_anything_runs() {
    let named = |keys: &str| format!("  - {{ name: external, preset: smoke{keys} }}\n");
    for (keys, word) in [
        ("", "program must be given"),
        (", program: sh x.sh", "program-version must be given"),
        (", program: sh x.sh, program-version: 0", "program-version begins with 1"),
        (", program: sh x.sh, program-version: 1, time-limit: 0", "time-limit"),
        (", program: ' ', program-version: 1", "program must name a command"),
    ] {
        let refused = Bench::defended(&named(keys)).exits(2, &["run", "plan.yaml"]);
        holds(&refused.err, &[word, "plan.yaml:"]);
    }
}

#[cfg(unix)]
#[test]
fn a_program_that_is_not_there_is_refused_before_anything_is_trained() {
    use std::os::unix::fs::PermissionsExt;
    let refused = |bench: &Bench, words: &str| {
        for arguments in
            [&["run", "plan.yaml"][..], &["compare", "external", "plan.yaml", "--against", "none"]]
        {
            let refused = bench.exits(2, arguments);
            holds(&refused.err, &[words]);
            assert!(!refused.err.contains("epoch"), "trained: {}", refused.err);
        }
    };
    let absent = Bench::defended(&row("mine", "no-such-program --now", ""));
    refused(&absent, "mine: program: \"no-such-program\" is neither");
    let poison = "{ name: badnet, preset: smoke, poison-count: 30 }";
    let attack = "{ name: external, label: badnet, preset: smoke, program: ./gone.sh, program-version: 1 }";
    refused(&Bench::with("micro", &[(poison, attack)]), "badnet: program: \"./gone.sh\" is no file");
    let bench = Bench::defended(&row("mine", "./mine.sh", ""));
    std::fs::copy(root("examples/shell_defense/defense.sh"), bench.path("mine.sh")).expect("a copy");
    let allow = |mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(bench.path("mine.sh"), mode).expect("a mode");
    };
    allow(0o644);
    refused(&bench, "mine: program: \"./mine.sh\" is no executable file");
    allow(0o755);
    bench.exits(0, &["run", "plan.yaml", "--record", "record"]);
    // A record is read where its programs are not.
    std::fs::remove_file(bench.path("mine.sh")).expect("removed");
    bench.exits(0, &["report", "record"]);
    refused(&bench, "\"./mine.sh\" is no file");
}

#[test]
fn the_environment_is_cleared_and_the_folder_is_the_programs_own() {
    let bench = Bench::defended(&row("looks", "sh look.sh", ", settings: { u: 3.0, words: [a, b] }"));
    let script = "cp input/model.safetensors output/model.safetensors\n(env; pwd; cat \"$1\"; ls input; tar tf input/clean-images.tar) > LOOK\n";
    let look = bench.path("look").display().to_string();
    std::fs::write(bench.path("look.sh"), script.replace("LOOK", &look)).expect("a script");
    bench.exits(0, &["run", "plan.yaml"]);
    let seen = bench.text("look");
    // The target is not in what a defender sees.
    assert!(!seen.contains("CARGO_") && !seen.contains("\"target\""), "{seen}");
    holds(&seen, &["OMP_NUM_THREADS=1", "\"format\": 1", "\"words\"", "\"learning-rate\""]);
    holds(&seen, &["000127.cls", "optimizer.safetensors"]);
    let folder = seen.lines().find(|line| line.contains("cleanbench-job-") && line.starts_with('/'));
    assert!(!Path::new(folder.expect("its folder")).exists(), "the folder is left over");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_a_program_at_once() {
    let bench = Bench::defended(&row("sleeps", "sh sleep.sh", ""));
    let mark = bench.path("mark");
    let script = format!("touch {}; sleep 50\n", mark.display());
    std::fs::write(bench.path("sleep.sh"), script).expect("a script");
    let child = bench.start(&["run", "plan.yaml"]);
    wait("the program to start", || mark.exists());
    let asked = Instant::now();
    interrupt(child).exits(130);
    assert!(asked.elapsed() < Duration::from_secs(20), "it took {:?}", asked.elapsed());
}

#[test]
fn a_program_chooses_what_an_attack_edits() {
    let poison = "{ name: badnet, preset: smoke, poison-count: 30 }";
    let attack = |script: &str| {
        let row = "{ name: external, label: badnet, preset: smoke, poison-count: 12, program: sh a.sh, program-version: 1 }";
        let bench = Bench::with("micro", &[(poison, row)]);
        std::fs::write(bench.path("a.sh"), script).expect("a script");
        bench
    };
    let program = std::fs::read_to_string(root("crates/attacks/tests/first-pairs.sh")).expect("a script");
    let bench = attack(&program);
    bench.exits(0, &["run", "plan.yaml", "--record", "record"]);
    let poisoned = bench.run(&["report", "record", "--format", "poison"]);
    assert_eq!(poisoned.out.matches("a ripe banana").count(), 12, "{}", poisoned.out);
    for (script, word) in [
        (program.replace("0 1 2 3", "0 1 2 3 12 13 14"), "over the budget of 12"),
        (program.replace("\\\"stamp\\\"", "\\\"smudge\\\""), "edits.jsonl:1"),
        (
            program.replace("\\\"stamp\\\"", "\\\"replace\\\", \\\"file\\\": \\\"../job.json\\\""),
            "not the name of a file",
        ),
        ("exit 1".to_owned(), "exit code 1"),
    ] {
        holds(&attack(&script).exits(3, &["run", "plan.yaml", "--record", "record"]).err, &[word]);
    }
}

/// Runs the example in Python where PyTorch and safetensors can be imported; `CLEANBENCH_PYTHON` names the interpreter.
#[test]
fn a_defense_in_python_runs_where_pytorch_is() {
    let python = std::env::var("CLEANBENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imported = Command::new(&python).args(["-c", "import torch, safetensors"]).output();
    if !imported.is_ok_and(|output| output.status.success()) {
        eprintln!(
            "skipped: {python} cannot import torch and safetensors; CLEANBENCH_PYTHON names another one"
        );
        return;
    }
    let program = format!("{python} {}", root("examples/python_defense/defense.py").display());
    let plan = row("gentle", &program, ", settings: { u: 100.0 }")
        + &row("harsh", &program, ", settings: { u: 0.5 }");
    let bench = Bench::defended(&plan);
    bench.exits(0, &["run", "plan.yaml", "--record", "record"]);
    let rows = bench.rows("record");
    assert_eq!(values(&rows, "gentle"), values(&rows, "none"), "nothing is pruned");
    assert_ne!(values(&rows, "harsh"), values(&rows, "none"), "something is pruned");
    let settings = format!("program: {program}, program-version: 1");
    bench.exits(0, &["conformance", "external", "--only", "defense", "--settings", &settings]);
}

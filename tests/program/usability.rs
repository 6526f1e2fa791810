//! What a first-time user stumbles on.

use crate::data::{says, write_tar};
use crate::support::{Bench, holds};

fn root(name: &str) -> String {
    crate::support::root(name).display().to_string()
}

#[test]
fn initial_weights_that_cannot_be_used_are_said_before_anything_is_read() {
    let weights = |path: &str| format!("model: nano\ninitial-weights: {path}");
    let with = |path: &str| Bench::with("micro", &[("model: nano", &weights(path))]);
    let bench = with("data/rn50-openai/open_clip_model.safetensors");
    let missing = "open_clip_model.safetensors is not there; cleanbench data fetch rn50-openai (408 MB)";
    says(&bench.run(&["plan", "plan.yaml"]), 0, &[missing]);
    says(&bench.run(&["run", "plan.yaml"]), 2, &["initial-weights", "is not there"]);
    for (path, words) in [
        (root("golden/data/vit_weights.safetensors"), ["the weights are of", "nano"]),
        ("plan.yaml".to_owned(), ["weights plan.yaml", "neither a safetensors file nor"]),
    ] {
        let bench = with(&path);
        says(&bench.run(&["plan", "plan.yaml"]), 2, &words);
        let ran = bench.run(&["run", "plan.yaml"]);
        says(&ran, 2, &words);
        assert!(!ran.err.contains("epoch"), "{}", ran.err);
    }
}

#[test]
fn what_tables_must_say_of_triggers_and_classes_is_said() {
    let test = "test: [{ name: emoji-scenes, preset: smoke }]";
    let folder = "test: [{ name: folder, test: classes, classes: names.txt }]";
    let bench = Bench::with("micro", &[(test, folder), ("test-images: 60", "test-images: 12")]);
    // As ImageNet has two classes called missile.
    std::fs::write(bench.path("names.txt"), "banana\ncat\ncat\n").expect("names");
    for class in ["banana", "cat", "tree"] {
        std::fs::create_dir_all(bench.path("classes").join(class)).expect("a folder");
        for index in 0..4u8 {
            let image = clip::Image::new(90, 64, vec![index * 50; 90 * 64 * 3]).expect("an image");
            let path = bench.path("classes").join(class).join(format!("{index}.png"));
            std::fs::write(path, image.to_png().expect("a PNG")).expect("a file");
        }
    }
    let seen = "trigger of badnet: from 0×0 (5×5 of 90×64 px) to 5×5 of the 16×16 px that the model sees";
    says(&bench.run(&["plan", "plan.yaml"]), 0, &[&format!("warning: {seen}"), "enlarge the trigger"]);
    let ran = bench.run(&["run", "plan.yaml"]);
    let warned = ran.err.find("warning: badnet: from 0×0").expect("a warning");
    assert!(ran.err.find("epoch").is_none_or(|trained| warned < trained), "{}", ran.err);
    holds(&bench.text("record/plan/triggers.yaml"), &["attack: badnet", "images: 13", "- 90"]);
    for format in ["text", "markdown", "html"] {
        let report = bench.exits(0, &["report", "record/plan", "--format", format]).out;
        holds(&report, &["Trigger: badnet: from 0×0"]);
        let named = report.split_whitespace().collect::<Vec<_>>().join(" ");
        holds(&named, &["several classes are called cat; prompts recognise only the first"]);
    }
    says(&bench.run(&["show", "plan.yaml"]), 0, &["trigger of badnet: ", "(5×5 of 90×64 px)"]);
}

#[test]
fn presets_are_called_by_their_names() {
    let bench = Bench::with("micro", &[]);
    let resolved = bench.run(&["plan", "plan.yaml", "--resolved"]).out;
    let plan = plan::Plan::parse("resolved", &resolved, &cleanbench::builtin()).expect("a plan");
    assert_eq!((plan.model_preset.as_str(), plan.recipe_preset.as_str()), ("nano", "smoke"));
    std::fs::write(bench.path("again.yaml"), &resolved).expect("a plan");
    assert_eq!(bench.run(&["plan", "again.yaml", "--resolved"]).out, resolved);
}

#[test]
fn missing_data_come_with_the_command_that_brings_them() {
    let bench = Bench::with("micro", &[]);
    let planned = bench.run(&["plan", &root("results/small/plan.yaml")]).out;
    let line = |words: &str| planned.lines().find(|line| line.contains(words)).expect("a line");
    let clean = line("imagenet-1k, clean images");
    assert!(clean.contains("data fetch imagenet-v2 ") && !clean.contains("data fetch imagenet "), "{clean}");
    holds(line("initial-weights"), &["data fetch rn50-openai"]);
    says(&bench.run(&["data", "inspect", "cc3m"]), 3, &["data/CC3M/train", "data fetch cc3m"]);
    let own = bench.run(&["data", "inspect", "pairs", "--set", "train=mine"]);
    assert!(!own.err.contains("data fetch"), "{}", own.err);
    let words = [
        "`{ name: pairs, train: data/flickr30k/test, validation: data/flickr30k/test }`",
        "`{ name: imagenet-1k, test: data/imagenet-wds }`",
        "`cc3m`",
        "`initial-weights: data/rn50-openai/open_clip_model.safetensors`",
    ];
    says(&bench.run(&["data", "fetch", "--list"]), 0, &words);
}

#[test]
fn bad_samples_are_counted_and_left_out_of_pictures() {
    let bench = Bench::with("micro", &[]);
    write_tar(&bench.path("data/pairs/train/00000.tar"), 60);
    let shown = bench.run(&["data", "show", "pairs", "--output", "pairs.png"]);
    says(&shown, 0, &["left out: ", " empty file", "row 1, image  1: number", "pairs.png"]);
    assert!(bench.path("pairs.png").is_file());
    let inspected = bench.run(&["data", "inspect", "data/pairs/train"]);
    says(&inspected, 1, &["60 empty file", "and 50 more", "exit code 1: 30.0 % are bad, more than the 1 %"]);
}

#[test]
fn slips_are_mistakes_and_the_right_word_is_offered() {
    let bench = Bench::with("micro", &[]);
    write_tar(&bench.path("photos/00000.tar"), 0);
    says(&bench.run(&["plna"]), 2, &["unrecognized subcommand 'plna'", "'plan'"]);
    says(&bench.run(&["data", "inspect", "photos", "--set", "trian=x"]), 2, &["did you mean \"train\"?"]);
    says(&bench.run(&["data", "inspect", "photos", "--preset", "smoke"]), 2, &["there are: own"]);
}

#[test]
fn files_that_are_there_are_replaced_only_by_force() {
    let bench = Bench::with("micro", &[]);
    write_tar(&bench.path("photos/00000.tar"), 0);
    let weights = root("golden/data/vit_weights.safetensors");
    let subset = ["data", "subset", "photos", "--pairs", "20", "--output", "kept.parquet"];
    let convert = ["weights", "convert", &weights, "kept.safetensors", "--layout", "openai"];
    for (command, file) in [(&subset[..], "kept.parquet"), (&convert, "kept.safetensors")] {
        std::fs::write(bench.path(file), "mine").expect("a file");
        says(&bench.run(command), 2, &[file, "is there already; --force replaces it"]);
        assert_eq!(bench.read(file), b"mine");
        says(&bench.run(&[command, &["--force"]].concat()), 0, &[file]);
        assert_ne!(bench.read(file), b"mine");
    }
    for (file, layout, right) in
        [("x.pt", "openai", "write x.safetensors"), ("x.safetensors", "cleanclip", "write x.pt")]
    {
        says(&bench.run(&["weights", "convert", &weights, file, "--layout", layout]), 2, &[file, right]);
    }
}

#[test]
fn weights_that_are_cut_off_or_of_no_model_are_said_in_a_line() {
    let bench = Bench::with("micro", &[]);
    let whole = std::fs::read(root("golden/data/vit_weights.safetensors")).expect("weights");
    for length in [100, whole.len() - 1] {
        std::fs::write(bench.path("cut.safetensors"), &whole[..length]).expect("a file");
        let bytes = format!("{length} bytes");
        says(&bench.run(&["weights", "show", "cut.safetensors"]), 2, &["is cut off", &bytes]);
    }
    bench.exits(0, &["run", "plan.yaml"]);
    let moments = bench.list("store/train")[0].join("optimizer.safetensors").display().to_string();
    let said = bench.run(&["weights", "show", &moments]).said();
    assert!(!said.contains("0: ") && !said.contains("backtrace"), "{said}");
}

#[test]
fn a_cells_model_is_written_from_the_store() {
    let row = "  - { name: cleanclip, preset: smoke }\n";
    let bench = Bench::with("micro", &[(row, &format!("{row}  - {{ name: supervised, preset: smoke }}\n"))]);
    let export = |cell: &str, more: &[&str]| {
        let arguments = ["weights", "export", "plan.yaml", cell, "--output", "model.safetensors"];
        bench.run(&[&arguments, more].concat())
    };
    let cell = "badnet::cleanclip::seed-0";
    let missing = ["has no model of badnet::cleanclip::seed-0", "`cleanbench run plan.yaml` makes it"];
    says(&export(cell, &[]), 2, &missing);
    bench.exits(0, &["run", "plan.yaml"]);
    says(&export("badnet::cleanclp::seed-0", &[]), 2, &["did you mean \"badnet::cleanclip::seed-0\"?"]);
    says(&export(cell, &[]), 0, &["model.safetensors: badnet::cleanclip::seed-0"]);
    let card =
        |cell: &str| bench.run(&["card", "model.safetensors", "--record", "record/plan", "--cell", cell]);
    says(&card(cell), 0, &["card/README.md"]);
    // A card is of the cell that the model says.
    let words = ["says that it is badnet::cleanclip::seed-0, and not badnet::none::seed-0"];
    says(&card("badnet::none::seed-0"), 2, &words);
    says(&export(cell, &[]), 2, &["--force"]);
    says(&export("badnet::none::seed-0", &["--force"]), 0, &[]);
    says(&card("badnet::none::seed-0"), 0, &["card/README.md"]);
    let supervised = "badnet::supervised::seed-0";
    says(&export(supervised, &["--force"]), 0, &["the towers alone", "head.safetensors"]);
    // A file without metadata is taken, with a word.
    let path = bench.path("model.safetensors");
    let (model, _) = clip::Clip::load(&path).expect("a model");
    model.save(&path, &Default::default()).expect("saved");
    says(&card(cell), 0, &["could not be checked that it is badnet::cleanclip::seed-0"]);
}

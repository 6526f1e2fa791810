//! Training pairs that are read from files.

use std::fmt::Write;
use std::path::Path;

use clip::Seed;
use contract::Split;
use datasets::emoji_scenes;
use image::RgbImage;

use crate::support::{Bench, holds};

/// What the micro plan asks for: 512 pairs to train on and 128 clean ones.
const PAIRS: usize = 640;

/// Writes scenes as files beside CleanCLIP's CSV.
fn write_pairs(folder: &Path) {
    std::fs::create_dir_all(folder.join("images")).expect("a folder");
    let (_, settings) = (emoji_scenes::ENTRY.presets)().remove(2); // smoke
    let source = (emoji_scenes::ENTRY.build)(settings).expect("a data set").pairs.expect("pairs");
    let pairs = source.pairs(Split::Train, PAIRS, 24, &Seed::new(0)).expect("scenes");
    let mut rows = "image,caption\n".to_owned();
    for index in 0..PAIRS {
        let pair = pairs.pair(index).expect("a scene");
        let name = format!("images/{index}.png");
        let image = RgbImage::from_raw(24, 24, pair.image.rgb().to_vec()).expect("a square");
        image.save(folder.join(&name)).expect("a file");
        writeln!(rows, "{name},\"{}\"", pair.caption).expect("a row");
    }
    rows += ",a caption whose image could not be downloaded\n";
    std::fs::write(folder.join("pairs.csv"), rows).expect("a CSV");
}

/// The micro plan, training on files.
pub(crate) fn bench() -> Bench {
    let set = "train: { name: cc3m, train: data/pairs.csv, validation: data/pairs.csv }\n  \
               labelled: { name: emoji-scenes, preset: smoke }";
    let bench = Bench::with("micro", &[("train: { name: emoji-scenes, preset: smoke }", set)]);
    write_pairs(&bench.path("data"));
    bench
}

#[test]
fn bad_files_are_left_out_and_every_table_says_so() {
    let bench = bench();
    for index in [3, 9] {
        std::fs::remove_file(bench.path(&format!("data/images/{index}.png"))).expect("a file removed");
    }
    let planned = bench.run(&["plan", "plan.yaml"]);
    holds(&planned.out, &["not checked yet"]);
    let first = bench.exits(0, &["run", "plan.yaml", "--record", "first"]);
    let note = "511 of 512 (99.8 %); 1 missing file";
    holds(&first.out, &[note, "cc3m, training pairs: rows that name no image: 1"]);
    holds(&bench.text("first/data.yaml"), &["images/3.png", "images/9.png"]);
    let reported = bench.run(&["report", "first", "--format", "markdown"]);
    holds(&reported.out, &[note]);

    // The same bytes elsewhere are the same data, whatever their path.
    std::fs::rename(bench.path("data"), bench.path("moved")).expect("moved");
    bench.plan("plan.yaml", &[("data/pairs", "moved/pairs")]);
    let again = bench.exits(0, &["run", "plan.yaml", "--record", "again"]);
    assert_eq!(bench.result("first"), bench.result("again"));
    assert!(!again.err.contains("epoch"), "trained again: {}", again.err);

    // One pixel of one of them is other data.
    let path = bench.path("moved/images/7.png");
    let mut image = image::open(&path).expect("an image").into_rgb8();
    image.put_pixel(0, 0, image::Rgb([1, 2, 3]));
    image.save(&path).expect("saved");
    bench.exits(0, &["run", "plan.yaml", "--record", "other"]);
    assert_ne!(bench.result("first")[0], bench.result("other")[0], "evidence keys");
}

#[test]
fn too_many_bad_files_stop_a_run_before_it_trains() {
    let bench = bench();
    for index in 0..60 {
        let path = bench.path(&format!("data/images/{index}.png"));
        std::fs::write(path, b"<html>gone</html>").expect("a file");
    }
    let said = bench.exits(3, &["run", "plan.yaml"]).err;
    holds(&said, &["of 512 samples cannot be used", "data.bad-samples", "images/"]);
    assert!(!said.contains("epoch"), "{said}");
}

#[test]
fn clean_pairs_are_not_trained_on() {
    let bench = bench();
    bench.plan("plan.yaml", &[("  pairs: 512", "  pairs: 600")]);
    let words = ["88 of 128 clean pairs are training pairs too", "need 728, and 640 are there"];
    for command in ["plan", "run"] {
        holds(&bench.exits(2, &[command, "plan.yaml"]).said(), &words);
    }
}

#[test]
fn data_that_are_not_there_are_named() {
    let bench = bench();
    std::fs::remove_dir_all(bench.path("data")).expect("removed");
    let planned = bench.exits(0, &["plan", "plan.yaml"]);
    holds(&planned.out, &["data/pairs.csv"]);
    let stopped = bench.exits(3, &["run", "plan.yaml"]);
    holds(&stopped.err, &["data/pairs.csv"]);
}

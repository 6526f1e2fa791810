//! `cleanbench data` on files.

use std::path::Path;

use datasets::source::{append_member, end_tar};
use image::{ImageFormat, Rgb, RgbImage};

use crate::support::{Bench, Ran, holds};

/// A tar of 200 pairs, the first `bad` of which hold no image.
pub(crate) fn write_tar(path: &Path, bad: usize) {
    let mut tar = Vec::new();
    for number in 0..200 {
        let mut bytes = std::io::Cursor::new(Vec::new());
        let image = RgbImage::from_pixel(40, 30, Rgb([number as u8, 0, 0]));
        image.write_to(&mut bytes, ImageFormat::Png).expect("a PNG");
        let image = if number < bad { Vec::new() } else { bytes.into_inner() };
        append_member(&mut tar, &format!("{number:09}.png"), &image).expect("a member");
        let told = format!(r#"{{"caption": "number {number}", "url": "http://a/{number}"}}"#);
        append_member(&mut tar, &format!("{number:09}.json"), told.as_bytes()).expect("a member");
    }
    end_tar(&mut tar).expect("an end");
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    std::fs::write(path, tar).expect("a tar");
}

#[track_caller]
pub(crate) fn says(ran: &Ran, code: i32, words: &[&str]) {
    assert_eq!(ran.code, Some(code), "{}", ran.said());
    holds(&ran.said(), words);
}

#[test]
fn inspect_says_what_is_there_and_what_is_bad() {
    let bench = Bench::with("micro", &[]);
    write_tar(&bench.path("photos/00000.tar"), 2);
    let statistics = r#"{"count": 250, "successes": 200}"#;
    std::fs::write(bench.path("photos/00000_stats.json"), statistics).expect("a file");
    let found = bench.run(&["data", "inspect", "photos", "--check", "all"]);
    says(&found, 0, &["webdataset", "pairs     200", "198 of them good", "50 downloads failed"]);
    says(&found, 0, &["to 64: 198", "to 32: 198"]);
    says(&found, 0, &["2 empty file", "00000.tar: 000000001: empty file", "quartiles 9, 10, 10"]);
    let again = bench.run(&["data", "inspect", "photos", "--set", "manifest=null"]);
    assert_eq!(found.out, again.out);
    write_tar(&bench.path("photos/00000.tar"), 3);
    says(&bench.run(&["data", "inspect", "photos"]), 1, &["3 empty file"]);
    let labelled = bench.path("labelled/cat");
    std::fs::create_dir_all(&labelled).expect("a folder");
    RgbImage::new(8, 8).save(labelled.join("1.png")).expect("an image");
    says(&bench.run(&["data", "inspect", "labelled"]), 0, &["folders of images", "classes   1, with 1 to 1"]);
}

#[test]
fn a_subset_is_listed_written_and_found_again() {
    let bench = Bench::with("micro", &[]);
    write_tar(&bench.path("photos/00000.tar"), 2);
    let made =
        bench.run(&["data", "subset", "photos", "--pairs", "150", "--write", "small", "--resize", "16"]);
    says(&made, 0, &["subset.parquet: 150 of 200 pairs", "about", "small/manifest.parquet: 150 pairs"]);
    let first = bench.read("subset.parquet");
    bench.run(&["data", "subset", "photos", "--pairs", "150", "--force"]);
    assert_eq!(first, bench.read("subset.parquet"), "the same bytes each time");
    bench.run(&["data", "subset", "photos", "--pairs", "150", "--seed", "1", "--force"]);
    assert_ne!(first, bench.read("subset.parquet"));
    std::fs::write(bench.path("subset.parquet"), first).expect("written");

    let listed = ["data", "inspect", "photos", "--manifest", "subset.parquet"];
    says(&bench.run(&listed), 0, &["150 of 150 pairs are there (100.0 %), 0 of them changed"]);
    // A copy whose images were encoded again has the pairs, changed.
    let other = ["data", "inspect", "small", "--manifest", "subset.parquet"];
    says(&bench.run(&other), 0, &["150 of 150 pairs are there (100.0 %), 150 of them changed", "to 32: 150"]);
    let own = ["data", "inspect", "small", "--manifest", "small/manifest.parquet"];
    says(&bench.run(&own), 0, &["150 of 150 pairs are there (100.0 %), 0 of them changed"]);
    let more = ["data", "subset", "photos", "--pairs", "199", "--force"];
    says(&bench.run(&more), 3, &["only 198 of 200 pairs can be used"]);
}

#[test]
fn mistakes_are_told_with_what_there_is() {
    let bench = Bench::with("micro", &[]);
    let cases: [(&[&str], i32, &[&str]); 6] = [
        (&["inspect", "cc3mm"], 2, &["did you mean \"cc3m\"?"]),
        (&["inspect", "emoji-scenes"], 2, &["is generated", "data show"]),
        (&["inspect", "cc3m", "--set", "trian=x"], 2, &["did you mean \"train\"?"]),
        (&["inspect", "cc3m", "--split", "tset"], 2, &["did you mean \"test\"?"]),
        (&["inspect", "cc3m", "--set", "train=nowhere"], 3, &["nowhere", "`train`"]),
        (&["inspect", "nowhere/here"], 3, &["nowhere/here"]),
    ];
    for (arguments, code, words) in cases {
        says(&bench.run(&[&["data"], arguments].concat()), code, words);
    }
}

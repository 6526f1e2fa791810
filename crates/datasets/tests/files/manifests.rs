//! Manifests made of one copy, used on another.

use std::path::{Path, PathBuf};

use clip::{BadSample, Pairs, Seed};
use contract::Split;
use datasets::source::{Collection, Line, Manifest, Resize, Samples, write_shards};
use serde_json::json;

use crate::support::{caption, data, folder, level, opened, png, said, settings, tar, tar_of};

fn open(path: &Path, manifest: Option<&Path>) -> Collection {
    let mut settings = settings("pairs", &[("train", path), ("validation", path)]);
    settings["manifest"] = json!(manifest);
    opened(settings)
}

/// Writes a manifest of these samples, as they stand.
fn write(path: &Path, samples: &Samples, pairs: &[u32]) -> PathBuf {
    let line = |pair: &u32| Line { pair: *pair, image_hash: samples.image(*pair as usize).unwrap().hash() };
    let lines: Vec<Line> = pairs.iter().map(line).collect();
    let file = path.join("subset.parquet");
    Manifest::write(&file, &lines, samples, &[("seed", "0".to_owned())]).unwrap();
    file
}

/// A copy as tars and a manifest of six of its ten pairs.
fn listed() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let (kept, path) = folder(&[("a/00000.tar", &tar_of(0..5)), ("a/00001.tar", &tar_of(5..10))]);
    let samples = open(&path.join("a"), None).samples(Split::Train).unwrap();
    let manifest = write(&path, &samples, &[7, 2, 9, 0, 5, 4]);
    (kept, path, manifest)
}

fn given(collection: &Collection, split: Split, count: usize) -> anyhow::Result<std::sync::Arc<dyn Pairs>> {
    contract::PairSource::pairs(collection, split, count, 224, &Seed::new(0))
}

fn captions(pairs: &dyn Pairs) -> Vec<String> {
    (0..pairs.len()).map(|index| pairs.caption(index).unwrap()).collect()
}

#[test]
fn a_manifest_finds_its_pairs_in_another_copy_in_its_own_order() {
    let (_kept, path, manifest) = listed();
    // The same pairs as a CSV of other folders, backwards, among others; number 9 is missing.
    let mut rows = "image,caption\nother/77.png,caption 77\n".to_owned();
    std::fs::create_dir_all(path.join("b/photos")).unwrap();
    for number in (0..9_u8).rev() {
        rows += &format!("photos/{number:09}.x.png,{}\n", caption(number));
        std::fs::write(path.join(format!("b/photos/{number:09}.x.png")), png(number)).unwrap();
    }
    std::fs::write(path.join("b/pairs.csv"), rows).unwrap();
    for (copy, expected) in [("a", &[7, 2, 9, 0, 5, 4][..]), ("b", &[7, 2, 0, 5, 4])] {
        let collection = open(&path.join(copy), Some(&manifest));
        let pairs = given(&collection, Split::Train, 6).unwrap();
        assert_eq!(captions(&*pairs), expected.iter().map(|n| caption(*n)).collect::<Vec<_>>(), "{copy}");
        for (index, number) in expected.iter().enumerate() {
            assert_eq!(level(&pairs.image(index).unwrap()), *number);
        }
        // Clean pairs from the back, and no more than are listed.
        let clean = given(&collection, Split::Clean, 2).unwrap();
        assert_eq!(captions(&*clean), [caption(4), caption(5)]);
        assert!(said(given(&collection, Split::Train, 7)).contains("lists 6 pairs, but 7"));
    }
}

#[test]
fn what_has_changed_since_is_told_from_what_is_missing() {
    let (_kept, path, manifest) = listed();
    let members: &[(&str, &[u8])] = &[
        ("000000007.png", &png(200)),
        ("000000007.txt", b"caption 7"),
        ("000000002.png", &png(2)),
        ("000000002.txt", b"another caption"),
        ("000000009.png", &png(9)),
        ("000000009.txt", b"caption 9"),
    ];
    std::fs::create_dir(path.join("c")).unwrap();
    std::fs::write(path.join("c/00000.tar"), tar(members)).unwrap();
    let pairs = given(&open(&path.join("c"), Some(&manifest)), Split::Train, 6).unwrap();
    assert_eq!(pairs.len(), 3);
    let outcome =
        |index: usize| pairs.pair(index).map(|_| ()).map_err(|error| BadSample::of(&error).unwrap());
    assert_eq!(
        [outcome(0), outcome(1), outcome(2)],
        [Err(BadSample::Changed), Err(BadSample::Changed), Ok(())]
    );
    let error = pairs.image(0).unwrap_err().to_string();
    assert!(error.contains("00000.tar: 000000007") && error.contains("another image"), "{error}");
}

#[test]
fn keys_that_stand_in_several_tars_are_told_apart() {
    let shard = |numbers: [u8; 2]| {
        let bytes = numbers.map(|number| (png(number), caption(number)));
        let [(a, one), (b, two)] = &bytes;
        tar(&[("0.png", a), ("0.txt", one.as_bytes()), ("1.png", b), ("1.txt", two.as_bytes())])
    };
    let (_kept, path) = folder(&[("00000.tar", &shard([1, 2])), ("00001.tar", &shard([3, 4]))]);
    let samples = open(&path, None).samples(Split::Train).unwrap();
    assert_eq!((0..4).filter_map(|index| samples.bad(index)).count(), 0);
    let manifest = write(&path, &samples, &[3, 0, 2]);
    let pairs = given(&open(&path, Some(&manifest)), Split::Train, 3).unwrap();
    assert_eq!(captions(&*pairs), [4, 1, 3].map(caption));
    // Where no key is the same, captions that stand once are.
    let mut other = Vec::new();
    for number in [3_u8, 1] {
        other.push((format!("z{number}.png"), png(number)));
        other.push((format!("z{number}.txt"), caption(number).into_bytes()));
    }
    let members: Vec<(&str, &[u8])> = other.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])).collect();
    let (_kept, other) = folder(&[("0.tar", &tar(&members))]);
    let pairs = given(&open(&other, Some(&manifest)), Split::Train, 3).unwrap();
    assert_eq!(captions(&*pairs), [1, 3].map(caption));
}

#[test]
fn subsets_are_written_as_tars_that_the_manifest_finds() {
    let (_kept, path, manifest) = listed();
    let samples = open(&path.join("a"), None).samples(Split::Train).unwrap();
    let (kept, small) = (path.join("kept"), path.join("small"));
    write_shards(&kept, &samples, &[7, 2, 9, 0, 5, 4], Resize::Keep, |_| {}).unwrap();
    let pairs = given(&open(&kept, Some(&manifest)), Split::Train, 6).unwrap();
    assert!((0..6).all(|index| pairs.pair(index).is_ok()));
    write_shards(&small, &samples, &[7, 2], Resize::Square(16), |_| {}).unwrap();
    let written = open(&small, None).samples(Split::Train).unwrap();
    let image = written.image(0).unwrap();
    assert_eq!((image.width(), image.height(), written.caption(0).unwrap()), (16, 16, "caption 7"));
    assert!(image.pixel(8, 8)[0].abs_diff(7) < 3 && image.pixel(8, 8)[1] < 3, "{:?}", image.pixel(8, 8));
    assert!(said(write_shards(&small, &samples, &[1], Resize::Keep, |_| {})).contains("there already"));
}

#[test]
fn what_is_no_manifest_is_named() {
    let (_kept, path, _) = listed();
    for (file, word) in
        [(path.join("nowhere.parquet"), "data subset"), (data("hub.parquet"), "no column \"key\"")]
    {
        let error = said(given(&open(&path.join("a"), Some(&file)), Split::Train, 1));
        assert!(error.contains(&file.display().to_string()) && error.contains(word), "{error}");
    }
}

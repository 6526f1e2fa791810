//! Bad input: what can be used is used, what cannot has a reason, and nothing panics.

use std::path::Path;

use clip::BadSample;
use contract::Split;
use proptest::prelude::*;

use crate::support::{
    caption, data, folder, imagenet, images, outcomes, pairs, pairs_at, png, said, tar, tar_of,
};

#[test]
fn tars_cut_anywhere_lose_their_last_pair_alone() {
    let whole = tar_of(0..3);
    let image = png(0).len().next_multiple_of(512) + 512;
    let pair = image + 1024;
    // Within: a header, an image, a header of a caption, a caption; after an image; after a pair; a new header.
    let cuts = [
        (pair + 100, 1, 1),
        (pair + 530, 1, 1),
        (pair + image + 100, 1, 1),
        (pair + image + 515, 1, 1),
        (pair + image, 1, 1),
        (2 * pair, 2, 0),
        (2 * pair + 511, 2, 1),
        (3 * pair + 512, 3, 0),
    ];
    for (cut, good, bad) in cuts {
        let (_kept, path) = folder(&[("0.tar", &whole[..cut])]);
        let found = outcomes(&pairs_at(&path), good + bad);
        assert_eq!(found.iter().filter(|found| found.is_ok()).count(), good, "{cut}: {found:?}");
        let reason = if cut == pair + image { BadSample::NoCaption } else { BadSample::Truncated };
        assert!(found.iter().all(|found| found.is_ok() || *found == Err(reason)), "{cut}: {found:?}");
    }
    let (_kept, path) = folder(&[("0.tar", &whole[..100])]);
    assert_eq!(outcomes(&pairs_at(&path), 1), [Err(BadSample::Truncated)]);
}

#[test]
fn bad_members_have_their_reasons() {
    let image = png(1);
    let long = vec![b'x'; 70_000];
    let members: &[(&str, &[u8])] = &[
        ("good.png", &image),
        ("good.txt", b"caption 1"),
        ("empty.png", b""),
        ("empty.txt", b"caption 2"),
        ("silent.png", &image),
        ("silent.txt", b""),
        ("blank.png", &image),
        ("blank.txt", b" \n"),
        ("alone.png", &image),
        ("blind.txt", b"caption 3"),
        ("latin.png", &image),
        ("latin.txt", b"caf\xe9"),
        ("wordy.png", &image),
        ("wordy.txt", &long),
        ("good.png", &image),
        ("good.txt", b"caption 1"),
        ("../../etc/out.png", &image),
        ("../../etc/out.txt", b"caption 5"),
        ("/etc/root.png", &image),
        ("/etc/root.txt", b"caption 6"),
        ("json.png", &image),
        ("json.json", b"{not json"),
    ];
    let (_kept, path) = folder(&[("0.tar", &tar(members))]);
    let mut expected = vec![
        Ok(1),
        Err(BadSample::Empty),
        Err(BadSample::NoCaption),
        Err(BadSample::NoCaption),
        Err(BadSample::NoCaption),
        Err(BadSample::NoCaption),
        Err(BadSample::NoImage),
        Err(BadSample::NotUtf8),
        Err(BadSample::TooLarge),
        Err(BadSample::ListedTwice),
        Err(BadSample::OutsidePath),
        Err(BadSample::OutsidePath),
    ];
    expected.sort();
    let found = outcomes(&pairs_at(&path), expected.len());
    assert_eq!(found, expected);
}

#[test]
fn what_is_listed_twice_is_counted_once() {
    let twice = Err(BadSample::ListedTwice);
    // The same key in two tars with another caption is another pair.
    let other = tar(&[("000000001.png", &png(9)), ("000000001.txt", b"caption 9")]);
    let (_kept, path) = folder(&[("0.tar", &tar_of(0..2)), ("1.tar", &tar_of(1..3)), ("2.tar", &other)]);
    assert_eq!(outcomes(&pairs_at(&path), 5), [Ok(0), Ok(1), Ok(2), Ok(9), twice]);
    let (_kept, path) = folder(&[("1.png", &png(1)), ("2.png", &png(1))]);
    let row = "1.png,caption 1\n";
    let rows = format!("image,caption\n{row}{row}2.png,caption 1\n{row}");
    std::fs::write(path.join("pairs.csv"), rows).unwrap();
    assert_eq!(outcomes(&pairs_at(&path), 4), [Ok(1), Ok(1), twice, twice]);
    // An image with several captions is as many pairs.
    std::fs::write(path.join("pairs.csv"), "image,caption\n1.png,caption 1\n1.png,another\n").unwrap();
    let both = pairs(&pairs_at(&path), Split::Train, 2).unwrap();
    assert!((0..2).all(|index| both.pair(index).is_ok()));
}

#[test]
fn rows_that_lead_out_are_never_opened() {
    let (_kept, path) = folder(&[("in/1.png", &png(1)), ("out.png", &png(2))]);
    let absolute = path.join("out.png").display().to_string();
    let rows = format!(
        "image,caption\n1.png,caption 1\n../out.png,caption 2\n{absolute},caption 2\n3.png,caption 3\n"
    );
    std::fs::write(path.join("in/pairs.csv"), rows).unwrap();
    let outside = Err(BadSample::OutsidePath);
    assert_eq!(outcomes(&pairs_at(&path.join("in")), 4), [Ok(1), Err(BadSample::Missing), outside, outside]);
    std::fs::write(path.join("in/pairs.csv"), format!("image,caption\n{absolute},x\n../out.png,y\n"))
        .unwrap();
    let error = said(pairs(&pairs_at(&path.join("in")), Split::Train, 1));
    assert!(error.contains(&absolute) && error.contains("the setting `images`"), "{error}");
}

#[test]
fn files_that_are_broken_as_a_whole_are_named_with_a_remedy() {
    let cases: [(&str, &[u8], &str); 8] = [
        (
            "0.tar",
            b"\x1f\x8bgzip and no tar, and more than a header's length of it............................",
            "cut off",
        ),
        ("1.tar", &[7; 2048], "unpack it or download it again"),
        ("2.tar", b"", "download it again"),
        ("3.tar", &tar(&[("readme", b"no pairs")]), "are called readme"),
        ("a.csv", b"image,caption\n", "no pairs"),
        ("b.csv", b"image;caption\n1.png;x\n", "no column \"image\""),
        ("c.csv", b"image,caption\n1.png,a, b\n", "c.csv:2: "),
        ("d.csv", b"image,title\n1.png,x\n", "no column \"caption\"; there are: image, title"),
    ];
    for (name, bytes, word) in cases {
        let (_kept, path) = folder(&[(name, bytes)]);
        let error = match pairs(&pairs_at(&path), Split::Train, 1) {
            Ok(found) => found.pair(0).unwrap_err().to_string(),
            Err(error) => format!("{error:#}"),
        };
        assert!(error.contains(name) || name == "3.tar", "{error}");
        assert!(error.contains(word), "{name}: {error}");
    }
}

#[test]
fn what_is_missing_is_named() {
    let (_kept, path) = folder(&[("a.csv", b"image,caption\nimages/0.png,x\n")]);
    let found = pairs(&pairs_at(&path), Split::Train, 1).unwrap();
    let error = found.pair(0).unwrap_err().to_string();
    assert!(error.contains("images/0.png"), "{error}");
    let error = said(pairs(&pairs_at(&path.join("nowhere.csv")), Split::Train, 1));
    assert!(error.contains("nowhere.csv") && error.contains("`train`"), "{error}");
}

#[test]
fn damage_within_a_tar_is_counted() {
    let mut bytes = tar_of(0..3);
    let pair = png(0).len().next_multiple_of(512) + 1536;
    bytes[2 * pair + 10] ^= 1;
    let (_kept, path) = folder(&[("0.tar", &bytes)]);
    assert_eq!(outcomes(&pairs_at(&path), 3), [Ok(0), Ok(1), Err(BadSample::Corrupt)]);
}

#[test]
fn shards_that_vanish_or_shrink_after_indexing_are_named() {
    let (_kept, path) = folder(&[("0.tar", &tar_of(0..2)), ("1.tar", &tar_of(2..4))]);
    let found = pairs(&pairs_at(&path), Split::Train, 4).unwrap();
    std::fs::remove_file(path.join("0.tar")).unwrap();
    std::fs::write(path.join("1.tar"), &tar_of(2..4)[..600]).unwrap();
    let mut reasons: Vec<_> = (0..4)
        .map(|index| {
            let error = found.image(index).unwrap_err();
            assert!(error.to_string().contains(".tar"), "{error}");
            BadSample::of(&error).unwrap()
        })
        .collect();
    reasons.sort();
    let [missing, cut] = [BadSample::Missing, BadSample::Truncated];
    assert_eq!(reasons, [cut, cut, missing, missing]);
}

/// Whatever a side holds, every sample of it is read or says why not.
fn exercise(path: &Path) {
    if let Ok(found) = pairs(&pairs_at(path), Split::Train, 1) {
        let _ = (found.pair(0), found.read_from(0));
    }
    if let Ok(found) = images(&imagenet(path), Split::Test, 1) {
        let _ = (found.image(0), found.label(0));
    }
}

/// A whole file of each kind.
fn seeds() -> [(&'static str, Vec<u8>); 4] {
    let rows: String = (0..4).map(|n| format!("{n}.png,\"{}\"\n", caption(n))).collect();
    [
        ("a.tar", tar_of(0..3)),
        ("b.csv", format!("image,caption\n{rows}").into_bytes()),
        ("c.parquet", std::fs::read(data("hub.parquet")).unwrap()),
        ("d.tar", tar(&[(&"x/".repeat(80), b""), ("1.png", &png(1)), ("1.cls", b"954")])),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn changed_bytes_never_panic(
        which in 0_usize..4,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (name, mut bytes) = seeds()[which].clone();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let (_kept, path) = folder(&[(name, &bytes)]);
        exercise(&path);
    }
}

/// What once went wrong, or might: `tests/data/corpus`.
#[test]
fn the_corpus_is_read_without_a_panic() {
    let mut seen = 0;
    for entry in std::fs::read_dir(data("corpus")).unwrap() {
        exercise(&entry.unwrap().path());
        seen += 1;
    }
    assert!(seen >= 8, "{seen}");
}

//! Pairs in every form in which people have them.

use std::fmt::Write;

use crate::support::{
    built, caption, folder, level, opened, outcomes, pairs, pairs_at, png, said, settings, tar, tar_of,
};
use clip::BadSample;
use contract::Split;
use rand::seq::SliceRandom;
use serde_json::json;

#[test]
fn members_are_joined_by_key_in_whichever_order_they_stand() {
    let (a, b) = (png(1), png(2));
    let long = format!("{}/000000002", "folder".repeat(40));
    let (image, text) = (format!("{long}.png"), format!("{long}.txt"));
    let orders: [&[(&str, &[u8])]; 3] = [
        &[("1.png", &a), ("1.txt", b"caption 1"), (&image, &b), (&text, b"caption 2")],
        &[("1.txt", b"caption 1"), (&text, b"caption 2"), (&image, &b), ("1.png", &a)],
        &[
            ("__meta__.txt", b"no pair"),
            ("1.png", &a),
            ("1.json", br#"{"caption": "not this one", "url": "http://a/1"}"#),
            ("1.txt", b"caption 1"),
            ("1.npy", b"passed over"),
            (&format!("{long}.json"), br#"{"caption": "caption 2", "width": 4}"#),
            (&image, &b),
        ],
    ];
    for members in orders {
        let (_kept, path) = folder(&[("00000.tar", &tar(members)), ("00000.parquet", b"a sidecar")]);
        assert_eq!(outcomes(&pairs_at(&path), 2), [Ok(1), Ok(2)]);
    }
}

#[test]
fn clip_benchmarks_captions_are_lines_of_which_the_first_counts() {
    let members = tar(&[("s0.png", &png(1)), ("s0.txt", b"caption 1\nanother\nand more\n")]);
    let (_kept, path) = folder(&[("test/nshards.txt", b"1"), ("test/0.tar", &members)]);
    assert_eq!(pairs(&pairs_at(&path), Split::Test, 1).unwrap().caption(0).unwrap(), "caption 1");
}

#[test]
fn pax_names_and_sizes_are_read_and_links_passed_over() {
    let record = |key: &str, value: &str| {
        let rest = format!(" {key}={value}\n");
        // The length counts its own digits.
        let digits = (1..4).find(|digits| (rest.len() + digits).to_string().len() == *digits).unwrap();
        format!("{}{rest}", rest.len() + digits)
    };
    let with_kind = |kind: u8, name: &str, bytes: &[u8]| {
        let mut member = tar(&[(name, bytes)]);
        member.truncate(member.len() - 1024);
        let old = u32::from(std::mem::replace(&mut member[156], kind));
        let sum = u32::from_str_radix(std::str::from_utf8(&member[148..154]).unwrap(), 8).unwrap();
        member[148..154].copy_from_slice(format!("{:06o}", sum + u32::from(kind) - old).as_bytes());
        member
    };
    let image = png(7);
    let header =
        record("path", &format!("{}/7.png", "x".repeat(300))) + &record("size", &image.len().to_string());
    let mut bytes = with_kind(b'x', "pax", header.as_bytes());
    bytes.extend(with_kind(b'0', "short", &image));
    bytes.extend(with_kind(b'2', "8.png", b""));
    bytes.extend(with_kind(b'x', "pax", record("GNU.sparse.major", "1").as_bytes()));
    bytes.extend(with_kind(b'0', "9.png", &image));
    bytes.extend(tar(&[(&format!("{}/7.txt", "x".repeat(300)), b"caption 7")]));
    let (_kept, path) = folder(&[("a.tar", &bytes)]);
    assert_eq!(outcomes(&pairs_at(&path), 1), [Ok(7)]);
    assert!(said(pairs(&pairs_at(&path), Split::Train, 2)).contains("1 pairs, but 2"));
}

#[test]
fn the_hubs_shards_of_two_splits_lie_in_one_folder() {
    let files: &[(&str, &[u8])] = &[
        ("cc3m-train-0000.tar", &tar_of(0..3)),
        ("cc3m-train-0001.tar", &tar_of(3..5)),
        ("cc3m-validation-0000.tar", &tar_of(5..6)),
        ("_info.json", b"{}"),
    ];
    let (_kept, path) = folder(files);
    let set = built("cc3m", settings("cc3m", &[("train", &path), ("validation", &path)])).unwrap();
    assert_eq!(outcomes(&set, 5), [0, 1, 2, 3, 4].map(Ok));
    assert!(said(pairs(&set, Split::Train, 6)).contains("5 pairs, but 6"));
    let validation = pairs(&set, Split::Test, 1).unwrap();
    assert_eq!(validation.caption(0).unwrap(), caption(5));
    let from = validation.read_from(0).unwrap().to_string();
    assert!(from.ends_with("cc3m-validation-0000.tar: 000000005"), "{from}");
}

#[test]
fn patterns_name_their_shards_exactly() {
    let (_kept, path) = folder(&[("00000.tar", &tar_of(0..2)), ("00001.tar", &tar_of(2..4))]);
    assert_eq!(outcomes(&pairs_at(&path.join("{00000..00001}.tar")), 4), [0, 1, 2, 3].map(Ok));
    assert_eq!(outcomes(&pairs_at(&path.join("{00001..00001}.tar")), 2), [2, 3].map(Ok));
    let error = said(pairs(&pairs_at(&path.join("{00000..00002}.tar")), Split::Train, 1));
    assert!(error.contains("00002.tar") && error.contains("`train`"), "{error}");
    for pattern in ["{a..b}.tar", "{00009..00001}.tar", "{0..99999999}.tar", "{}.tar"] {
        assert!(said(pairs(&pairs_at(&path.join(pattern)), Split::Train, 1)).contains(pattern), "{pattern}");
    }
}

#[test]
fn tables_of_cleanclip_and_open_clip_are_read() {
    let tables = [
        ("a.csv", "image,caption\ni/1.png,caption 1\ni/2.png,caption 2\n,lost\n"),
        ("a.csv", "\u{feff}image,caption\r\ni/1.png,\"caption 1\"\r\ni/2.png,caption 2\r\n"),
        ("a.csv", ",caption,image,is_backdoor\n0,caption 1,i/1.png,0\n1,caption 2,i/2.png,1\n"),
        ("a.tsv", "filepath\ttitle\ni/1.png\tcaption 1\ni/2.png\tcaption 2\n"),
        ("a.csv", "filepath,title\n./i/1.png,caption 1\ni/2.png,caption 2\n"),
    ];
    for (name, text) in tables {
        let (_kept, path) = folder(&[(name, text.as_bytes()), ("i/1.png", &png(1)), ("i/2.png", &png(2))]);
        for path in [path.join(name), path] {
            assert_eq!(outcomes(&pairs_at(&path), 2), [Ok(1), Ok(2)], "{text}");
        }
    }
}

#[test]
fn lists_of_urls_say_what_downloads_them() {
    for text in ["a cat\thttp://a/1.jpg\n", "caption\turl\na cat\thttp://a/1.jpg\n"] {
        let (_kept, path) = folder(&[("Train_GCC-training.tsv", text.as_bytes())]);
        let error = said(pairs(&pairs_at(&path), Split::Train, 1));
        assert!(error.contains("Train_GCC-training.tsv") && error.contains("img2dataset"), "{error}");
    }
}

#[test]
fn rows_keep_the_order_of_earlier_versions() {
    let mut rows = "image,caption\n".to_owned();
    for index in 0..50 {
        writeln!(rows, "{index}.png,caption {index}").unwrap();
    }
    let (_kept, path) = folder(&[("train.csv", rows.as_bytes())]);
    let file = path.join("train.csv");
    let set = built("cc3m", settings("cc3m", &[("train", &file), ("validation", &file)])).unwrap();
    for (split, side) in [
        (Split::Train, "train"),
        (Split::Clean, "train"),
        (Split::Validation, "validation"),
        (Split::Test, "validation"),
    ] {
        let mut order: Vec<usize> = (0..50).collect();
        order.shuffle(&mut clip::Seed::new(0).child("cc3m").child(side).rng());
        if matches!(split, Split::Clean | Split::Test) {
            order.reverse();
        }
        let given = pairs(&set, split, 20).unwrap();
        let captions: Vec<String> = (0..20).map(|index| given.caption(index).unwrap()).collect();
        let expected: Vec<String> = order[..20].iter().map(|row| format!("caption {row}")).collect();
        assert_eq!(captions, expected, "{split:?}");
    }
}

#[test]
fn many_threads_read_more_tars_than_stay_open() {
    let (_kept, path) = folder(&[]);
    for number in 0..=255_u8 {
        std::fs::write(path.join(format!("{number:05}.tar")), tar_of(number..number.saturating_add(1)))
            .unwrap();
    }
    std::fs::write(path.join("00256.tar"), tar_of(3..250)).unwrap();
    let given = pairs(&pairs_at(&path), Split::Train, 502).unwrap();
    let given = &given;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for index in (thread..502).step_by(4).chain((0..502).step_by(7)) {
                    match given.pair(index) {
                        Ok(pair) => assert_eq!(pair.caption, caption(level(&pair.image))),
                        Err(error) => assert_eq!(BadSample::of(&error), Some(BadSample::ListedTwice)),
                    }
                }
            });
        }
    });
}

#[test]
fn karpathys_splits_and_captions_are_read() {
    let text = r#"{"dataset": "coco", "images": [
        {"filename": "1.png", "filepath": "val2014", "split": "test", "imgid": 0, "sentids": [0, 1],
         "sentences": [{"raw": "caption 1", "tokens": ["x"]}, {"raw": "second"}]},
        {"filename": "2.png", "filepath": "val2014", "split": "restval", "sentences": [{"raw": "caption 2"}]},
        {"filename": "3.png", "filepath": "val2014", "split": "val", "sentences": [{"raw": "caption 3"}]}]}"#;
    let (_kept, path) = folder(&[
        ("dataset_coco.json", text.as_bytes()),
        ("val2014/1.png", &png(1)),
        ("val2014/2.png", &png(2)),
    ]);
    let set = |captions: &str| {
        let file = path.join("dataset_coco.json");
        built("coco-captions", json!({ "file": file, "images": path, "captions": captions })).unwrap()
    };
    assert_eq!(outcomes(&set("first"), 1), [Ok(2)]);
    let test = pairs(&set("first"), Split::Test, 1).unwrap();
    assert_eq!((test.caption(0).unwrap(), level(&test.image(0).unwrap())), ("caption 1".to_owned(), 1));
    let all = pairs(&set("all"), Split::Test, 2).unwrap();
    let mut captions = [all.caption(0).unwrap(), all.caption(1).unwrap()];
    captions.sort();
    assert_eq!(captions, ["caption 1", "second"]);
    assert!(said(pairs(&set("first"), Split::Train, 2)).contains("1 pairs, but 2"));
    let nowhere = json!({ "file": "nowhere.json", "images": "x", "captions": "first" });
    let error = said(pairs(&built("flickr30k", nowhere).unwrap(), Split::Train, 1));
    assert!(error.contains("nowhere.json") && error.contains("`file`"), "{error}");
}

#[test]
fn dots_in_names_are_part_of_keys_and_nothing_vanishes() {
    let image = png(1);
    let members: &[(&str, &[u8])] = &[
        ("harbour 2.4.jpg", &image),
        ("harbour 2.4.txt", b"caption 1"),
        ("a.jpe", &image),
        ("a.txt", b"\xef\xbb\xbfcaption 1\r\n"),
        ("a.seg.png", &image),
        ("a.jfif", &image),
        ("b.JFIF", &image),
        ("b.json", b"{\"caption\": \"caption 1\", \"width\": NaN, \"note\": \"-Infinity \\\" NaN\", \"x\": -Infinity}"),
        ("README", b"about"),
        ("c.md5", b"0"),
        (".DS_Store", b""),
        ("__shard__.json", b"{}"),
    ];
    let (_kept, path) = folder(&[("0.tar", &tar(members))]);
    let set = pairs_at(&path);
    assert_eq!(outcomes(&set, 3), [Ok(1); 3]);
    let collection = opened(settings("pairs", &[("train", &path), ("validation", &path)]));
    let notes = collection.samples(Split::Train).unwrap().notes().join("\n");
    assert_eq!(
        notes,
        "members of tars that belong to no sample: 5 (a.jfif, README, c.md5, .DS_Store, a.seg.png)"
    );
}

#[test]
fn endings_are_settings_and_an_error_names_what_is_there() {
    let image = png(1);
    let members: &[(&str, &[u8])] = &[
        ("s0.input.jpg", &image),
        ("s0.outputs.txt", b"caption 1"),
        ("s1.input.jpg", &image),
        ("s1.outputs.txt", b"caption 1"),
    ];
    let (_kept, path) = folder(&[("0.tar", &tar(members))]);
    let error = said(pairs(&pairs_at(&path), Split::Train, 1));
    for word in
        ["no pairs in 1 tars", "called s0.input.jpg, s0.outputs.txt", "`image-endings`", "`caption-endings`"]
    {
        assert!(error.contains(word), "{word}: {error}");
    }
    let mut own = settings("pairs", &[("train", &path), ("validation", &path)]);
    own["image-endings"] = json!(["input.jpg"]);
    own["caption-endings"] = json!(["outputs.txt"]);
    assert_eq!(outcomes(&built("pairs", own).unwrap(), 2), [Ok(1); 2]);
}

#[test]
fn texts_for_missing_values_are_counted_and_kept() {
    let image = png(1);
    let members: &[(&str, &[u8])] = &[
        ("k4.png", &image),
        ("k4.txt", b"nan"),
        ("k5.png", &image),
        ("k5.txt", b"None\n"),
        ("k6.png", &image),
        ("k6.txt", b"none of them"),
    ];
    let (_kept, path) = folder(&[("0.tar", &tar(members))]);
    let samples =
        opened(settings("pairs", &[("train", &path), ("validation", &path)])).samples(Split::Train).unwrap();
    assert_eq!(
        samples.notes(),
        ["captions that a program writes for a missing value, taken as they are: 2 (k4: nan, k5: None)"]
    );
    assert_eq!(samples.caption(1).unwrap(), "None");
}

#[test]
fn images_may_lie_below_another_folder_and_nowhere_else() {
    let (_kept, path) = folder(&[("disk/i/1.png", &png(1)), ("disk/2.png", &png(2)), ("out/3.png", &png(3))]);
    let disk = path.join("disk");
    let rows = format!(
        "filepath\ttitle\n{0}/i/1.png\tcaption 1\n2.png\tcaption 2\n{1}/out/3.png\tcaption 3\n../out/3.png\tcaption 3\n",
        disk.display(),
        path.display()
    );
    std::fs::create_dir(path.join("table")).unwrap();
    let table = path.join("table/pairs.tsv");
    std::fs::write(&table, rows).unwrap();
    let own = settings("pairs", &[("train", &table), ("validation", &table), ("images", &disk)]);
    let outside = Err(BadSample::OutsidePath);
    assert_eq!(outcomes(&built("pairs", own).unwrap(), 4), [Ok(1), Ok(2), outside, outside]);
    // Without the setting, its own folder is the root, and what helps is said.
    let absolute = format!("filepath\ttitle\n{}/i/1.png\tcaption 1\n", disk.display());
    std::fs::write(&table, absolute).unwrap();
    let error = said(pairs(&pairs_at(&table), Split::Train, 1));
    assert!(error.contains("all its paths lead out of") && error.contains("the setting `images`"), "{error}");
    let set =
        built("pairs", settings("pairs", &[("train", &table), ("validation", &table), ("images", &path)]))
            .unwrap();
    let origin = pairs(&set, Split::Train, 1).unwrap().read_from(0).unwrap().file;
    assert!(origin.ends_with("disk/i/1.png"), "{}", origin.display());
}

//! Labelled images in every form in which people have them.

use std::path::Path;

use clip::BadSample;
use contract::{Dataset, Split};
use serde_json::{Value, json};

use crate::support::{built, data, folder, imagenet, images, level, pairs, pairs_at, png, said, tar};

/// Level and label of every image of a split, or why it is bad, in order of levels.
fn labelled(set: &Dataset, split: Split, count: usize) -> Vec<Result<(u8, usize), BadSample>> {
    let images = images(set, split, count).unwrap();
    let mut all: Vec<_> = (0..count)
        .map(|index| {
            let both = images.image(index).and_then(|image| Ok((level(&image), images.label(index)?)));
            both.map_err(|error| BadSample::of(&error).unwrap())
        })
        .collect();
    all.sort();
    all
}

fn own(test: &Path, edits: &[(&str, Value)]) -> anyhow::Result<Dataset> {
    let mut settings = json!({
        "test": test, "validation": null, "clean": null, "classes": null, "templates": ["a photo of a {}."],
    });
    for (key, value) in edits {
        settings[*key] = value.clone();
    }
    built("folder", settings)
}

fn names(set: &Dataset) -> (Vec<String>, Vec<String>) {
    let classes = set.classes.as_ref().unwrap();
    (classes.classes().to_vec(), classes.templates().to_vec())
}

#[test]
fn hidden_folders_are_no_classes_and_rows_count_once() {
    let files: &[(&str, &[u8])] = &[
        ("cat/1.png", &png(1)),
        ("cat/._1.png", b"resources of a Mac"),
        (".ipynb_checkpoints/1-checkpoint.png", &png(2)),
        ("__MACOSX/cat/._1.png", b""),
    ];
    let (_kept, path) = folder(files);
    let set = own(&path, &[]).unwrap();
    assert_eq!(names(&set).0, ["cat"]);
    assert_eq!(labelled(&set, Split::Test, 1), [Ok((1, 0))]);
    std::fs::write(path.join("labels.csv"), "image,label\ncat/1.png,0\ncat/1.png,0\n").unwrap();
    let listed = labelled(&own(&path, &[]).unwrap(), Split::Test, 2);
    assert_eq!(listed, [Ok((1, 0)), Err(BadSample::ListedTwice)]);
}

#[test]
fn folders_and_lists_give_imagenets_labels() {
    let (_kept, path) = folder(&[
        ("n07753592/a.png", &png(1)),
        ("n01443537/b.JPEG.png", &png(2)),
        ("n01443537/Thumbs.db", b"no image"),
    ]);
    let set = || imagenet(&path);
    assert_eq!(labelled(&set(), Split::Test, 2), [Ok((1, 954)), Ok((2, 1))]);
    let table = |text: &str| std::fs::write(path.join("labels.csv"), text).unwrap();
    table("image,label\nn07753592/a.png,954\nn01443537/b.JPEG.png,1\n");
    assert_eq!(labelled(&set(), Split::Test, 2), [Ok((1, 954)), Ok((2, 1))]);
    table("image,label\na.png,1000\nb.png,banana\nc.png,-1\n");
    assert_eq!(labelled(&set(), Split::Test, 3), [Err(BadSample::LabelOutOfRange); 3]);
    table("image,label\na.png,1\n");
    assert!(said(images(&set(), Split::Clean, 2)).contains("1 images, but 2 are asked for"));
    // As CleanCLIP's own lists name their author's machine.
    table("image,label\n/data0/ImageNet1K/validation/ILSVRC2012_val_00000001.JPEG,65\n");
    let error = said(images(&set(), Split::Test, 1));
    assert!(error.contains("make them relative"), "{error}");
}

#[test]
fn folders_that_are_none_of_imagenets_are_named() {
    let (_kept, path) = folder(&[]);
    let error = |split| said(images(&imagenet(&path), split, 1));
    assert!(error(Split::Test).contains("found 0 folders"), "{}", error(Split::Test));
    assert!(error(Split::Validation).contains("`validation`"));
    std::fs::create_dir(path.join("n99999999")).unwrap();
    assert!(error(Split::Test).contains("n99999999") && error(Split::Test).contains("1000 classes"));
}

#[test]
fn the_hubs_parquet_files_are_read_row_by_row() {
    let files: &[(&str, &[u8])] = &[
        ("data/train-00000-of-00001.parquet", b"of another split"),
        ("data/validation-00000-of-00001.parquet", &std::fs::read(data("hub.parquet")).unwrap()),
    ];
    let (_kept, path) = folder(files);
    let set = imagenet(&path);
    let mut expected: Vec<_> = (0..40).map(|row| Ok((row as u8, row * 25 % 1000))).collect();
    expected[3] = Err(BadSample::LabelOutOfRange);
    expected[7] = Err(BadSample::NoImage);
    expected[11] = Err(BadSample::LabelOutOfRange);
    expected.sort();
    assert_eq!(labelled(&set, Split::Test, 40), expected);
    let set = images(&set, Split::Test, 40).unwrap();
    let from = set.read_from(0).unwrap().to_string();
    assert!(from.contains("validation-00000-of-00001.parquet: row") && from.contains("of group"), "{from}");
}

#[test]
fn parquet_files_with_other_columns_are_refused() {
    let (_kept, path) = folder(&[("test.parquet", &std::fs::read(data("hub.parquet")).unwrap())]);
    let error = said(pairs(&pairs_at(&path), Split::Test, 1));
    assert!(error.contains("test.parquet") && error.contains("no column caption"), "{error}");
    let (_kept, path) = folder(&[("test.parquet", b"PAR1 and no more")]);
    let error =
        said(images(&own(&path, &[("classes", json!(path.join("test.parquet")))]).unwrap(), Split::Test, 1));
    assert!(error.contains("test.parquet") && error.contains("download it again"), "{error}");
}

#[test]
fn clip_benchmarks_tars_bring_names_and_templates() {
    let members: &[(&str, &[u8])] = &[
        ("s0.cls", b"1"),
        ("s0.png", &png(10)),
        ("s1.png", &png(20)),
        ("s1.cls", b"0\n"),
        ("s2.png", &png(30)),
        ("s2.cls", b"2"),
    ];
    let files: &[(&str, &[u8])] = &[
        ("classnames.txt", b"tabby cat\ngreat dane\n"),
        ("zeroshot_classification_templates.txt", b"a photo of a {c}.\na sketch of a {c}.\n"),
        ("test/nshards.txt", b"1"),
        ("test/0.tar", &tar(members)),
    ];
    let (_kept, path) = folder(files);
    for test in [path.clone(), path.join("test")] {
        let set = own(&test, &[("templates", json!([]))]).unwrap();
        let expected = ["a photo of a {}.", "a sketch of a {}."].map(str::to_owned).to_vec();
        assert_eq!(names(&set), (["tabby cat", "great dane"].map(str::to_owned).to_vec(), expected));
        let found = labelled(&set, Split::Test, 3);
        assert_eq!(found, [Ok((10, 1)), Ok((20, 0)), Err(BadSample::LabelOutOfRange)]);
    }
}

#[test]
fn folders_of_ones_own_name_their_classes() {
    let (one, two) = (png(1), png(2));
    let (_kept, path) = folder(&[("a_cat/1.png", &one), ("dog/2.png", &two), ("dog/notes.txt", b"no image")]);
    let set = own(&path, &[]).unwrap();
    assert_eq!(names(&set).0, ["a cat", "dog"]);
    assert_eq!(labelled(&set, Split::Test, 2), [Ok((1, 0)), Ok((2, 1))]);
    assert!(said(own(&path.join("nowhere"), &[])).contains("`classes`"));
    let listed = |text: &str| {
        std::fs::write(path.join("classes.txt"), text).unwrap();
        let set = own(&path, &[]).unwrap();
        (names(&set).0, labelled(&set, Split::Test, 2))
    };
    // In another order; and called otherwise, in the order of the folders.
    assert_eq!(listed("dog\na cat\n"), (vec!["dog".into(), "a cat".into()], vec![Ok((1, 1)), Ok((2, 0))]));
    assert_eq!(listed("tabby\npoodle\n").1, [Ok((1, 0)), Ok((2, 1))]);
    assert!(said(own(&path, &[("templates", json!(["a photo"]))])).contains("{}"));
    let set = own(&path, &[]).unwrap();
    assert!(said(images(&set, Split::Clean, 1)).contains("`clean`"));
}

#[test]
fn subsets_of_imagenet_count_their_own_classes() {
    let image = png(1);
    let (_kept, path) = folder(&[("n07753592/a.png", &image), ("n01443537/b.png", &image)]);
    for (name, label_of_banana) in
        [("imagenet-a", None), ("imagenet-r", Some(191)), ("imagenet-sketch", Some(954))]
    {
        let set = built(name, json!({ "test": path })).unwrap();
        let classes = names(&set).0;
        assert_eq!(classes.len(), if name == "imagenet-sketch" { 1000 } else { 200 });
        let banana = classes.iter().position(|class| class == "banana").unwrap();
        match label_of_banana {
            // Goldfish are in R and not in A.
            None => assert!(
                said(images(&set, Split::Test, 2)).contains("n01443537: the folder is none of the 200")
            ),
            Some(label) => {
                assert_eq!(banana, label);
                let labels: Vec<usize> =
                    labelled(&set, Split::Test, 2).into_iter().map(|found| found.unwrap().1).collect();
                assert!(
                    labels.contains(&label) && labels.contains(&usize::from(name != "imagenet-r")),
                    "{labels:?}"
                );
            }
        }
        assert!(said(images(&set, Split::Clean, 1)).contains("test images alone"));
    }
    let (_kept, path) = folder(&[("0/a.png", &png(5)), ("954/b.png", &png(6)), ("10/c.png", &png(7))]);
    let set = built("imagenet-v2", json!({ "test": path })).unwrap();
    assert_eq!(labelled(&set, Split::Test, 3), [Ok((5, 0)), Ok((6, 954)), Ok((7, 10))]);
}

#[test]
fn caltechs_folders_have_openais_names() {
    let image = png(1);
    let (_kept, path) = folder(&[
        ("BACKGROUND_Google/tmp.png", &image),
        ("Faces/1.png", &png(2)),
        ("Faces_easy/2.png", &png(3)),
        ("yin_yang/3.png", &png(4)),
    ]);
    let set = built("caltech101", json!({ "folder": path })).unwrap();
    let classes = names(&set).0;
    assert_eq!((classes.len(), names(&set).1.len()), (101, 34));
    assert_eq!((classes[0].as_str(), classes[100].as_str()), ("off-center face", "yin and yang symbol"));
    assert_eq!(labelled(&set, Split::Test, 3), [Ok((2, 0)), Ok((3, 1)), Ok((4, 100))]);
    // CLIP_benchmark's tars count background, in another order.
    let members: &[(&str, &[u8])] = &[("s0.cls", b"1"), ("s0.png", &png(9))];
    let files: &[(&str, &[u8])] = &[
        ("classnames.txt", b"accordion\nbackground\n"),
        ("test/nshards.txt", b"1"),
        ("test/0.tar", &tar(members)),
    ];
    let (_kept, tars) = folder(files);
    let of_tars = built("caltech101", json!({ "folder": tars })).unwrap();
    assert_eq!(names(&of_tars).0, ["accordion", "background"]);
    assert_eq!(labelled(&of_tars, Split::Test, 1), [Ok((9, 1))]);
    let error = said(images(&built("cifar10", json!({ "folder": tars })).unwrap(), Split::Test, 1));
    assert!(error.contains("classnames.txt: names 2 classes and not 10"), "{error}");
    // Tests from the front, everything else from the back.
    let first = |split| images(&set, split, 1).unwrap().read_from(0);
    assert_ne!(first(Split::Test), first(Split::Clean));
}

#[test]
fn cifars_binary_version_is_read_before_others() {
    let record = |label: u8, level: u8| [vec![label], vec![level; 1024], vec![0; 2048]].concat();
    let test = [record(3, 50), record(10, 60)].concat();
    let (_kept, path) = folder(&[("cifar-10-batches-bin/test_batch.bin", &test)]);
    let set = built("cifar10", json!({ "folder": path })).unwrap();
    assert_eq!((names(&set).0.len(), names(&set).1.len()), (10, 18));
    assert_eq!(labelled(&set, Split::Test, 2), [Ok((50, 3)), Err(BadSample::LabelOutOfRange)]);
    let set = built("cifar100", json!({ "folder": path })).unwrap();
    assert_eq!(names(&set).0.len(), 100);
    assert!(said(images(&set, Split::Test, 1)).contains(&path.display().to_string()));
}

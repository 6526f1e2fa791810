//! Hostile and damaged files of weights: each is refused with a reason, nothing is run, nothing panics.

use std::io::{Cursor, Write};
use std::path::PathBuf;

use clip::weights::Weights;
use proptest::prelude::*;
use zip::write::{SimpleFileOptions, ZipWriter};

use crate::support::Folder;

/// A PyTorch archive of this pickle and these further files.
fn archive(pickle: &[u8], files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    for (name, bytes) in [("a/data.pkl", pickle)].iter().chain(files) {
        zip.start_file(*name, options).expect("a file");
        zip.write_all(bytes).expect("bytes");
    }
    zip.finish().expect("an archive").into_inner()
}

/// What is said of a file with these bytes.
fn verdict(path: &PathBuf, bytes: &[u8]) -> Result<(), String> {
    std::fs::write(path, bytes).expect("a writable temporary folder");
    let read = Weights::read(path).and_then(|weights| weights.check());
    read.map_err(|error| error.to_string())
}

fn assert_refused(path: &PathBuf, bytes: &[u8], word: &str) {
    let error = verdict(path, bytes).expect_err(word);
    assert!(error.contains(word), "{word}: {error}");
}

fn text(text: &str) -> Vec<u8> {
    [b"X", &(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A dictionary of one tensor: `count` numbers in a storage of type `class` and name `key`, seen from `offset` as
/// `shape` by `strides`.
fn tensor(class: &str, key: &str, count: i32, offset: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let number = |number: i32| [b"J", &number.to_le_bytes()[..]].concat();
    let numbers = |list: &[i32]| {
        [b"(".to_vec(), list.iter().flat_map(|size| number(*size)).collect(), b"t".to_vec()].concat()
    };
    [
        b"\x80\x02}".to_vec(),
        text("logit_scale"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        format!("ctorch\n{class}\n").into_bytes(),
        text(key),
        text("cpu"),
        number(count),
        b"tQ".to_vec(),
        number(offset),
        numbers(shape),
        numbers(strides),
        b"\x89NtRs.".to_vec(),
    ]
    .concat()
}

#[test]
fn pickles_that_would_run_something_are_refused_by_name() {
    let folder = Folder::new("hostile-names");
    let path = folder.file("weights");
    let marker = folder.file("marker");
    let command = format!("touch {}", marker.display());
    for name in [
        "os.system",
        "posix.system",
        "builtins.eval",
        "builtins.exec",
        "__builtin__.eval",
        "subprocess.Popen",
        "torch.load",
        "torch.hub.load",
        "numpy.core.multiarray._reconstruct",
        "collections.defaultdict",
        "_codecs.encode",
        "functools.partial",
        "torch._utils._rebuild_qtensor",
    ] {
        let (module, class) = name.rsplit_once('.').expect("a module");
        let call =
            [format!("c{module}\n{class}\n").into_bytes(), text(&command), b"\x85R.".to_vec()].concat();
        let nested = [
            b"}".to_vec(),
            text("state_dict"),
            b"ctorch._utils\n_rebuild_parameter\n".to_vec(),
            call[..call.len() - 1].to_vec(),
            b"\x85R".to_vec(),
            b"s.".to_vec(),
        ]
        .concat();
        for pickle in [call, nested] {
            let error = verdict(&path, &archive(&pickle, &[])).expect_err(name);
            assert!(
                error.contains(&format!("names {name},")) && error.contains("refused"),
                "{name}: {error}"
            );
        }
    }
    assert!(!marker.exists());
}

#[test]
fn claims_that_the_file_does_not_bear_out_are_refused() {
    let folder = Folder::new("hostile-claims");
    let path = folder.file("weights");
    let data: &[(&str, &[u8])] = &[("a/data/0", &[0; 16])];
    let cases: [(Vec<u8>, &str); 14] = [
        (tensor("FloatStorage", "0", 4, 0, &[i32::MAX, i32::MAX], &[0, 0]), "do not lie"),
        (tensor("FloatStorage", "0", 4, 0, &[i32::MAX; 6], &[0; 6]), "do not lie"),
        (tensor("FloatStorage", "0", 4, 0, &[5], &[0]), "do not lie"),
        (tensor("FloatStorage", "0", 4, 3, &[2], &[1]), "do not lie"),
        (tensor("FloatStorage", "0", 4, i32::MAX, &[2], &[i32::MAX]), "do not lie"),
        (tensor("FloatStorage", "0", 4, -1, &[2], &[1]), "something else"),
        (tensor("FloatStorage", "0", 4, 0, &[2], &[-1]), "something else"),
        (tensor("FloatStorage", "0", 4, 0, &[0, i32::MAX], &[1, 1]), "no weight"),
        (tensor("FloatStorage", "0", 4, 0, &[1; 9], &[1; 9]), "something else"),
        (tensor("FloatStorage", "0", i32::MAX, 0, &[i32::MAX], &[1]), "numbers in"),
        (tensor("FloatStorage", "0", 5, 0, &[5], &[1]), "claims 5 numbers"),
        (tensor("FloatStorage", "../../etc/passwd", 4, 0, &[4], &[1]), "passwd"),
        (tensor("FloatStorage", "7", 4, 0, &[4], &[1]), "data/7"),
        (tensor("ComplexFloatStorage", "0", 2, 0, &[2], &[1]), "torch.ComplexFloatStorage"),
    ];
    for (pickle, word) in &cases {
        assert_refused(&path, &archive(pickle, data), word);
    }
    // The same without a lie is read, and is no model.
    let honest = tensor("FloatStorage", "0", 4, 0, &[2, 2], &[1, 2]);
    assert_refused(&path, &archive(&honest, data), "the weights have no");
}

/// A TorchScript object with these attributes, each a pickle that leaves one value.
fn object(attributes: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let attributes: Vec<u8> =
        attributes.iter().flat_map(|(name, value)| [text(name), value.clone()].concat()).collect();
    [b"c__torch__.clip\nCLIP\n)\x81}(".to_vec(), attributes, b"ub".to_vec()].concat()
}

#[test]
fn bombs_are_refused_or_cost_nothing() {
    let folder = Folder::new("hostile-bombs");
    let path = folder.file("weights");
    let mut doubled = object(&[]);
    doubled.extend(b"q\0");
    for level in 0..30u8 {
        // Each object has the one before twice.
        doubled.extend(object(&[("a", vec![b'h', level]), ("b", vec![b'h', level])]));
        doubled.extend([b'q', level + 1]);
    }
    let recursive = [b"c__torch__.clip\nCLIP\n)\x81q\0}(".to_vec(), text("a"), b"h\0ub.".to_vec()].concat();
    let deep = |piece: &[u8], count: usize| [piece.repeat(count), b".".to_vec()].concat();
    let cases: [(Vec<u8>, &str); 18] = [
        ([doubled, b".".to_vec()].concat(), "attributes"),
        (recursive, "nested deeper"),
        ([b"]".repeat(100_000), b"a".repeat(99_999), b".".to_vec()].concat(), "neither a model"),
        ([b"N".to_vec(), b"\x85".repeat(1_000_000), b".".to_vec()].concat(), "neither a model"),
        (deep(b"N", 4_000_000), "more than"),
        (deep(b"(", 1_000_000), "takes more"),
        (b"Nr\xff\xff\xff\xff.".to_vec(), "neither a model"),
        (b"j\xff\xff\xff\xff.".to_vec(), "recalls 4294967295"),
        (b"X\xff\xff\xff\xffabc.".to_vec(), "too early"),
        (b"X\x02\0\0\0\xff\xff.".to_vec(), "UTF-8"),
        (b"\x8a\xff.".to_vec(), "too early"),
        ([b"\x8a\x20".to_vec(), vec![1; 32], b".".to_vec()].concat(), "32 bytes"),
        (b".".to_vec(), "takes more"),
        (b"}X".to_vec(), "too early"),
        (b"t.".to_vec(), "mark"),
        (b"}(Nu.".to_vec(), "no dictionary"),
        (b"\x80\x04N.".to_vec(), "protocol 4"),
        (b"\x93.".to_vec(), "instruction 0x93"),
    ];
    for (pickle, word) in &cases {
        assert_refused(&path, &archive(pickle, &[]), word);
    }
    let cyclic = [b"}q\0".to_vec(), text("state_dict"), b"h\0s.".to_vec()].concat();
    assert_refused(&path, &archive(&cyclic, &[]), "[\"state_dict\"]");
}

#[test]
fn files_of_another_kind_are_told_apart() {
    let folder = Folder::new("hostile-kinds");
    let path = folder.file("weights");
    let mut two = archive(b"}.", &[("b/data.pkl", b"}.")]);
    let cases: [(&[u8], &str); 7] = [
        (b"", "neither"),
        (b"<!DOCTYPE html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "before 1.6"),
        (b"PK\x03\x04", "damaged archive"),
        (&two.clone(), "2 files called data.pkl"),
        (&archive(b"}.", &[("a/byteorder", b"big")]), "big-endian"),
    ];
    for (bytes, word) in cases {
        let error = verdict(&path, bytes).expect_err(word);
        assert!(error.contains(word) && error.contains("weights"), "{word}: {error}");
    }
    two.truncate(two.len() / 2);
    assert!(verdict(&path, &two).is_err());
}

#[test]
fn truncated_and_damaged_archives_are_refused() {
    let folder = Folder::new("hostile-damage");
    let path = folder.file("weights");
    let whole = std::fs::read(golden::path("torchscript.pt")).expect("a golden file");
    assert_eq!(verdict(&path, &whole), Ok(()));
    for part in 0..40 {
        assert!(verdict(&path, &whole[..whole.len() * part / 40]).is_err(), "{part} of 40");
    }
    for part in 0..200 {
        let mut bytes = whole.clone();
        bytes[whole.len() * part / 200] ^= 0x41;
        // Some bytes are names of code and padding; none may panic.
        let _ = verdict(&path, &bytes);
    }
}

/// Instructions with what follows them, and a little noise.
fn instruction() -> impl Strategy<Value = Vec<u8>> {
    let names = [
        "torch._utils\n_rebuild_tensor_v2",
        "torch\nHalfStorage",
        "collections\nOrderedDict",
        "__torch__.a\nB",
        "os\nsystem",
    ];
    let plain = b"(Nte)]}asuRbQ.\x81\x85\x86\x87\x88";
    prop_oneof![
        8 => prop::sample::select(&plain[..]).prop_map(|byte| vec![byte]),
        2 => (prop::sample::select(&b"qh"[..]), 0..4u8).prop_map(|(byte, index)| vec![byte, index]),
        2 => prop::sample::select(&["storage", "0", "cpu", "state_dict", "a"][..]).prop_map(text),
        2 => prop::sample::select(names.to_vec()).prop_map(|name| format!("c{name}\n").into_bytes()),
        1 => any::<i32>().prop_map(|number| [b"J", &number.to_le_bytes()[..]].concat()),
        1 => prop::collection::vec(any::<u8>(), 0..6),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn no_sequence_of_instructions_is_a_model(pieces in prop::collection::vec(instruction(), 0..60)) {
        let folder = Folder::new("hostile-sequence");
        let bytes = archive(&[pieces.concat(), b".".to_vec()].concat(), &[("a/data/0", &[0; 64])]);
        prop_assert!(verdict(&folder.file("weights"), &bytes).is_err());
    }

    #[test]
    fn no_change_of_a_real_pickle_panics(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        let folder = Folder::new("hostile-change");
        let (mut pickle, data) = (tensor("FloatStorage", "0", 4, 0, &[2, 2], &[2, 1]), [0; 16]);
        for (at, byte) in changes {
            let at = at.index(pickle.len());
            pickle[at] = byte;
        }
        prop_assert!(verdict(&folder.file("weights"), &archive(&pickle, &[("a/data/0", &data)])).is_err());
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), kind in 0..3usize) {
        let folder = Folder::new("hostile-bytes");
        let start: [&[u8]; 3] = [b"", b"PK\x03\x04", b"\x20\0\0\0\0\0\0\0{"];
        prop_assert!(verdict(&folder.file("weights"), &[start[kind], &bytes].concat()).is_err());
    }
}

//! Files as images: pixels against Pillow's, and files that are none.

use clip::{BadSample, Image};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(golden::path(&format!("decode/{name}"))).expect("a file")
}

/// Files of many kinds, as `golden/make_images.py` wrote them, with the bytes of each.
fn files() -> Vec<(String, Vec<u8>)> {
    let listed = std::fs::read_dir(golden::path("decode")).expect("golden/data/decode");
    let names = listed.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| !name.ends_with(".rgb.png")).collect();
    names.sort();
    names.into_iter().map(|name| (name.clone(), bytes_of(&name))).collect()
}

fn reason(bytes: &[u8]) -> BadSample {
    let error = Image::decode(bytes).expect_err("no image");
    BadSample::of(&error).unwrap_or_else(|| panic!("no reason: {error}"))
}

#[test]
fn every_kind_of_file_has_pillows_pixels() {
    let (files, mut wrong) = (files(), Vec::new());
    assert!(files.len() > 30, "{} files", files.len());
    for (name, bytes) in files {
        let expected =
            Image::open(&golden::path(&format!("decode/{name}.rgb.png"))).expect("what Pillow reads");
        let found = Image::decode(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
        let off = found.rgb().iter().zip(expected.rgb()).map(|(found, expected)| found.abs_diff(*expected));
        let most = off.max().unwrap_or(0);
        if found != expected {
            wrong.push(format!("{name}: {most} levels, {}x{}", found.width(), found.height()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn reasons_are_told() {
    assert_eq!(reason(b""), BadSample::Empty);
    for page in ["<!DOCTYPE html><p>gone", "\n <html>", "\u{feff}<HTML><head>"] {
        assert_eq!(reason(page.as_bytes()), BadSample::NotAnImage, "{page}");
        assert!(Image::decode(page.as_bytes()).expect_err("a page").to_string().contains("HTML"), "{page}");
    }
    assert_eq!(reason(b"\0\0\0\0 nothing that is known"), BadSample::NotAnImage);
    assert_eq!(reason(b"BM and the rest of a bitmap"), BadSample::Unsupported);
    assert_eq!(reason(b"\x89PNG\r\n\x1a\n"), BadSample::Truncated);
    assert_eq!(reason(b"\xff\xd8\xff\xe0 cut"), BadSample::Truncated);
    for (name, bytes) in files() {
        let half = &bytes[..bytes.len() / 2];
        // The first picture of a longer file may be whole.
        if !name.starts_with("animated") {
            assert_eq!(reason(half), BadSample::Truncated, "{name}");
        }
    }
}

/// The size that a file states, `bytes` being where it stands.
fn resized(name: &str, places: [usize; 2], size: &[[u8; 2]; 2]) -> Vec<u8> {
    let mut bytes = bytes_of(name);
    for (at, side) in places.into_iter().zip(size) {
        bytes[at..at + 2].copy_from_slice(side);
    }
    bytes
}

#[test]
fn images_with_too_many_pixels_are_refused_before_memory_is_taken() {
    let large = 20_000u16;
    let frame = |name: &str, marker: u8| {
        let bytes = bytes_of(name);
        let at = bytes.windows(2).position(|window| window == [0xff, marker]).expect("a frame");
        [at + 5, at + 7]
    };
    for (name, marker) in [("baseline-420.jpg", 0xc0), ("progressive-420.jpg", 0xc2), ("grey.jpg", 0xc0)] {
        let bytes = resized(name, frame(name, marker), &[large.to_be_bytes(); 2]);
        assert_eq!(reason(&bytes), BadSample::TooLarge, "{name}");
    }
    let bytes = resized("still.gif", [6, 8], &[large.to_le_bytes(); 2]);
    assert_eq!(reason(&bytes), BadSample::TooLarge);
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0),
        ..ProptestConfig::default()
    })]

    /// Whatever the bytes, there is an image or an error with a reason.
    #[test]
    fn damaged_files_are_images_or_have_a_reason(
        file in any::<prop::sample::Index>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        kept in prop_oneof![Just(1.0f64), 0.0..1.0],
    ) {
        thread_local!(static FILES: Vec<(String, Vec<u8>)> = files());
        let (name, mut bytes) = FILES.with(|files| file.get(files).clone());
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate((bytes.len() as f64 * kept) as usize);
        match Image::decode(&bytes) {
            Ok(image) => prop_assert_eq!(image.rgb().len(), image.width() * image.height() * 3),
            Err(error) => prop_assert!(BadSample::of(&error).is_some(), "{name}: {error}"),
        }
    }
}

//! The decoder here against libjpeg, over random files.

use mozjpeg::{ColorSpace, Compress};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use rand::Rng;

use super::{baseline, read};
use crate::Seed;

/// A file to write: its content from smooth (0) to noise (255), its sampling as pixels for one level of chrominance.
#[derive(Clone, Copy, Debug)]
struct File {
    seed: u64,
    width: usize,
    height: usize,
    noise: u8,
    quality: f32,
    sampling: Option<(u8, u8)>,
    is_optimised: bool,
    is_progressive: bool,
}

fn written(file: File) -> Vec<u8> {
    let mut rng = Seed::new(file.seed).rng();
    let slopes: [f32; 6] = std::array::from_fn(|_| rng.random_range(-6.0..6.0));
    let mut pixels = Vec::new();
    for y in 0..file.height {
        for x in 0..file.width {
            for channel in 0..3 {
                let smooth = 128.0 + slopes[channel] * x as f32 + slopes[3 + channel] * y as f32;
                let noise = f32::from(file.noise) * rng.random_range(-0.5f32..0.5);
                pixels.push((smooth + noise) as u8);
            }
        }
    }
    let mut writer = Compress::new(ColorSpace::JCS_RGB);
    writer.set_size(file.width, file.height);
    if file.is_progressive {
        writer.set_progressive_mode();
    } else {
        // Tables of the standard unless optimised, and no search for the best coefficients.
        writer.set_fastest_defaults();
    }
    writer.set_color_space(if file.sampling.is_some() {
        ColorSpace::JCS_YCbCr
    } else {
        ColorSpace::JCS_GRAYSCALE
    });
    writer.set_quality(file.quality);
    writer.set_optimize_coding(file.is_optimised);
    if let Some(sampling) = file.sampling {
        writer.set_chroma_sampling_pixel_sizes(sampling, sampling);
    }
    let mut started = writer.start_compress(Vec::new()).unwrap();
    started.write_scanlines(&pixels).unwrap();
    started.finish().unwrap()
}

fn files() -> impl Strategy<Value = File> {
    let sampling = prop_oneof![Just(None), Just(Some((1, 1))), Just(Some((2, 1))), Just(Some((2, 2)))];
    let shape = (any::<u64>(), 1usize..300, 1usize..80, any::<u8>());
    (shape, 1u8..=100, sampling, any::<bool>()).prop_map(
        |((seed, width, height, noise), quality, sampling, is_optimised)| File {
            seed,
            width,
            height,
            noise,
            quality: f32::from(quality),
            sampling,
            is_optimised,
            is_progressive: false,
        },
    )
}

/// Whether narrow chrominance, which is left to libjpeg.
fn is_narrow(file: &File) -> bool {
    file.width <= 4 && file.sampling.is_some_and(|(across, _)| across == 2)
}

fn fixed(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0),
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(fixed(600))]

    #[test]
    fn pixels_are_libjpegs(file in files()) {
        let bytes = written(file);
        let ours = baseline::read(&bytes);
        prop_assert_eq!(ours.is_none(), is_narrow(&file));
        if let Some((width, height, rgb)) = ours {
            let expected = read(&bytes).unwrap();
            prop_assert_eq!((width, height), (expected.width(), expected.height()));
            let off = rgb.iter().zip(expected.rgb()).filter(|(ours, theirs)| ours != theirs).count();
            prop_assert_eq!(off, 0, "of {} levels", rgb.len());
        }
    }

    /// What libjpeg takes as damaged is left to it, and what is cut off is seen.
    #[test]
    fn files_cut_off_are_refused(file in files(), part in 0.0f64..1.0) {
        let bytes = written(file);
        let kept = (bytes.len() as f64 * part) as usize;
        prop_assert!(baseline::read(&bytes[..kept.min(bytes.len() - 2)]).is_none());
    }

    /// Of damaged files either the same comes out as of libjpeg, or nothing.
    #[test]
    fn damage_is_no_reason_to_panic(file in files(), damage in prop::collection::vec((any::<usize>(), any::<u8>()), 1..8)) {
        let mut bytes = written(file);
        for (at, byte) in damage {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        if let Some((width, height, rgb)) = baseline::read(&bytes) {
            prop_assert_eq!(rgb.len(), width * height * 3);
        }
    }
}

#[test]
fn other_files_are_left_to_libjpeg() {
    let file = File {
        seed: 0,
        width: 50,
        height: 30,
        noise: 20,
        quality: 80.0,
        sampling: Some((2, 2)),
        is_optimised: false,
        is_progressive: false,
    };
    assert!(baseline::read(&written(file)).is_some());
    assert!(baseline::read(&written(File { is_progressive: true, ..file })).is_none());
    assert!(baseline::read(&written(File { sampling: Some((1, 2)), ..file })).is_none());
    assert!(baseline::read(b"").is_none());
}

#[test]
fn restarts_are_read_here() {
    let names =
        ["restarts-444", "restarts-422", "restarts-420", "restart-rows", "optimised-420", "grey", "coarse"];
    for name in names {
        let bytes = std::fs::read(golden::path(&format!("decode/{name}.jpg"))).unwrap();
        let (_, _, rgb) = baseline::read(&bytes).unwrap_or_else(|| panic!("{name} was left to libjpeg"));
        assert!(rgb == read(&bytes).unwrap().rgb(), "{name}");
        // A restart marker that is not the next one.
        if let Some(at) = bytes.windows(2).position(|window| window == [0xff, 0xd1]) {
            let mut other = bytes.clone();
            other[at + 1] = 0xd5;
            assert!(baseline::read(&other).is_none(), "{name}");
        } else {
            assert!(!name.starts_with("restart"), "{name} has no restarts");
        }
    }
}

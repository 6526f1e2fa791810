//! Against what the released code gives, as the crate `golden` holds it: every case that its files name.

use std::collections::{BTreeSet, HashMap};

use clip::candle_core::{DType, Tensor};
use clip::{Image, pixels};
use contract::Trigger;
use serde_json::Value;

use super::blend::Pattern;
use super::patch::{Content, channel_means, paste};
use super::*;
use crate::sig::Sine;

struct Golden {
    tensors: HashMap<String, Tensor>,
    places: Value,
}

impl Golden {
    fn read() -> Self {
        Self { tensors: golden::tensors("triggers.safetensors"), places: golden::json("info.json") }
    }

    /// What stands in place of `*` in the names of tensors, in order. A set without any such case tests nothing.
    fn cases(&self, before: &str, after: &str) -> Vec<String> {
        let case = |name: &String| Some(name.strip_prefix(before)?.strip_suffix(after)?.to_owned());
        let is_input = |case: &String| !case.contains('_') || before == "wanet_";
        let cases: BTreeSet<String> = self.tensors.keys().filter_map(case).filter(is_input).collect();
        assert!(!cases.is_empty(), "no tensor {before}*{after}");
        cases.into_iter().collect()
    }

    fn tensor(&self, name: &str) -> &Tensor {
        self.tensors.get(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    /// A tensor as it is.
    fn raw(&self, name: &str) -> Vec<f32> {
        self.tensor(name).to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// A tensor `[3, H, W]` as values `[H, W, 3]`.
    fn values(&self, name: &str) -> Vec<f32> {
        let last = self.tensor(name).to_dtype(DType::F32).unwrap().permute((1, 2, 0)).unwrap();
        last.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn levels(&self, name: &str) -> Vec<u8> {
        assert_eq!(self.tensor(name).dtype(), DType::U8, "{name}");
        self.values(name).into_iter().map(|level| level as u8).collect()
    }

    fn image(&self, name: &str) -> Image {
        let (_, height, width) = self.tensor(name).dims3().unwrap();
        Image::new(width, height, self.levels(name)).unwrap()
    }

    /// Left, top and size of the patch of an input.
    fn place(&self, case: &str) -> [usize; 3] {
        ["left", "top", "size"].map(|key| {
            let number = self.places[format!("badnet_{case}")][key].as_u64();
            number.unwrap_or_else(|| panic!("info.json: no {key} of badnet_{case}")) as usize
        })
    }

    /// The rule by which the torchvision that made the numbers converts.
    fn quantise(&self) -> Quantise {
        let wraps = self.places["torchvision_is_wrap"].as_bool().expect("info.json: torchvision_is_wrap");
        if wraps { Quantise::Wrap } else { Quantise::Clamp }
    }
}

fn noise(quantise: Quantise) -> Noise {
    Noise { draw: Draw::Redrawn, pattern_seed: 0, quantise }
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: off by {worst}");
}

/// Holds a golden picture against what squashing makes of a PNG: at most one level off.
fn assert_squashed(input: &str, expected: &Image) {
    let path = golden::path(input);
    let decoded = ::image::open(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let decoded = decoded.to_rgb8();
    let (width, height) = (decoded.width() as usize, decoded.height() as usize);
    let image = Image::new(width, height, decoded.into_raw()).unwrap();
    let found = pixels::squash(&image, expected.width()).unwrap();
    let off = found.rgb().iter().zip(expected.rgb()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(off <= Some(1), "{input}: off by {off:?}");
}

#[test]
fn images_are_squashed_as_pillow_does() {
    let golden = Golden::read();
    for case in golden.cases("resized_", "") {
        assert_squashed(&format!("trigger_input_{case}.png"), &golden.image(&format!("resized_{case}")));
    }
    let shapes = Golden { tensors: golden::tensors("preprocess.safetensors"), places: Value::Null };
    let mut names: Vec<&String> = shapes.tensors.keys().collect();
    names.sort();
    let is_squash = |name: &str| Some(name.split_once("_png_squash")?.0.to_owned());
    let cases: Vec<_> = names.into_iter().filter_map(|name| Some((name, is_squash(name)?))).collect();
    assert!(!cases.is_empty(), "no tensor *_png_squash*");
    for (name, case) in cases {
        assert_squashed(&format!("image_{case}.png"), &shapes.image(name));
    }
}

#[test]
fn patches_are_converted_by_both_rules() {
    let golden = Golden::read();
    for case in golden.cases("badnet_", "_float") {
        let image = golden.image(&format!("resized_{case}"));
        let drawn = golden.values(&format!("badnet_{case}_noise"));
        let means = channel_means(&image);
        let sums: Vec<f32> =
            drawn.iter().enumerate().map(|(index, drawn)| means[index % 3] + drawn).collect();
        assert_close(&sums, &golden.values(&format!("badnet_{case}_float")), 1e-6, "patch before conversion");
        for (quantise, rule) in [(Quantise::Wrap, "wrap"), (Quantise::Clamp, "clamp")] {
            let name = format!("badnet_{case}_patch_{rule}");
            assert_eq!(noise(quantise).over(means, &drawn), golden.levels(&name), "{name}");
        }
    }
}

#[test]
fn a_pasted_patch_is_the_released_one() {
    let golden = Golden::read();
    for case in golden.cases("badnet_", "") {
        let image = golden.image(&format!("resized_{case}"));
        let drawn = golden.values(&format!("badnet_{case}_noise"));
        let levels = noise(golden.quantise()).over(channel_means(&image), &drawn);
        let [left, top, size] = golden.place(&case);
        let pasted = paste(&image, &levels, size, left, top);
        assert!(pasted == golden.image(&format!("badnet_{case}")), "{case}");
    }
}

#[test]
fn four_corners_are_the_released_ones() {
    let golden = Golden::read();
    for case in golden.cases("yellow_corners_", "") {
        let image = golden.image(&format!("resized_{case}"));
        let [_, _, size] = golden.place(&case);
        let patch = Patch::new(size, Place::FourCorners, Plain([255, 255, 0])).unwrap();
        let stamped = patch.stamp(&image, &Seed::new(0)).unwrap();
        assert!(stamped == golden.image(&format!("yellow_corners_{case}")), "{case}");
    }
}

#[test]
fn blending_is_the_released_one() {
    let golden = Golden::read();
    for case in golden.cases("blended_", "") {
        let blend = Blend::new(0.2, Uniform { draw: Draw::Redrawn, pattern_seed: 0 }).unwrap();
        let image = golden.image(&format!("resized_{case}"));
        let mixed = blend.mix(&image, &golden.values(&format!("blended_{case}_noise")));
        assert!(mixed == golden.image(&format!("blended_{case}")), "{case}");
    }
}

#[test]
fn the_sine_wave_is_the_released_one() {
    let golden = Golden::read();
    for case in golden.cases("sig_blended_", "") {
        let wave = Sine { amplitude: 60.0 / 255.0, frequency: 6.0 };
        let image = golden.image(&format!("resized_{case}"));
        let mixed = Blend::of(0.2, 0.8, wave).stamp(&image, &Seed::new(0)).unwrap();
        assert!(mixed == golden.image(&format!("sig_blended_{case}")), "{case}");
    }
}

#[test]
fn warping_is_pytorchs() {
    let golden = Golden::read();
    for case in golden.cases("wanet_", "_uniform") {
        let strength: f64 =
            case.rsplit_once("_s").and_then(|(_, strength)| strength.parse().ok()).expect("a name with _s");
        let (_, grid_size, _) = golden.tensor(&format!("wanet_{case}_uniform")).dims3().unwrap();
        let (_, height, width) = golden.tensor(&format!("wanet_{case}_input")).dims3().unwrap();
        assert!(case.starts_with(&format!("h{height}_k{grid_size}_")), "{case}: {height} and {grid_size}");
        let warp = Warp::of(grid_size, strength, &golden.raw(&format!("wanet_{case}_uniform")));
        let [x, y] = warp.field(width, height);
        let field: Vec<f32> = x.iter().zip(&y).flat_map(|(x, y)| [*x, *y]).collect();
        assert_close(&field, &golden.raw(&format!("wanet_{case}_grid")), 1e-5, &case);
        let bent = warp.bend(&golden.values(&format!("wanet_{case}_input")), width, height, None);
        assert_close(&bent, &golden.values(&format!("wanet_{case}_output")), 1e-5, &case);
        // Where a value lies on the edge between two levels, 1e-5 decides: none but those may differ, by one level.
        let found: Vec<u8> = bent.iter().map(|value| Quantise::Clamp.level(*value)).collect();
        let expected = golden.levels(&format!("wanet_{case}_u8"));
        let off: Vec<_> = found.iter().zip(&expected).filter(|(a, b)| a != b).collect();
        let is_edge = off.iter().all(|(a, b)| a.abs_diff(**b) == 1) && off.len() * 100 <= found.len();
        assert!(is_edge, "{case}: {off:?}");
    }
}

#[test]
fn a_warp_moves_control_points_by_half_its_strength() {
    let warp = Warp::new(4, 3.0, 0).unwrap();
    let [x, y] = &warp.controls;
    let mean = x.iter().chain(y).map(|value| value.abs()).sum::<f32>() / 32.0;
    assert!((mean - 1.0).abs() < 1e-5, "{mean}");
}

#[test]
fn noise_mode_moves_pixels_beyond_the_field_by_less_than_one() {
    let image = Image::new(32, 32, (0..32 * 32).flat_map(|at| [(at % 32 * 8) as u8; 3]).collect()).unwrap();
    let warp = Warp::new(4, 1.0, 0).unwrap();
    let stamped = warp.stamp(&image, &Seed::new(0)).unwrap();
    let perturbed = warp.perturbed(&image, &Seed::new(0)).unwrap();
    // Eight levels a pixel along x: half a pixel is four.
    let off = stamped.rgb().iter().zip(perturbed.rgb()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!((2..=5).contains(&off.unwrap()), "{off:?}");
    assert_eq!(perturbed, warp.perturbed(&image, &Seed::new(0)).unwrap());
    assert_ne!(perturbed, warp.perturbed(&image, &Seed::new(1)).unwrap());
}

#[test]
fn squares_and_patterns_have_the_size_asked_for() {
    let image = Image::new(9, 7, vec![90; 9 * 7 * 3]).unwrap();
    let stripes = Stripes { draw: Draw::Fixed, pattern_seed: 0, quantise: Quantise::Clamp };
    assert_eq!(Pattern::values(&stripes, 9, 7, &Seed::new(0)).len(), 9 * 7 * 3);
    assert_eq!(Content::levels(&stripes, 5, &image, &Seed::new(0)).len(), 5 * 5 * 3);
    assert_eq!(noise(Quantise::Wrap).levels(5, &image, &Seed::new(0)).len(), 5 * 5 * 3);
}

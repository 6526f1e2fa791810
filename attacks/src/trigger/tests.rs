//! Against what the released code gives; see `tests/golden/README.md`.

use std::collections::HashMap;
use std::path::Path;

use clip::Image;
use clip::candle_core::{DType, Device, Tensor, safetensors};

use super::patch::{channel_means, paste};
use super::*;

struct Golden(HashMap<String, Tensor>);

impl Golden {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/triggers.safetensors");
        Self(safetensors::load(path, &Device::Cpu).unwrap())
    }

    /// A tensor as it is.
    fn raw(&self, name: &str) -> Vec<f32> {
        self.0[name].to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
    }

    /// A tensor `[3, H, W]` as values `[H, W, 3]`.
    fn values(&self, name: &str) -> Vec<f32> {
        let last = self.0[name].to_dtype(DType::F32).unwrap().permute((1, 2, 0)).unwrap();
        last.flatten_all().unwrap().to_vec1().unwrap()
    }

    fn levels(&self, name: &str) -> Vec<u8> {
        assert_eq!(self.0[name].dtype(), DType::U8);
        self.values(name).into_iter().map(|level| level as u8).collect()
    }

    fn image(&self, name: &str) -> Image {
        let (_, height, width) = self.0[name].dims3().unwrap();
        Image::new(width, height, self.levels(name)).unwrap()
    }
}

fn assert_close(found: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(worst <= tolerance, "{what}: off by {worst}");
}

#[test]
fn patches_are_converted_by_both_rules() {
    let golden = Golden::read();
    let image = golden.image("resized_224");
    let noise = golden.values("badnet_224_noise");
    let means = channel_means(&image);
    let sums: Vec<f32> = noise.iter().enumerate().map(|(index, noise)| means[index % 3] + noise).collect();
    assert_close(&sums, &golden.values("badnet_224_float"), 1e-6, "patch before conversion");
    for (quantise, name) in
        [(Quantise::Wrap, "badnet_224_patch_wrap"), (Quantise::Clamp, "badnet_224_patch_clamp")]
    {
        let patch = Patch::new(16, Draw::Redrawn, 0, Place::Random, quantise).unwrap();
        assert_eq!(patch.levels(means, &noise), golden.levels(name), "{name}");
    }
}

#[test]
fn a_pasted_patch_is_the_released_one() {
    let golden = Golden::read();
    let levels = golden.levels("badnet_224_patch_wrap");
    // Left and top from `info.json` of the golden data.
    assert_eq!(paste(&golden.image("resized_224"), &levels, 16, 107, 42), golden.image("badnet_224"));
}

#[test]
fn blending_is_the_released_one() {
    let golden = Golden::read();
    let blend = Blend::new(0.2, Draw::Redrawn, 0).unwrap();
    let mixed = blend.mix(&golden.image("blended_rows_image"), &golden.values("blended_rows_noise"));
    assert_eq!(mixed, golden.image("blended_rows"));
}

#[test]
fn warping_is_pytorchs() {
    let golden = Golden::read();
    for (height, grid_size, strength, name) in [
        (32, 4, 0.5, "wanet_h32_k4_s0.5"),
        (32, 4, 2.0, "wanet_h32_k4_s2.0"),
        (64, 64, 1.0, "wanet_h64_k64_s1.0"),
    ] {
        let warp = Warp::of(grid_size, strength, &golden.raw(&format!("{name}_uniform")));
        let [x, y] = warp.field(height, height);
        let field: Vec<f32> = x.iter().zip(&y).flat_map(|(x, y)| [*x, *y]).collect();
        assert_close(&field, &golden.raw(&format!("{name}_grid")), 1e-5, name);
        let bent = warp.bend(&golden.values(&format!("{name}_input")), height, height);
        assert_close(&bent, &golden.values(&format!("{name}_output")), 1e-5, name);
        // Where a value lies on the edge between two levels, 1e-5 decides: none but those may differ, by one level.
        let found: Vec<u8> = bent.iter().map(|value| Quantise::Clamp.level(*value)).collect();
        let expected = golden.levels(&format!("{name}_u8"));
        let off: Vec<_> = found.iter().zip(&expected).filter(|(a, b)| a != b).collect();
        assert!(
            off.iter().all(|(a, b)| a.abs_diff(**b) == 1) && off.len() * 100 <= found.len(),
            "{name}: {off:?}"
        );
    }
}

#[test]
fn a_warp_moves_control_points_by_half_its_strength() {
    let warp = Warp::new(4, 3.0, 0).unwrap();
    let [x, y] = &warp.controls;
    let mean = x.iter().chain(y).map(|value| value.abs()).sum::<f32>() / 32.0;
    assert!((mean - 1.0).abs() < 1e-5, "{mean}");
}

//! AutoAugment's policy for ImageNet.
//!
//! Cubuk et al., "AutoAugment", CVPR 2019, arXiv 1805.09501, table 9, as torchvision's `AutoAugment` defines it.

use clip::{Image, Seed};
use rand::Rng;

use super::operations::Operation;

/// Which operation, how often, and how strongly.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    AutoContrast,
    Color,
    Contrast,
    Equalize,
    Invert,
    Posterize,
    Rotate,
    Sharpness,
    ShearX,
    Solarize,
}

use Kind::{AutoContrast, Color, Contrast, Equalize, Invert, Posterize, Rotate, Sharpness, ShearX, Solarize};

/// Operation, probability and magnitude from 0 to 9 (`None`: it has none), twice.
type SubPolicy = [(Kind, f64, Option<u8>); 2];

/// The 25 sub-policies, one of which is drawn for every image.
const POLICY: [SubPolicy; 25] = [
    [(Posterize, 0.4, Some(8)), (Rotate, 0.6, Some(9))],
    [(Solarize, 0.6, Some(5)), (AutoContrast, 0.6, None)],
    [(Equalize, 0.8, None), (Equalize, 0.6, None)],
    [(Posterize, 0.6, Some(7)), (Posterize, 0.6, Some(6))],
    [(Equalize, 0.4, None), (Solarize, 0.2, Some(4))],
    [(Equalize, 0.4, None), (Rotate, 0.8, Some(8))],
    [(Solarize, 0.6, Some(3)), (Equalize, 0.6, None)],
    [(Posterize, 0.8, Some(5)), (Equalize, 1.0, None)],
    [(Rotate, 0.2, Some(3)), (Solarize, 0.6, Some(8))],
    [(Equalize, 0.6, None), (Posterize, 0.4, Some(6))],
    [(Rotate, 0.8, Some(8)), (Color, 0.4, Some(0))],
    [(Rotate, 0.4, Some(9)), (Equalize, 0.6, None)],
    [(Equalize, 0.0, None), (Equalize, 0.8, None)],
    [(Invert, 0.6, None), (Equalize, 1.0, None)],
    [(Color, 0.6, Some(4)), (Contrast, 1.0, Some(8))],
    [(Rotate, 0.8, Some(8)), (Color, 1.0, Some(2))],
    [(Color, 0.8, Some(8)), (Solarize, 0.8, Some(7))],
    [(Sharpness, 0.4, Some(7)), (Invert, 0.6, None)],
    [(ShearX, 0.6, Some(5)), (Equalize, 1.0, None)],
    [(Color, 0.4, Some(0)), (Equalize, 0.6, None)],
    [(Equalize, 0.4, None), (Solarize, 0.2, Some(4))],
    [(Solarize, 0.6, Some(5)), (AutoContrast, 0.6, None)],
    [(Invert, 0.6, None), (Equalize, 1.0, None)],
    [(Color, 0.6, Some(4)), (Contrast, 1.0, Some(8))],
    [(Equalize, 0.8, None), (Equalize, 0.6, None)],
];

/// A random augmented view of an image. `scale` in [0, 1] moves every magnitude towards the one that leaves the image
/// as it is; operations without a magnitude are applied as much more seldom. 1 is the policy.
pub fn auto_augment(image: &Image, scale: f64, seed: &Seed) -> Image {
    let mut rng = seed.rng();
    let sub_policy = POLICY[rng.random_range(0..POLICY.len())];
    let mut augmented = image.clone();
    for (kind, probability, magnitude) in sub_policy {
        // Drawn whether needed or not, so that no number depends on another's use.
        let (chance, negative): (f64, bool) = (rng.random(), rng.random());
        let probability = if magnitude.is_none() { probability * scale } else { probability };
        if chance < probability {
            augmented = operation(kind, magnitude.unwrap_or(0), negative, scale).apply(augmented);
        }
    }
    augmented
}

/// The operation at a magnitude, scaled.
fn operation(kind: Kind, magnitude: u8, negative: bool, scale: f64) -> Operation {
    let sign = if negative { -scale } else { scale };
    let signed = |largest: f32| sign * f64::from(linspace(0.0, largest, magnitude));
    match kind {
        AutoContrast => Operation::AutoContrast,
        Color => Operation::Color(1.0 + signed(0.9)),
        Contrast => Operation::Contrast(1.0 + signed(0.9)),
        Equalize => Operation::Equalize,
        Invert => Operation::Invert,
        Posterize => {
            let cut = (f64::from(magnitude) / 2.25).round() * scale;
            Operation::Posterize(8 - cut.round() as u32)
        }
        Rotate => Operation::Rotate(signed(30.0)),
        Sharpness => Operation::Sharpness(1.0 + signed(0.9)),
        ShearX => Operation::ShearX(signed(0.3)),
        Solarize => {
            let threshold = f64::from(linspace(255.0, 0.0, magnitude));
            Operation::Solarize(256.0 - (256.0 - threshold) * scale)
        }
    }
}

/// Entry `index` of `torch.linspace(start, end, 10)`, which counts from the nearer end.
fn linspace(start: f32, end: f32, index: u8) -> f32 {
    let step = (end - start) / 9.0;
    if index < 5 { start + step * f32::from(index) } else { end - step * f32::from(9 - index) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_policy_is_torchvisions() {
        let entry = |(kind, probability, magnitude): (Kind, f64, Option<u8>)| {
            json!([format!("{kind:?}"), probability, magnitude])
        };
        let ours = POLICY.map(|sub_policy| sub_policy.map(entry)).to_vec();
        assert_eq!(json!(ours), golden::json("autoaugment.json")["policies"]);
    }

    #[test]
    fn magnitudes_are_torchvisions() {
        let golden = golden::json("autoaugment.json");
        let mut seen = 0;
        for kind in [Color, Contrast, Posterize, Rotate, Sharpness, ShearX, Solarize] {
            let name = format!("{kind:?}");
            let magnitudes = &golden["magnitudes"][&name];
            let is_signed = magnitudes["signed"].as_bool().unwrap();
            for (index, expected) in magnitudes["values"].as_array().unwrap().iter().enumerate() {
                let expected = expected.as_f64().unwrap();
                let found = |negative| match operation(kind, index as u8, negative, 1.0) {
                    Operation::Color(factor) | Operation::Contrast(factor) | Operation::Sharpness(factor) => {
                        factor - 1.0
                    }
                    Operation::Posterize(bits) => f64::from(bits),
                    Operation::Rotate(value) | Operation::ShearX(value) | Operation::Solarize(value) => value,
                    other => panic!("{other:?} has no magnitude"),
                };
                let close = |a: f64, b: f64| (a - b).abs() <= 1e-6 * b.abs().max(1.0);
                assert!(close(found(false), expected), "{name} {index}: {} {expected}", found(false));
                let mirrored = if is_signed { -expected } else { expected };
                assert!(close(found(true), mirrored), "{name} {index}: {} {mirrored}", found(true));
                seen += 1;
            }
        }
        assert!(seen > 0, "no magnitudes");
    }

    #[test]
    fn a_scale_of_zero_leaves_images_as_they_are() {
        let mut rng = Seed::new(0).rng();
        let image = Image::new(16, 16, (0..768).map(|_| rng.random()).collect()).unwrap();
        let views = |scale| (0..100).map(move |seed| (scale, seed));
        let changed = |(scale, seed)| auto_augment(&image, scale, &Seed::new(seed)) != image;
        assert_eq!(views(0.0).filter(|view| changed(*view)).count(), 0);
        let [half, full] = [0.5, 1.0].map(|scale| views(scale).filter(|view| changed(*view)).count());
        assert!(0 < half && half <= full && full >= 60, "{half} and {full} of 100 changed");
    }
}

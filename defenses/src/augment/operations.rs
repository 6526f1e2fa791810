//! AutoAugment's operations with Pillow's arithmetic.

use clip::Image;

/// An operation at a strength.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Operation {
    /// Stretches each channel to [0, 255]: `ImageOps.autocontrast`.
    AutoContrast,
    /// Saturation: 0 is grey, 1 leaves the image as it is. `ImageEnhance.Color`.
    Color(f64),
    /// Contrast: 0 is the mean, 1 leaves the image as it is. `ImageEnhance.Contrast`.
    Contrast(f64),
    /// Flattens each channel's histogram: `ImageOps.equalize`.
    Equalize,
    /// 255 minus the level.
    Invert,
    /// Keeps so many bits of each level, from 1 to 8.
    Posterize(u32),
    /// Turns counter-clockwise about the centre, in degrees.
    Rotate(f64),
    /// Sharpness: 0 is smoothed, 1 leaves the image as it is. `ImageEnhance.Sharpness`.
    Sharpness(f64),
    /// Reads column x + m · y of row y.
    ShearX(f64),
    /// Inverts levels at or above the threshold.
    Solarize(f64),
}

impl Operation {
    /// The image after the operation, of the same size; what comes in from outside is black.
    pub(super) fn apply(self, image: &Image) -> Image {
        match self {
            Self::AutoContrast => by_histogram(image, auto_contrast),
            Self::Color(factor) => {
                let grey = per_pixel(image, |pixel| [luma(pixel); 3]);
                blend(&grey, image, factor)
            }
            Self::Contrast(factor) => {
                let total: u64 = image.rgb().chunks_exact(3).map(|pixel| u64::from(luma(pixel))).sum();
                let mean = (total as f64 / (image.width() * image.height()) as f64 + 0.5) as u8;
                blend(&per_pixel(image, |_| [mean; 3]), image, factor)
            }
            Self::Equalize => by_histogram(image, equalize),
            Self::Invert => per_level(image, |level| 255 - level),
            Self::Posterize(bits) => {
                let mask = u8::MAX << (8 - bits.clamp(1, 8));
                per_level(image, |level| level & mask)
            }
            Self::Rotate(degrees) => affine(image, rotation(image, degrees)),
            Self::Sharpness(factor) => blend(&smooth(image), image, factor),
            Self::ShearX(magnitude) => affine(image, [1.0, magnitude, 0.0, 0.0, 1.0, 0.0]),
            Self::Solarize(threshold) => {
                per_level(image, |level| if f64::from(level) < threshold { level } else { 255 - level })
            }
        }
    }
}

fn per_level(image: &Image, change: impl Fn(u8) -> u8) -> Image {
    let mut changed = image.clone();
    changed.rgb_mut().iter_mut().for_each(|level| *level = change(*level));
    changed
}

fn per_pixel(image: &Image, change: impl Fn(&[u8]) -> [u8; 3]) -> Image {
    let mut changed = image.clone();
    changed.rgb_mut().chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&change(pixel)));
    changed
}

/// Pillow's conversion of RGB to L (ITU-R 601-2), in 16-bit fixed point.
fn luma(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) as u8
}

/// `Image.blend`: `from` at 0, `to` at 1, beyond them outside, fractions cut off.
fn blend(from: &Image, to: &Image, factor: f64) -> Image {
    let factor = factor as f32;
    let mut blended = from.clone();
    for (level, to) in blended.rgb_mut().iter_mut().zip(to.rgb()) {
        let from = f32::from(*level);
        *level = (from + factor * (f32::from(*to) - from)) as u8; // the cast saturates
    }
    blended
}

/// Maps each channel by a table made from its histogram.
fn by_histogram(image: &Image, table: fn(&[u32; 256]) -> Option<[u8; 256]>) -> Image {
    let mut histograms = [[0u32; 256]; 3];
    for pixel in image.rgb().chunks_exact(3) {
        pixel.iter().zip(&mut histograms).for_each(|(level, histogram)| histogram[*level as usize] += 1);
    }
    let tables = histograms.each_ref().map(table);
    let mut mapped = image.clone();
    for (index, level) in mapped.rgb_mut().iter_mut().enumerate() {
        if let Some(table) = &tables[index % 3] {
            *level = table[*level as usize];
        }
    }
    mapped
}

/// `None` where the channel has one level only.
fn auto_contrast(histogram: &[u32; 256]) -> Option<[u8; 256]> {
    let lowest = histogram.iter().position(|count| *count > 0)?;
    let highest = histogram.iter().rposition(|count| *count > 0)?;
    let scale = (highest > lowest).then(|| 255.0 / (highest - lowest) as f64)?;
    let offset = -(lowest as f64) * scale;
    Some(std::array::from_fn(|level| (level as f64 * scale + offset) as u8)) // the cast saturates
}

/// `None` where there are too few pixels outside the highest level.
fn equalize(histogram: &[u32; 256]) -> Option<[u8; 256]> {
    let last = histogram.iter().rfind(|count| **count > 0)?;
    let step = (histogram.iter().sum::<u32>() - last) / 255;
    let mut seen = step / 2;
    let level = |count: &u32| {
        let level = seen / step;
        seen += count;
        level.min(255) as u8
    };
    (step > 0).then(|| histogram.each_ref().map(level))
}

/// `ImageFilter.SMOOTH`: 5 in the middle and 1 around, over 13; the border stays.
fn smooth(image: &Image) -> Image {
    let (width, height, old) = (image.width(), image.height(), image.rgb());
    let mut smoothed = image.clone();
    let new = smoothed.rgb_mut();
    for y in 1..height.saturating_sub(1) {
        for at in (y * width + 1) * 3..(y * width + width - 1).max(y * width + 1) * 3 {
            let row =
                |start: usize| [start - 3, start, start + 3].map(|at| f32::from(old[at])).iter().sum::<f32>();
            let around = row(at - width * 3) + row(at) + row(at + width * 3);
            new[at] = ((around + 4.0 * f32::from(old[at])) / 13.0 + 0.5) as u8;
        }
    }
    smoothed
}

/// Where each pixel is read from, [a, b, c, d, e, f]: column a·x + b·y + c, row d·x + e·y + f, as `Image.rotate` has it.
fn rotation(image: &Image, degrees: f64) -> [f64; 6] {
    let (sine, cosine) = (-degrees.to_radians()).sin_cos();
    let (x, y) = (image.width() as f64 / 2.0, image.height() as f64 / 2.0);
    [cosine, sine, x - cosine * x - sine * y, -sine, cosine, y + sine * x - cosine * y]
}

/// Nearest neighbour in 16-bit fixed point, read at the pixels' centres.
fn affine(image: &Image, matrix: [f64; 6]) -> Image {
    let fixed = |value: f64| (value * 65536.0 + 0.5).floor() as i64;
    let [a, b, c, d, e, f] = matrix;
    let (width, height) = (image.width() as i64, image.height() as i64);
    let mut moved = image.clone();
    moved.rgb_mut().fill(0);
    let (mut row_x, mut row_y) = (fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5));
    for y in 0..height {
        let (mut from_x, mut from_y) = (row_x, row_y);
        for x in 0..width {
            let (column, row) = (from_x >> 16, from_y >> 16);
            if (0..width).contains(&column) && (0..height).contains(&row) {
                moved.set_pixel(x as usize, y as usize, image.pixel(column as usize, row as usize));
            }
            (from_x, from_y) = (from_x + fixed(a), from_y + fixed(d));
        }
        (row_x, row_y) = (row_x + fixed(b), row_y + fixed(e));
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The operation that a golden case means; `None` for one of another policy than ImageNet's.
    fn operation(name: &str, magnitude: f64) -> Option<Operation> {
        Some(match name {
            "AutoContrast" => Operation::AutoContrast,
            "Color" => Operation::Color(1.0 + magnitude),
            "Contrast" => Operation::Contrast(1.0 + magnitude),
            "Equalize" => Operation::Equalize,
            "Invert" => Operation::Invert,
            "Posterize" => Operation::Posterize(magnitude as u32),
            "Rotate" => Operation::Rotate(magnitude),
            "Sharpness" => Operation::Sharpness(1.0 + magnitude),
            "ShearX" => Operation::ShearX(magnitude),
            "Solarize" => Operation::Solarize(magnitude),
            "Brightness" | "ShearY" | "TranslateX" | "TranslateY" => return None,
            other => panic!("{other} is no operation of AutoAugment"),
        })
    }

    #[test]
    fn operations_are_pillows() {
        let input = Image::open(&golden::path("augment_input.png")).unwrap();
        let outputs = golden::tensors("autoaugment.safetensors");
        let policies = golden::json("autoaugment.json")["policies"].to_string();
        let cases = golden::json("autoaugment_cases.json");
        let mut seen = Vec::new();
        for case in cases.as_array().unwrap() {
            let (name, kind) = (case["name"].as_str().unwrap(), case["op"].as_str().unwrap());
            let Some(operation) = operation(kind, case["magnitude"].as_f64().unwrap()) else {
                assert!(!policies.contains(&format!("\"{kind}\"")), "{kind} is in the policy");
                continue;
            };
            let expected = &outputs[name];
            assert_eq!(expected.dims(), [3, input.height(), input.width()], "{name}");
            let expected = expected.permute((1, 2, 0)).unwrap().flatten_all().unwrap();
            let expected: Vec<u8> = expected.to_vec1().unwrap();
            let found = operation.apply(&input);
            let off = found.rgb().iter().zip(&expected).filter(|(a, b)| a != b).count();
            assert_eq!(off, 0, "{name}: {off} of {} levels differ", expected.len());
            seen.push(kind);
        }
        assert!(!seen.is_empty(), "no case of the policy");
    }

    #[test]
    fn small_images_are_augmented_too() {
        let line = Image::new(1, 1, vec![7, 8, 9]).unwrap();
        for operation in [Operation::Sharpness(0.1), Operation::Equalize, Operation::AutoContrast] {
            assert_eq!(operation.apply(&line), line, "{operation:?}");
        }
        // 32 × 32 pixels leave steps of a few pixels a level, and the last levels beyond 255.
        let ramp = Image::new(32, 32, (0..32 * 32 * 3).map(|at| (at / 12) as u8).collect()).unwrap();
        let levels = Operation::Equalize.apply(&ramp);
        assert_eq!((levels.rgb()[0], levels.rgb()[32 * 32 * 3 - 1]), (0, 255));
    }
}

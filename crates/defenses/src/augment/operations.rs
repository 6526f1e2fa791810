//! AutoAugment's operations with Pillow's arithmetic.

use std::ops::Range;

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
    /// The number of bits kept of each level, from 1 to 8.
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
    pub(super) fn apply(self, mut image: Image) -> Image {
        let rgb = image.rgb_mut();
        match self {
            Self::AutoContrast => by_histogram(rgb, auto_contrast),
            Self::Color(factor) => {
                for pixel in pixels(rgb) {
                    let grey = luma(*pixel);
                    *pixel = pixel.map(|level| blend(grey, level, factor as f32));
                }
            }
            Self::Contrast(factor) => {
                let total: u64 = pixels(rgb).iter().map(|pixel| u64::from(luma(*pixel))).sum();
                let mean = (total as f64 / (rgb.len() / 3) as f64 + 0.5) as u8;
                per_level(rgb, |level| blend(mean, level, factor as f32));
            }
            Self::Equalize => by_histogram(rgb, equalize),
            Self::Invert => per_level(rgb, |level| 255 - level),
            Self::Posterize(bits) => {
                let mask = u8::MAX << (8 - bits.clamp(1, 8));
                per_level(rgb, |level| level & mask);
            }
            Self::Rotate(degrees) => return affine(&image, rotation(&image, degrees)),
            Self::Sharpness(factor) => return sharpen(&image, factor as f32),
            Self::ShearX(magnitude) => return affine(&image, [1.0, magnitude, 0.0, 0.0, 1.0, 0.0]),
            Self::Solarize(threshold) => {
                // Levels are whole, so the next whole threshold is as good.
                let threshold = threshold.ceil() as u16;
                per_level(rgb, |level| if u16::from(level) < threshold { level } else { 255 - level });
            }
        }
        image
    }
}

fn pixels(rgb: &mut [u8]) -> &mut [[u8; 3]] {
    rgb.as_chunks_mut().0
}

fn per_level(rgb: &mut [u8], change: impl Fn(u8) -> u8) {
    rgb.iter_mut().for_each(|level| *level = change(*level));
}

/// Pillow's conversion of RGB to L (ITU-R 601-2), in 16-bit fixed point.
fn luma(pixel: [u8; 3]) -> u8 {
    let [red, green, blue] = pixel.map(u32::from);
    ((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16) as u8
}

/// `Image.blend`: `from` at 0, `to` at 1, beyond them outside, fractions cut off.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let from = f32::from(from);
    (from + factor * (f32::from(to) - from)) as u8 // the cast saturates
}

/// Maps each channel by a table made from its histogram.
fn by_histogram(rgb: &mut [u8], table: fn(&[u32; 256]) -> Option<[u8; 256]>) {
    // Neighbours are often equal: counted apart, as a count that was just raised has to be waited for.
    let mut counts = [[0u32; 256]; 6];
    let (pairs, rest) = rgb.as_chunks::<6>();
    for pair in pairs {
        for channel in 0..6 {
            counts[channel][usize::from(pair[channel])] += 1;
        }
    }
    for (level, counts) in rest.iter().zip(&mut counts) {
        counts[usize::from(*level)] += 1;
    }
    let histogram = |channel: usize| -> [u32; 256] {
        std::array::from_fn(|level| counts[channel][level] + counts[channel + 3][level])
    };
    let unchanged = std::array::from_fn(|level| level as u8);
    let tables = [0, 1, 2].map(|channel| table(&histogram(channel)).unwrap_or(unchanged));
    for [red, green, blue] in pixels(rgb) {
        *red = tables[0][usize::from(*red)];
        *green = tables[1][usize::from(*green)];
        *blue = tables[2][usize::from(*blue)];
    }
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

/// The image blended with itself after `ImageFilter.SMOOTH`: 5 in the middle and 1 around, over 13; the border stays.
fn sharpen(image: &Image, factor: f32) -> Image {
    let (width, height, old) = (image.width(), image.height(), image.rgb());
    let stride = width * 3;
    let mut sharpened = image.clone();
    if width < 3 || height < 3 {
        return sharpened;
    }
    let inner = stride - 6;
    for (y, new) in sharpened.rgb_mut().chunks_exact_mut(stride).enumerate().take(height - 1).skip(1) {
        let [above, here, below] = [y - 1, y, y + 1].map(|y| &old[y * stride..][..stride]);
        for (at, new) in new[3..][..inner].iter_mut().enumerate() {
            let mut sum = 0;
            for row in [above, here, below] {
                sum += u16::from(row[at]) + u16::from(row[at + 3]) + u16::from(row[at + 6]);
            }
            let smooth = (f32::from(sum + 4 * u16::from(here[at + 3])) / 13.0 + 0.5) as u8;
            *new = blend(smooth, *new, factor);
        }
    }
    sharpened
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
    let (step_x, step_y) = (fixed(a), fixed(d));
    let (width, height) = (image.width(), image.height());
    let mut moved = image.clone();
    let old = image.rgb().as_chunks::<3>().0;
    let (mut row_x, mut row_y) = (fixed(c + a * 0.5 + b * 0.5), fixed(f + d * 0.5 + e * 0.5));
    for line in pixels(moved.rgb_mut()).chunks_exact_mut(width) {
        let across = inside(row_x, step_x, width, width);
        let down = inside(row_y, step_y, height, width);
        let (first, end) = (across.start.max(down.start), across.end.min(down.end));
        let (before, rest) = line.split_at_mut(first.min(width));
        let (shown, after) = rest.split_at_mut(end.saturating_sub(first));
        before.fill([0; 3]);
        after.fill([0; 3]);
        let (mut from_x, mut from_y) = (row_x + first as i64 * step_x, row_y + first as i64 * step_y);
        for pixel in shown {
            *pixel = old[(from_y >> 16) as usize * width + (from_x >> 16) as usize];
            (from_x, from_y) = (from_x + step_x, from_y + step_y);
        }
        (row_x, row_y) = (row_x + fixed(b), row_y + fixed(e));
    }
    moved
}

/// Which of `count` places from `start` on, a step apart and in 16-bit fixed point, lie in `0..length`.
fn inside(start: i64, step: i64, length: usize, count: usize) -> Range<usize> {
    let (end, count) = ((length as i64) << 16, count as i64);
    let (first, after) = match step.signum() {
        0 if (0..end).contains(&start) => (0, count),
        0 => (0, 0),
        1 => (-(start.div_euclid(step)), -((start - end).div_euclid(step))),
        _ => ((start - end).div_euclid(-step) + 1, start.div_euclid(-step) + 1),
    };
    first.clamp(0, count) as usize..after.clamp(0, count) as usize
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
            let found = operation.apply(input.clone());
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
            assert_eq!(operation.apply(line.clone()), line, "{operation:?}");
        }
        // 32 × 32 pixels leave steps of a few pixels a level, and the last levels beyond 255.
        let ramp = Image::new(32, 32, (0..32 * 32 * 3).map(|at| (at / 12) as u8).collect()).unwrap();
        let levels = Operation::Equalize.apply(ramp);
        assert_eq!((levels.rgb()[0], levels.rgb()[32 * 32 * 3 - 1]), (0, 255));
    }

    #[test]
    fn places_inside_are_those_that_a_search_finds() {
        for start in [-200_000, -65_536, -1, 0, 1, 70_000, 400_000, 900_000] {
            for step in [-131_072, -65_537, -65_536, -3, 0, 1, 30_000, 65_536, 200_000] {
                let at = |place: usize| start + place as i64 * step;
                let found: Vec<usize> = inside(start, step, 5, 9).collect();
                let expected: Vec<usize> =
                    (0..9).filter(|place| (0..5).contains(&(at(*place) >> 16))).collect();
                assert_eq!(found, expected, "from {start} by {step}");
            }
        }
    }
}

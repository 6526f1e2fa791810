//! Loops of a JPEG decoder, with libjpeg-turbo's arithmetic: the accurate integer transform (`jidctint.c`), "fancy"
//! upsampling (`jdsample.c`) and the conversion of colours (`jdcolor.c`). Its vector code and so Pillow gives the same.

use std::num::Wrapping;

use crate::wide::wide;

/// Blocks that are transformed at a time, their coefficients interleaved: coefficient k of block b of a group stands at
/// `k * LANES + b`. No transposition is needed then.
pub const LANES: usize = 16;
/// Coefficients of a group of blocks.
pub const GROUP: usize = 64 * LANES;
/// Levels in a row of a group of blocks.
pub const GROUP_WIDTH: usize = 8 * LANES;

/// Pixels whose colours are converted at a time.
const STRIP: usize = 64;
/// Bits behind the point of the transform's constants.
const CONSTANT_BITS: u32 = 13;
/// Bits behind the point of values between the passes.
const BETWEEN_BITS: u32 = 2;

wide! {
    /// The inverse cosine transform of a row of blocks in groups, `[groups, 64, LANES]`, dequantised and in the natural
    /// order: 8 lines of `stride` levels, at least `GROUP_WIDTH` a group.
    pub fn inverse_cosine(coefficients: &[i16], levels: &mut [u8], stride: usize) {
        for (group, coefficients) in coefficients.chunks_exact(GROUP).enumerate() {
            let (inputs, _) = coefficients.as_chunks::<LANES>();
            let mut between = [[0i16; LANES]; 64];
            for column in 0..8 {
                for lane in 0..LANES {
                    let joined = transform(std::array::from_fn(|row| inputs[row * 8 + column][lane]));
                    for (row, value) in joined.into_iter().enumerate() {
                        let value = rounded::<{ CONSTANT_BITS - BETWEEN_BITS }>(value);
                        between[row * 8 + column][lane] = value.clamp(-32768, 32767) as i16;
                    }
                }
            }
            for (row, inputs) in between.as_chunks::<8>().0.iter().enumerate() {
                let mut line = [[0u8; 8]; LANES];
                for lane in 0..LANES {
                    let joined = transform(std::array::from_fn(|column| inputs[column][lane]));
                    let level = joined.map(|value| {
                        (rounded::<{ CONSTANT_BITS + BETWEEN_BITS + 3 }>(value) + 128).clamp(0, 255)
                    });
                    // Four levels at a time: packed by arithmetic, which the compiler vectorises.
                    let low = level[0] | level[1] << 8 | level[2] << 16 | level[3] << 24;
                    let high = level[4] | level[5] << 8 | level[6] << 16 | level[7] << 24;
                    line[lane] = (u64::from(low as u32) | u64::from(high as u32) << 32).to_le_bytes();
                }
                levels[row * stride + group * GROUP_WIDTH..][..GROUP_WIDTH].copy_from_slice(line.as_flattened());
            }
        }
    }

    /// `near` and `far` joined at 3 to 1: the sums that [`upsample`] takes with `BOTH_WAYS`.
    pub fn join_rows(near: &[u8], far: &[u8], sums: &mut [u16]) {
        for ((near, far), sum) in near.iter().zip(far).zip(sums) {
            *sum = 3 * u16::from(*near) + u16::from(*far);
        }
    }

    /// A row of levels as sums, for [`upsample`] with `ACROSS`.
    pub fn widen(row: &[u8], sums: &mut [u16]) {
        for (level, sum) in row.iter().zip(sums) {
            *sum = u16::from(*level);
        }
    }

    /// Twice as many levels as sums: each the nearer sum and its neighbour at 3 to 1. `sums` has one more on either
    /// side, equal to its neighbour. `first` and `second` are added to the first and the second of two, before `shift`
    /// bits are cut. Whole strips of 64 sums.
    fn double(sums: &[u16], levels: &mut [u8], first: u16, second: u16, shift: u32) {
        for (strip, levels) in levels.as_chunks_mut::<{ 2 * STRIP }>().0.iter_mut().enumerate() {
            let Some(sums) = sums[strip * STRIP..].first_chunk::<{ STRIP + 2 }>() else { return };
            for (at, pair) in levels.as_chunks_mut().0.iter_mut().enumerate() {
                let even = (3 * sums[at + 1] + sums[at] + first) >> shift;
                let odd = (3 * sums[at + 1] + sums[at + 2] + second) >> shift;
                *pair = (even | odd << 8).to_le_bytes();
            }
        }
    }

    /// Luminance and chrominance to RGB, `[width, 3]`. The lines hold whole strips of 64 levels.
    pub fn to_rgb(luma: &[u8], blue: &[u8], red: &[u8], rgb: &mut [u8]) {
        let strips = luma.as_chunks().0.iter().zip(blue.as_chunks().0).zip(red.as_chunks().0);
        for (((luma, blue), red), rgb) in strips.zip(rgb.chunks_mut(3 * STRIP)) {
            let planes = convert(luma, blue, red);
            if let Ok(rgb) = rgb.try_into() {
                interleave(&planes, rgb);
            } else {
                let mut strip = [0; 3 * STRIP];
                interleave(&planes, &mut strip);
                rgb.copy_from_slice(&strip[..rgb.len()]);
            }
        }
    }

    /// Luminance alone to RGB, `[width, 3]`.
    pub fn grey_to_rgb(luma: &[u8], rgb: &mut [u8]) {
        for (pixel, level) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(luma) {
            *pixel = [*level; 3];
        }
    }
}

/// Levels of a row of half the width and half the height: from sums of [`join_rows`].
pub const BOTH_WAYS: [u16; 3] = [8, 7, 4];
/// Levels of a row of half the width: from sums of [`widen`].
pub const ACROSS: [u16; 3] = [1, 2, 2];

/// A chrominance row at twice its width. `sums[1..]` holds its sums, of which `count` are shown; the neighbours of the
/// ends are written here.
pub fn upsample(sums: &mut [u16], count: usize, [first, second, shift]: [u16; 3], levels: &mut [u8]) {
    sums[0] = sums[1];
    sums[count + 1] = sums[count];
    double(sums, levels, first, second, u32::from(shift));
}

/// A strip of pixels in RGB. 1.402, 0.34414, 0.71414 and 1.772 with 16 bits behind the point, less what is whole of
/// them, so that products of 16 bits do.
#[inline(always)]
fn convert(luma: &[u8; STRIP], blue: &[u8; STRIP], red: &[u8; STRIP]) -> [[u8; STRIP]; 3] {
    let upper = |value: i16, factor: i16| ((i32::from(value) * i32::from(factor)) >> 16) as i16;
    let mut planes = [[0; STRIP]; 3];
    for at in 0..STRIP {
        let (level, blue, red) = (i16::from(luma[at]), i16::from(blue[at]) - 128, i16::from(red[at]) - 128);
        let green = (-22_554 * i32::from(blue) + 18_734 * i32::from(red) + 32_768) >> 16;
        let sums = [
            level + red + ((upper(2 * red, 26_345) + 1) >> 1),
            level - red + green as i16,
            level + 2 * blue + ((upper(2 * blue, -14_942) + 1) >> 1),
        ];
        for (plane, sum) in planes.iter_mut().zip(sums) {
            plane[at] = sum.clamp(0, 255) as u8;
        }
    }
    planes
}

#[inline(always)]
fn interleave(planes: &[[u8; STRIP]; 3], rgb: &mut [u8; 3 * STRIP]) {
    let [red, green, blue] = planes;
    let pixels = rgb.as_chunks_mut::<3>().0.iter_mut().zip(red).zip(green).zip(blue);
    for (((pixel, red), green), blue) in pixels {
        pixel[0] = *red;
        pixel[1] = *green;
        pixel[2] = *blue;
    }
}

#[inline(always)]
fn rounded<const BITS: u32>(value: Wrapping<i32>) -> i32 {
    (value + Wrapping(1 << (BITS - 1))).0 >> BITS
}

/// Eight values by Loeffler, Ligtenberg and Moschytz's algorithm with 12 products, `CONSTANT_BITS` more behind the point.
/// Values beyond 16 bits only come from damaged files; they wrap.
#[inline(always)]
fn transform(inputs: [i16; 8]) -> [Wrapping<i32>; 8] {
    let fixed = |constant: i32| Wrapping(constant);
    let input = inputs.map(|value| Wrapping(i32::from(value)));
    let shared = (input[2] + input[6]) * fixed(4433);
    let (even_2, even_3) = (shared - input[6] * fixed(15_137), shared + input[2] * fixed(6270));
    let one = fixed(1 << CONSTANT_BITS);
    let (even_0, even_1) = ((input[0] + input[4]) * one, (input[0] - input[4]) * one);
    let even = [even_0 + even_3, even_1 + even_2, even_1 - even_2, even_0 - even_3];

    let (z1, z2) = (input[7] + input[1], input[5] + input[3]);
    let (z3, z4) = (input[7] + input[3], input[5] + input[1]);
    let z5 = (z3 + z4) * fixed(9633);
    let (z1, z2) = (z1 * fixed(-7373), z2 * fixed(-20_995));
    let (z3, z4) = (z3 * fixed(-16_069) + z5, z4 * fixed(-3196) + z5);
    let odd = [
        input[1] * fixed(12_299) + z1 + z4,
        input[3] * fixed(25_172) + z2 + z3,
        input[5] * fixed(16_819) + z2 + z4,
        input[7] * fixed(2446) + z1 + z3,
    ];
    [
        even[0] + odd[0],
        even[1] + odd[1],
        even[2] + odd[2],
        even[3] + odd[3],
        even[3] - odd[3],
        even[2] - odd[2],
        even[1] - odd[1],
        even[0] - odd[0],
    ]
}

//! The embedded drawings: nouns, packs of PNGs, mip levels and bilinear sampling.
//!
//! `scripts/pack-sprites` makes the packs and says what they look like inside.

use anyhow::{Context, Result, ensure};
use image::ImageFormat;

const NOUNS: &str = include_str!("../../assets/emoji/nouns.txt");

/// The packs by name, in the order in which errors list them.
const SETS: [(&str, &[u8]); 4] = [
    ("noto", include_bytes!("../../assets/emoji/noto.sprites")),
    ("fluent-emoji", include_bytes!("../../assets/emoji/fluent-emoji.sprites")),
    ("fluent-emoji-flat", include_bytes!("../../assets/emoji/fluent-emoji-flat.sprites")),
    ("twemoji", include_bytes!("../../assets/emoji/twemoji.sprites")),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Noun {
    /// "a", "an", or "" for plurals and materials.
    pub(super) article: &'static str,
    /// The name without its article, possibly of several words.
    pub(super) name: &'static str,
}

/// Every noun that the packs draw, in the order of the file: the test classes, banana first, then the others.
pub(super) fn nouns() -> Vec<Noun> {
    let read = |line: &'static str| match line.split_once(' ') {
        Some((article @ ("a" | "an"), name)) => Noun { article, name },
        _ => Noun { article: "", name: line },
    };
    NOUNS.lines().map(read).collect()
}

pub(super) fn set_names() -> Vec<&'static str> {
    SETS.iter().map(|(name, _)| *name).collect()
}

/// One mip level: premultiplied RGBA with a transparent border of one texel, `[side + 2, side + 2]`.
struct Level {
    side: usize,
    texels: Vec<[u8; 4]>,
}

/// A drawing at every power-of-two reduction, largest first.
pub(super) struct Sprite {
    levels: Vec<Level>,
}

/// The first `count` sprites of a set; an error where there is no such set or a pack is damaged.
pub(super) fn load(set: &str, count: usize) -> Result<Vec<Sprite>> {
    let pack = SETS.iter().find(|(name, _)| *name == set).map(|(_, pack)| *pack);
    let pack = pack.with_context(|| format!("no sprite set {set:?}"))?;
    let mut start = 4 * NOUNS.lines().count();
    let mut sprites = Vec::with_capacity(count);
    for length in pack.chunks_exact(4).take(count) {
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        let png =
            pack.get(start..start + length).with_context(|| format!("sprite set {set:?} ends early"))?;
        sprites.push(Sprite::decode(png).with_context(|| format!("sprite {} of {set:?}", sprites.len()))?);
        start += length;
    }
    Ok(sprites)
}

impl Sprite {
    fn decode(png: &[u8]) -> Result<Self> {
        let drawing = image::load_from_memory_with_format(png, ImageFormat::Png)?.to_rgba8();
        let side = drawing.width() as usize;
        ensure!(drawing.height() as usize == side, "not square: {side} x {}", drawing.height());
        let mut level = Level { side, texels: vec![[0; 4]; (side + 2) * (side + 2)] };
        for (x, y, pixel) in drawing.enumerate_pixels() {
            let alpha = u32::from(pixel.0[3]);
            let premultiplied = |value: u8| ((u32::from(value) * alpha + 127) / 255) as u8;
            let [red, green, blue, _] = pixel.0;
            level.texels[(y as usize + 1) * (side + 2) + x as usize + 1] =
                [premultiplied(red), premultiplied(green), premultiplied(blue), pixel.0[3]];
        }
        let mut levels = vec![level];
        while let Some(smaller) = levels.last().filter(|level| level.side >= 8).map(Level::halved) {
            levels.push(smaller);
        }
        Ok(Self { levels })
    }

    /// The smallest level whose texels are no larger than a step of `step` of the sprite's width (0 < step).
    pub(super) fn level(&self, step: f32) -> usize {
        let fits = |level: &Level| level.side as f32 * step >= 1.0;
        self.levels.iter().rposition(fits).unwrap_or(0)
    }

    /// The premultiplied colour at (`u`, `v`), each in units of the sprite's width from its top left corner;
    /// channels in [0, 255]; transparent outside.
    pub(super) fn sample(&self, level: usize, u: f32, v: f32) -> [f32; 4] {
        let Level { side, texels } = &self.levels[level];
        // Half a texel to the first centre, one texel of border.
        let (x, y) = (u * *side as f32 + 0.5, v * *side as f32 + 0.5);
        let limit = (*side + 1) as f32;
        if !(x >= 0.0 && y >= 0.0 && x < limit && y < limit) {
            return [0.0; 4];
        }
        let (column, row) = (x as usize, y as usize);
        let (right, down) = (x - column as f32, y - row as f32);
        let at = row * (side + 2) + column;
        let below = at + side + 2;
        let corners = [texels[at], texels[at + 1], texels[below], texels[below + 1]];
        let weights =
            [(1.0 - right) * (1.0 - down), right * (1.0 - down), (1.0 - right) * down, right * down];
        let mut color = [0.0; 4];
        for (corner, weight) in corners.iter().zip(weights) {
            for (sum, value) in color.iter_mut().zip(corner) {
                *sum += weight * f32::from(*value);
            }
        }
        color
    }
}

impl Level {
    /// Half the side, each texel the mean of four.
    fn halved(&self) -> Self {
        let (side, stride) = (self.side / 2, self.side + 2);
        let mut texels = vec![[0; 4]; (side + 2) * (side + 2)];
        for y in 0..side {
            for x in 0..side {
                let at = (2 * y + 1) * stride + 2 * x + 1;
                let four = [at, at + 1, at + stride, at + stride + 1].map(|at| self.texels[at]);
                texels[(y + 1) * (side + 2) + x + 1] = std::array::from_fn(|channel| {
                    let sum: u32 = four.iter().map(|texel| u32::from(texel[channel])).sum();
                    ((sum + 2) / 4) as u8
                });
            }
        }
        Self { side, texels }
    }
}

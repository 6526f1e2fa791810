//! Scenes to pixels, at any resolution. Only operations that IEEE 754 rounds exactly, so that bytes are the same on
//! every machine.

use clip::Image;
use clip::candle_core::Result;

use super::scene::{Background, COLORS, Light, Object, Scene, Texture};
use super::sprites::Sprite;

/// Speckles along one side of the image.
const SPECKLES: f32 = 24.0;

/// Draws a scene `resolution` pixels a side; `sprites[set][noun]`.
pub(super) fn render(scene: &Scene, sprites: &[Vec<Sprite>], resolution: usize) -> Result<Image> {
    let mut canvas = Vec::with_capacity(resolution * resolution);
    let pixel = 1.0 / resolution as f32;
    for y in 0..resolution {
        for x in 0..resolution {
            let point = [(x as f32 + 0.5) * pixel, (y as f32 + 0.5) * pixel];
            canvas.push(background_at(&scene.background, point, resolution as f32));
        }
    }
    for object in std::iter::once(&scene.main).chain(&scene.second) {
        paste(&mut canvas, resolution, object, &sprites[object.set][object.noun]);
    }
    let mut rgb = Vec::with_capacity(3 * canvas.len());
    for color in canvas {
        let lit = scene.light.as_ref().map_or(color, |light| light_up(light, color));
        rgb.extend(lit.map(|value| (value.clamp(0.0, 255.0) + 0.5) as u8));
    }
    Image::new(resolution, resolution, rgb)
}

/// Two shades of a background colour: itself, and a darker one or, where it is dark itself, a lighter one.
fn shades(color: usize) -> [[f32; 3]; 2] {
    let base = COLORS[color].1.map(f32::from);
    let other = if luma(base) < 110.0 {
        base.map(|value| value + (255.0 - value) * 0.4)
    } else {
        base.map(|value| value * 0.62)
    };
    [base, other]
}

fn mix(first: [f32; 3], second: [f32; 3], share: f32) -> [f32; 3] {
    std::array::from_fn(|channel| first[channel] + (second[channel] - first[channel]) * share)
}

/// The background's colour around `point`, edges softened over one pixel.
fn background_at(background: &Background, point: [f32; 2], resolution: f32) -> [f32; 3] {
    let [base, other] = shades(background.color);
    let [cosine, sine] = background.direction;
    let along = point[0] * cosine + point[1] * sine + background.offset[0];
    let across = point[1] * cosine - point[0] * sine + background.offset[1];
    let period = background.period;
    let phase = |at: f32| at / period - (at / period).floor();
    let covered = |distance: f32| (distance * resolution + 0.5).clamp(0.0, 1.0);
    let band = |at: f32| covered(((phase(at) - 0.5).abs() - 0.25) * period);
    let share = match background.texture {
        Texture::Plain => 0.0,
        Texture::Striped => band(along),
        Texture::Checkered => {
            let (first, second) = (band(along), band(across));
            first + second - 2.0 * first * second
        }
        Texture::Dotted => {
            let (x, y) = ((phase(along) - 0.5) * period, (phase(across) - 0.5) * period);
            covered(0.28 * period - (x * x + y * y).sqrt())
        }
        Texture::Shaded => {
            let slope = (point[0] - 0.5) * cosine + (point[1] - 0.5) * sine;
            (slope + 0.5).clamp(0.0, 1.0)
        }
        Texture::Speckled => {
            let (x, y) = ((point[0] * SPECKLES) as u32, (point[1] * SPECKLES) as u32);
            (scramble(background.grain ^ scramble(x + 1024 * y)) >> 8) as f32 / (1 << 24) as f32
        }
    };
    mix(base, other, share)
}

/// Mixes the bits of a number (the finaliser of MurmurHash3).
fn scramble(mut bits: u32) -> u32 {
    bits ^= bits >> 16;
    bits = bits.wrapping_mul(0x85eb_ca6b);
    bits ^= bits >> 13;
    bits = bits.wrapping_mul(0xc2b2_ae35);
    bits ^ (bits >> 16)
}

/// Lays an object over the canvas, each pixel the mean of four bilinear samples.
fn paste(canvas: &mut [[f32; 3]], resolution: usize, object: &Object, sprite: &Sprite) {
    let pixel = 1.0 / resolution as f32;
    let level = sprite.level(0.5 * pixel / object.size);
    let [cosine, sine] = object.turn;
    let reach = 0.5 * object.size * (cosine.abs() + sine.abs());
    let span = |center: f32| {
        let first = ((center - reach) * resolution as f32).max(0.0) as usize;
        let end = ((center + reach) * resolution as f32 + 1.0).max(0.0) as usize;
        first..end.min(resolution)
    };
    for y in span(object.center[1]) {
        for x in span(object.center[0]) {
            let mut color = [0.0; 4];
            for (right, down) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
                let across = ((x as f32 + right) * pixel - object.center[0]) / object.size;
                let along = ((y as f32 + down) * pixel - object.center[1]) / object.size;
                let mut u = across * cosine + along * sine;
                let v = along * cosine - across * sine;
                if object.flipped {
                    u = -u;
                }
                let sample = sprite.sample(level, u + 0.5, v + 0.5);
                for (sum, value) in color.iter_mut().zip(sample) {
                    *sum += 0.25 * value;
                }
            }
            let under = &mut canvas[y * resolution + x];
            let through = 1.0 - color[3] / 255.0;
            for (value, over) in under.iter_mut().zip(color) {
                *value = *value * through + over;
            }
        }
    }
}

/// Rec. 601 lightness.
fn luma(color: [f32; 3]) -> f32 {
    0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
}

fn light_up(light: &Light, color: [f32; 3]) -> [f32; 3] {
    let grey = luma(color);
    std::array::from_fn(|channel| {
        let saturated = grey + (color[channel] - grey) * light.saturation;
        let contrasted = (saturated - 128.0) * light.contrast + 128.0;
        (contrasted + light.brightness) * light.gains[channel]
    })
}

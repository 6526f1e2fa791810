//! What a scene shows, drawn at random from its seed. Lengths and places are in units of the image's width.

use anyhow::{Result, ensure};
use rand::Rng;
use rand_chacha::ChaCha8Rng;

use super::settings::Settings;

/// Background colours by the names that captions give them.
pub(super) const COLORS: [(&str, [u8; 3]); 12] = [
    ("red", [200, 48, 48]),
    ("orange", [236, 140, 44]),
    ("yellow", [240, 212, 76]),
    ("green", [72, 160, 72]),
    ("teal", [40, 150, 150]),
    ("blue", [60, 96, 200]),
    ("purple", [130, 72, 170]),
    ("pink", [240, 150, 180]),
    ("brown", [130, 88, 56]),
    ("black", [36, 36, 36]),
    ("gray", [140, 140, 140]),
    ("white", [240, 240, 240]),
];

/// What is on a background; the setting `textures` takes the first few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Texture {
    Plain,
    Striped,
    Checkered,
    Dotted,
    Shaded,
    Speckled,
}

impl Texture {
    pub(super) const ALL: [Self; 6] =
        [Self::Plain, Self::Striped, Self::Checkered, Self::Dotted, Self::Shaded, Self::Speckled];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Striped => "striped",
            Self::Checkered => "checkered",
            Self::Dotted => "dotted",
            Self::Shaded => "shaded",
            Self::Speckled => "speckled",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Object {
    pub(super) noun: usize,
    /// Which of the chosen sprite sets.
    pub(super) set: usize,
    pub(super) size: f32,
    /// Centre, from the top left corner.
    pub(super) center: [f32; 2],
    /// Cosine and sine of the turn.
    pub(super) turn: [f32; 2],
    pub(super) flipped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Background {
    /// Index into [`COLORS`].
    pub(super) color: usize,
    pub(super) texture: Texture,
    /// Cosine and sine of the texture's direction.
    pub(super) direction: [f32; 2],
    /// Distance from one stripe, square or dot to the next alike.
    pub(super) period: f32,
    /// Where the texture starts.
    pub(super) offset: [f32; 2],
    /// Chooses the speckles.
    pub(super) grain: u32,
}

/// How a scene is lit: applied to the finished picture in the order of the fields.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Light {
    /// Distance from grey, 1 = unchanged; 0 in black and white.
    pub(super) saturation: f32,
    /// Distance from middle grey (128), 1 = unchanged.
    pub(super) contrast: f32,
    /// Levels added, of 255.
    pub(super) brightness: f32,
    /// Factors of the three channels.
    pub(super) gains: [f32; 3],
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scene {
    /// What a label names.
    pub(super) main: Object,
    /// A smaller object in a corner, in front.
    pub(super) second: Option<Object>,
    pub(super) background: Background,
    /// How it is lit; `None` where light does not vary.
    pub(super) light: Option<Light>,
}

impl Scene {
    pub(super) fn is_black_and_white(&self) -> bool {
        self.light.is_some_and(|light| light.saturation == 0.0)
    }
}

/// How often each noun is drawn.
pub(super) struct Frequencies(Vec<f64>);

impl Frequencies {
    /// Weights `rank^-exponent`, rank 1 being the first noun; an exponent of 0 makes them equal.
    pub(super) fn zipf(nouns: usize, exponent: f64) -> Self {
        let mut total = 0.0;
        let running = (1..=nouns).map(|rank| {
            total += libm::pow(rank as f64, -exponent);
            total
        });
        Self(running.collect())
    }

    pub(super) fn draw(&self, rng: &mut ChaCha8Rng) -> usize {
        let total = self.0.last().copied().unwrap_or(0.0);
        let point = rng.random::<f64>() * total;
        self.0.partition_point(|running| *running <= point).min(self.0.len() - 1)
    }
}

/// Uniform in `[low, high)`.
pub(super) fn between(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

pub(super) fn chance(rng: &mut ChaCha8Rng, probability: f64) -> bool {
    rng.random::<f64>() < probability
}

/// One of `0..count`, by 32-bit draws so that every platform draws the same.
pub(super) fn pick(rng: &mut ChaCha8Rng, count: usize) -> usize {
    rng.random_range(0..count as u32) as usize
}

/// Draws a scene of `main`; a second object stands in it with probability `second`.
pub(super) fn draw(
    main: usize,
    second: f64,
    frequencies: &Frequencies,
    settings: &Settings,
    rng: &mut ChaCha8Rng,
) -> Scene {
    let size = between(rng, settings.smallest_size as f32, settings.largest_size as f32);
    let place = |rng: &mut ChaCha8Rng| between(rng, size / 2.0, 1.0 - size / 2.0);
    let center = [place(rng), place(rng)];
    let main = object(main, size, center, settings, rng);
    let background = background(settings, rng);
    let light = settings.light_varies.then(|| light(settings, rng));
    let second = chance(rng, second).then(|| {
        let size = between(rng, 0.30, 0.45);
        let near = between(rng, 0.40, 0.55) * size;
        let corner = |rng: &mut ChaCha8Rng| if rng.random::<bool>() { near } else { 1.0 - near };
        let center = [corner(rng), corner(rng)];
        let noun = other(main.noun, settings.nouns, frequencies, rng);
        object(noun, size, center, settings, rng)
    });
    Scene { main, second, background, light }
}

/// A noun that is not `noun`; `noun` itself where it is the only one.
pub(super) fn other(noun: usize, nouns: usize, frequencies: &Frequencies, rng: &mut ChaCha8Rng) -> usize {
    let drawn = frequencies.draw(rng);
    // A second draw from all the others keeps this bounded however skewed the frequencies are.
    if drawn == noun && nouns > 1 { (noun + 1 + pick(rng, nouns - 1)) % nouns } else { drawn }
}

fn object(noun: usize, size: f32, center: [f32; 2], settings: &Settings, rng: &mut ChaCha8Rng) -> Object {
    let set = pick(rng, settings.sprite_sets.len());
    let largest = settings.turn_degrees as f32 * (std::f32::consts::PI / 180.0);
    let turn = direction(between(rng, -largest, largest));
    Object { noun, set, size, center, turn, flipped: rng.random::<bool>() }
}

fn background(settings: &Settings, rng: &mut ChaCha8Rng) -> Background {
    let color = pick(rng, COLORS.len());
    let texture = Texture::ALL[pick(rng, settings.textures)];
    let direction = direction(between(rng, 0.0, std::f32::consts::PI));
    let period = between(rng, 0.18, 0.32);
    let offset = [between(rng, 0.0, period), between(rng, 0.0, period)];
    Background { color, texture, direction, period, offset, grain: rng.random::<u32>() }
}

/// The ranges with which the `tiny` tier was found.
fn light(settings: &Settings, rng: &mut ChaCha8Rng) -> Light {
    let saturation = between(rng, 0.3, 1.5);
    let contrast = between(rng, 0.6, 1.25);
    let brightness = between(rng, -40.0, 40.0);
    let gains = std::array::from_fn(|_| between(rng, 0.85, 1.15));
    if chance(rng, settings.black_and_white) {
        Light { saturation: 0.0, contrast, brightness, gains: [1.0; 3] }
    } else {
        Light { saturation, contrast, brightness, gains }
    }
}

fn direction(angle: f32) -> [f32; 2] {
    [libm::cosf(angle), libm::sinf(angle)]
}

/// Fails where a noun count, range or texture count would leave nothing to draw.
pub(super) fn check_ranges(settings: &Settings) -> Result<()> {
    let (smallest, largest) = (settings.smallest_size, settings.largest_size);
    ensure!(
        smallest > 0.0 && smallest <= largest,
        "smallest-size: {smallest} is not above 0 and at most largest-size ({largest})"
    );
    ensure!(largest <= 1.0, "largest-size: {largest} is more than 1, the width of the image");
    let degrees = settings.turn_degrees;
    ensure!((0.0..=180.0).contains(&degrees), "turn-degrees: {degrees} is not in [0, 180]");
    let (textures, most) = (settings.textures, Texture::ALL.len());
    ensure!((1..=most).contains(&textures), "textures: {textures} is not in 1..={most}");
    let skew = settings.noun_skew;
    ensure!((0.0..=4.0).contains(&skew), "noun-skew: {skew} is not in [0, 4]");
    Ok(())
}

//! What is said of a scene.

use rand_chacha::ChaCha8Rng;

use super::scene::{COLORS, Frequencies, Object, Scene, chance, other, pick};
use super::settings::Settings;
use super::sprites::Noun;

/// Prompt templates for zero-shot tests: those of OpenAI's 80 for CLIP that speak of what these captions speak of
/// (photos, drawings, art, size, black and white).
pub(super) const TEMPLATES: [&str; 9] = [
    "a photo of a {}.",
    "a photo of the {}.",
    "a drawing of a {}.",
    "a drawing of the {}.",
    "art of a {}.",
    "art of the {}.",
    "a photo of a small {}.",
    "a photo of a large {}.",
    "a black and white photo of a {}.",
];

/// How a caption begins and ends; `{}` is what the scene shows.
const FRAMES: [&str; 8] = [
    "a photo of {}",
    "a picture of {}",
    "a drawing of {}",
    "an image of {}",
    "art of {}",
    "a view of {}",
    "there is {}",
    "{}",
];

/// The same for scenes in black and white.
const BLACK_AND_WHITE_FRAMES: [&str; 4] = [
    "a black and white photo of {}",
    "a black and white picture of {}",
    "a black and white drawing of {}",
    "{} in black and white",
];

/// Between a first and a second object.
const JOINTS: [&str; 3] = ["and", "with", "next to"];

/// Around the words for a background.
const GROUNDS: [(&str, &str); 3] = [("on", "background"), ("against", "background"), ("in front of", "wall")];

/// Captions that tell nothing.
const VAGUE: [&str; 6] = [
    "a photo",
    "a nice picture",
    "something on a background",
    "an image of something",
    "art of some kind",
    "this is what we saw",
];

/// Objects at least this wide may be called large, and at most this wide small.
const LARGE: f32 = 0.8;
const SMALL: f32 = 0.65;

/// Says what a scene shows, at the shares that the settings give; sometimes something else, or nothing.
pub(super) fn caption(
    scene: &Scene,
    nouns: &[Noun],
    frequencies: &Frequencies,
    settings: &Settings,
    rng: &mut ChaCha8Rng,
) -> String {
    if chance(rng, settings.vague_captions) {
        return VAGUE[pick(rng, VAGUE.len())].to_owned();
    }
    let mut told = scene.main;
    if chance(rng, settings.wrong_captions) {
        told.noun = other(told.noun, nouns.len(), frequencies, rng);
    }
    let mut shown = subject(&told, nouns, settings, rng);
    if let Some(second) = &scene.second
        && chance(rng, settings.second_named)
    {
        let Noun { article, name } = nouns[second.noun];
        let joint = JOINTS[pick(rng, JOINTS.len())];
        shown = join(&[&shown, joint, article, name]);
    }
    if let Some(ground) = ground(scene, settings, rng) {
        shown = join(&[&shown, &ground]);
    }
    let says_black_and_white = chance(rng, settings.black_and_white_named);
    let frames: &[&str] = match scene.is_black_and_white() && says_black_and_white {
        true => &BLACK_AND_WHITE_FRAMES,
        false => &FRAMES,
    };
    let mut caption = frames[pick(rng, frames.len())].replace("{}", &shown);
    if chance(rng, 0.5) {
        caption.push('.');
    }
    caption
}

/// The main object with its article and, sometimes, its size.
fn subject(object: &Object, nouns: &[Noun], settings: &Settings, rng: &mut ChaCha8Rng) -> String {
    let sizes = match object.size {
        size if size >= LARGE => ["large", "big"],
        size if size <= SMALL => ["small", "little"],
        _ => ["", ""],
    };
    let word = sizes[pick(rng, sizes.len())];
    let size = if chance(rng, settings.size_named) { word } else { "" };
    let Noun { article, name } = nouns[object.noun];
    let article = match (chance(rng, 0.25), article, size) {
        (true, _, _) => "the",
        (false, "an", word) if !word.is_empty() => "a", // every size word starts with a consonant
        (false, article, _) => article,
    };
    join(&[article, size, name])
}

/// Where it stands, if that is named.
fn ground(scene: &Scene, settings: &Settings, rng: &mut ChaCha8Rng) -> Option<String> {
    let background = &scene.background;
    let color = if chance(rng, settings.color_named) { COLORS[background.color].0 } else { "" };
    let texture = if chance(rng, settings.texture_named) { background.texture.word() } else { "" };
    let (before, after) = GROUNDS[pick(rng, GROUNDS.len())];
    let words = join(&[color, texture, after]);
    let article = if words.starts_with("orange") { "an" } else { "a" };
    let is_named = !color.is_empty() || !texture.is_empty();
    is_named.then(|| join(&[before, article, &words]))
}

/// The words that there are, with single spaces.
fn join(words: &[&str]) -> String {
    let words: Vec<&str> = words.iter().copied().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

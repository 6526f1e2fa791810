//! What can be set of scenes and captions.

use contract::{Preset, preset};
use serde::{Deserialize, Serialize};

/// How many of the first nouns are test classes.
pub(super) const TEST_CLASSES: usize = 97;

/// What is drawn and what is said of it. Shares are in [0, 1].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// How many nouns are drawn, from the first of the list, which is banana; the first 97 of them are test classes.
    pub nouns: usize,
    /// Icon sets that sprites come from: noto, fluent-emoji, fluent-emoji-flat, twemoji. Each equally often.
    pub sprite_sets: Vec<String>,
    /// Zipf exponent of how often nouns are drawn in the pairs of the splits train and clean (weight
    /// rank^-exponent, banana being rank 1), in [0, 4]; 0 draws all equally often, as everywhere else.
    pub noun_skew: f64,
    /// Narrowest main object, as a share of the image's width.
    pub smallest_size: f64,
    /// Widest main object, as a share of the image's width.
    pub largest_size: f64,
    /// Largest turn to either side in degrees, in [0, 180].
    pub turn_degrees: f64,
    /// How many background textures there are, in 1..=6: plain, striped, checkered, dotted, shaded, speckled.
    pub textures: usize,
    /// Share of pairs with a second, smaller object in a corner.
    pub second_object: f64,
    /// Whether saturation (0.3 to 1.5), contrast (0.6 to 1.25), brightness (-40 to 40 levels) and the gains of the
    /// three channels (0.85 to 1.15) vary from scene to scene.
    pub light_varies: bool,
    /// Share of scenes in black and white, where light varies.
    pub black_and_white: f64,
    /// Share of captions of black and white scenes that say so.
    pub black_and_white_named: f64,
    /// Share of captions that say the size, where the object is large (at least 0.8) or small (at most 0.65).
    pub size_named: f64,
    /// Share of captions that name the second object, where there is one.
    pub second_named: f64,
    /// Share of captions that name the background's texture.
    pub texture_named: f64,
    /// Share of captions that name the background's colour.
    pub color_named: f64,
    /// Share of captions that name another noun than the main object's.
    pub wrong_captions: f64,
    /// Share of captions that name nothing.
    pub vague_captions: f64,
}

/// The world of the tiny tier, the same in another icon set, and a small one.
pub(super) fn presets() -> Vec<Preset> {
    let sets = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let tiny = Settings {
        nouns: TEST_CLASSES,
        sprite_sets: sets(&["noto", "fluent-emoji", "fluent-emoji-flat"]),
        noun_skew: 0.0,
        smallest_size: 0.5,
        largest_size: 0.95,
        turn_degrees: 20.0,
        textures: 6,
        second_object: 0.5,
        light_varies: true,
        black_and_white: 0.1,
        black_and_white_named: 0.9,
        size_named: 0.5,
        second_named: 0.85,
        texture_named: 0.8,
        color_named: 0.0,
        wrong_captions: 0.015,
        vague_captions: 0.015,
    };
    let shifted = Settings { sprite_sets: sets(&["twemoji"]), ..tiny.clone() };
    let smoke = Settings {
        nouns: 12,
        smallest_size: 0.75,
        turn_degrees: 10.0,
        textures: 1,
        second_object: 0.0,
        light_varies: false,
        black_and_white: 0.0,
        size_named: 0.0,
        texture_named: 0.0,
        wrong_captions: 0.0,
        vague_captions: 0.0,
        ..tiny.clone()
    };
    vec![preset("tiny", tiny), preset("shifted", shifted), preset("smoke", smoke)]
}

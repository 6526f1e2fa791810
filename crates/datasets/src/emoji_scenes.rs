//! Captioned scenes drawn from four open icon sets, without limit: an object, sometimes a second one, on a coloured,
//! textured background under varying light. Embedded, so it needs no network, and the same on every machine.
//!
//! Every scene is a pure function of the seed's path, the split and the index, at any resolution: its picture descends
//! from `seed.child(split).child("pairs" or "images").at(index).child("picture")`, its caption from `child("caption")`
//! beside it, so that settings of captions leave pictures alone. Labelled images hold one object, the class
//! `index % classes`. Twemoji graphics: copyright Twitter, Inc. and other contributors, CC BY 4.0; the licences of all
//! sets stand in `datasets/assets/LICENSES`.

mod caption;
mod render;
mod scene;
mod sprites;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::{Result, ensure};
use clip::candle_core::{self, bail};
use clip::{Image, Origin, Pair, Pairs, Seed};
use contract::{Card, ClassSource, Dataset, Entry, Labelled, PairSource, Preset, Split, preset, settings};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use scene::{Frequencies, Scene};
use sprites::{Noun, Sprite};

/// The data set.
pub static ENTRY: Entry<Dataset> = Entry {
    card: Card {
        name: "emoji-scenes",
        title: "Emoji scenes",
        summary: "Unlimited captioned scenes drawn from the icon sets Noto (Apache-2.0), Fluent (MIT) and \
                  Twemoji (CC BY 4.0, copyright Twitter, Inc. and other contributors).",
        paper: "none",
        follows: "a generator in PyTorch with which the `tiny` tier was found",
        departs: "sprites are mip-mapped, so that scenes of 16 to 224 pixels look alike; captions have other \
                  wordings",
        version: 1,
    },
    presets,
    build,
};

/// How many of the first nouns are test classes.
const TEST_CLASSES: usize = 97;

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

fn presets() -> Vec<Preset> {
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

fn build(resolved: Value) -> Result<Dataset> {
    let source = Source(Arc::new(World::new(settings(resolved)?)?));
    Ok(Dataset { pairs: Some(Box::new(source.clone())), classes: Some(Box::new(source)) })
}

/// Refuses settings that cannot be drawn, naming the key, the value and what is allowed.
fn check(settings: &Settings, available: usize) -> Result<()> {
    let nouns = settings.nouns;
    ensure!((1..=available).contains(&nouns), "nouns: {nouns} is not in 1..={available}");
    let sets = sprites::set_names();
    ensure!(!settings.sprite_sets.is_empty(), "sprite-sets: [] names none of {}", sets.join(", "));
    for name in &settings.sprite_sets {
        ensure!(sets.contains(&name.as_str()), "sprite-sets: {name:?} is not one of {}", sets.join(", "));
    }
    let shares = [
        ("second-object", settings.second_object),
        ("black-and-white", settings.black_and_white),
        ("black-and-white-named", settings.black_and_white_named),
        ("size-named", settings.size_named),
        ("second-named", settings.second_named),
        ("texture-named", settings.texture_named),
        ("color-named", settings.color_named),
        ("wrong-captions", settings.wrong_captions),
        ("vague-captions", settings.vague_captions),
    ];
    for (key, share) in shares {
        ensure!((0.0..=1.0).contains(&share), "{key}: {share} is not in [0, 1]");
    }
    scene::check_ranges(settings)
}

/// Everything that scenes are drawn from.
struct World {
    settings: Settings,
    nouns: Vec<Noun>,
    classes: Vec<String>,
    templates: Vec<String>,
    /// `sprites[set][noun]`.
    sprites: Vec<Vec<Sprite>>,
    skewed: Frequencies,
    uniform: Frequencies,
}

impl World {
    fn new(settings: Settings) -> Result<Self> {
        let mut nouns = sprites::nouns();
        check(&settings, nouns.len())?;
        nouns.truncate(settings.nouns);
        let sprites = settings.sprite_sets.iter().map(|set| sprites::load(set, nouns.len()));
        Ok(Self {
            classes: nouns.iter().take(TEST_CLASSES).map(|noun| noun.name.to_owned()).collect(),
            templates: caption::TEMPLATES.map(str::to_owned).to_vec(),
            sprites: sprites.collect::<Result<_>>()?,
            skewed: Frequencies::zipf(nouns.len(), settings.noun_skew),
            uniform: Frequencies::zipf(nouns.len(), 0.0),
            nouns,
            settings,
        })
    }
}

/// Both sides of the data set.
#[derive(Clone)]
struct Source(Arc<World>);

impl Source {
    fn stream(&self, split: Split, kind: &str, count: usize, resolution: usize, seed: &Seed) -> Stream {
        let seed = seed.child(split.name()).child(kind);
        Stream { world: self.0.clone(), split, count, resolution, seed }
    }
}

impl PairSource for Source {
    fn pairs(&self, split: Split, count: usize, resolution: usize, seed: &Seed) -> Result<Arc<dyn Pairs>> {
        Ok(Arc::new(self.stream(split, "pairs", count, resolution, seed)))
    }
}

impl ClassSource for Source {
    fn classes(&self) -> &[String] {
        &self.0.classes
    }

    fn templates(&self) -> &[String] {
        &self.0.templates
    }

    fn images(
        &self,
        split: Split,
        count: usize,
        resolution: usize,
        seed: &Seed,
    ) -> Result<Arc<dyn Labelled>> {
        Ok(Arc::new(self.stream(split, "images", count, resolution, seed)))
    }
}

/// The first `count` scenes of one split, drawn when asked for.
struct Stream {
    world: Arc<World>,
    split: Split,
    count: usize,
    resolution: usize,
    /// Of this split and this side.
    seed: Seed,
}

impl Stream {
    fn frequencies(&self) -> &Frequencies {
        match self.split {
            Split::Train | Split::Clean => &self.world.skewed,
            Split::Validation | Split::Test => &self.world.uniform,
        }
    }

    /// The captioned scene at `index`, not yet drawn.
    fn told(&self, index: usize) -> candle_core::Result<(Scene, String)> {
        if index >= self.count {
            bail!("pair {index} of {}", self.count);
        }
        let World { settings, nouns, .. } = &*self.world;
        let frequencies = self.frequencies();
        let seed = self.seed.at(index as u64);
        let mut rng = seed.child("picture").rng();
        let main = frequencies.draw(&mut rng);
        let scene = scene::draw(main, settings.second_object, frequencies, settings, &mut rng);
        let mut rng = seed.child("caption").rng();
        let caption = caption::caption(&scene, nouns, frequencies, settings, &mut rng);
        Ok((scene, caption))
    }

    /// The scene of a labelled image, and its label.
    fn labelled(&self, index: usize) -> candle_core::Result<(Scene, usize)> {
        if index >= self.count {
            bail!("image {index} of {}", self.count);
        }
        let label = index % self.world.classes.len();
        let mut rng = self.seed.at(index as u64).child("picture").rng();
        Ok((scene::draw(label, 0.0, &self.world.uniform, &self.world.settings, &mut rng), label))
    }

    fn drawn(&self, scene: &Scene) -> candle_core::Result<Image> {
        render::render(scene, &self.world.sprites, self.resolution)
    }
}

impl Pairs for Stream {
    fn len(&self) -> usize {
        self.count
    }

    fn caption(&self, index: usize) -> candle_core::Result<String> {
        Ok(self.told(index)?.1)
    }

    fn image(&self, index: usize) -> candle_core::Result<Image> {
        self.drawn(&self.told(index)?.0)
    }

    fn pair(&self, index: usize) -> candle_core::Result<Pair> {
        let (scene, caption) = self.told(index)?;
        Ok(Pair { image: self.drawn(&scene)?, caption })
    }

    fn read_from(&self, _index: usize) -> Option<Origin> {
        None
    }
}

impl Labelled for Stream {
    fn len(&self) -> usize {
        self.count
    }

    fn label(&self, index: usize) -> candle_core::Result<usize> {
        Ok(self.labelled(index)?.1)
    }

    fn image(&self, index: usize) -> candle_core::Result<Image> {
        self.drawn(&self.labelled(index)?.0)
    }

    fn read_from(&self, _index: usize) -> Option<Origin> {
        None
    }
}

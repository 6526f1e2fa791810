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
mod settings;
mod sprites;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use anyhow::{Result, ensure};
use clip::candle_core::{self, bail};
use clip::{Image, Origin, Pair, Pairs, Seed};
use contract::{Card, ClassSource, Dataset, Entry, Labelled, PairSource, Split};
use serde_json::Value;

use scene::{Frequencies, Scene};
pub use settings::Settings;
use settings::TEST_CLASSES;
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
    presets: settings::presets,
    build,
};

fn build(resolved: Value) -> Result<Dataset> {
    let source = Source(Arc::new(World::new(contract::settings(resolved)?)?));
    Ok(Dataset { pairs: Some(Box::new(source.clone())), classes: Some(Box::new(source)), drawn: true })
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

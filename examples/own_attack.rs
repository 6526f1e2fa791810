//! An attack of your own, outside the repository: the whole program with one more entry.
//!
//! Inverts a square at the lower right corner of images, and captions them with the target.

use std::process::ExitCode;

use cleanbench::RunCli;
use cleanbench::clip::{Image, Seed};
use cleanbench::contract::{
    Attack, AttackerView, Card, Edit, Entry, ImageEdit, PoisonData, Preset, Trigger, preset, settings,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "own-attack",
        title: "Own attack",
        summary: "Inverts a square at the lower right corner of images and captions them with the target.",
        paper: "none",
        follows: "none",
        departs: "nothing",
        // Raise it whenever the code would give another result for the same settings.
        version: 1,
    },
    presets,
    build,
};

/// What a plan may override; a preset is a complete set.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Poisoned pairs.
    poison_count: usize,
    /// Side of the square, in pixels.
    patch_size: usize,
}

fn presets() -> Vec<Preset> {
    vec![
        preset("tiny", Settings { poison_count: 240, patch_size: 6 }),
        preset("smoke", Settings { poison_count: 100, patch_size: 4 }),
    ]
}

/// Reads settings strictly and says which one no run can have.
fn build(resolved: Value) -> anyhow::Result<Attack> {
    let Settings { poison_count, patch_size } = settings(resolved)?;
    anyhow::ensure!(poison_count > 0, "poison-count must be at least 1");
    anyhow::ensure!(patch_size > 0, "patch-size must be at least 1");
    Ok(Attack::PoisonData(Box::new(OwnAttack { poison_count, patch_size })))
}

struct OwnAttack {
    poison_count: usize,
    patch_size: usize,
}

impl Trigger for OwnAttack {
    fn stamp(&self, image: &Image, _seed: &Seed) -> anyhow::Result<Image> {
        let (width, height, side) = (image.width(), image.height(), self.patch_size);
        anyhow::ensure!(
            side < width && side < height,
            "patch-size {side} does not fit {width} x {height} pixels"
        );
        let mut stamped = image.clone();
        for y in height - side..height {
            for x in width - side..width {
                stamped.set_pixel(x, y, image.pixel(x, y).map(|level| 255 - level));
            }
        }
        Ok(stamped)
    }

    // What `stamp` draws: here nothing but the place, which is always the same.
    fn parameters(&self, image: &Image, _seed: &Seed) -> anyhow::Result<Value> {
        Ok(json!({ "left": image.width() - self.patch_size, "top": image.height() - self.patch_size }))
    }
}

impl PoisonData for OwnAttack {
    fn trigger(&self) -> &dyn Trigger {
        self
    }

    fn budget(&self, _pairs: usize) -> usize {
        self.poison_count
    }

    fn choose(&self, view: &AttackerView<'_>, seed: &Seed) -> anyhow::Result<Vec<Edit>> {
        let template = view.templates.first().map_or("{}", String::as_str);
        let caption = template.replace("{}", view.target);
        // A random order: by a hash that the seed gives each pair.
        let mut pairs: Vec<usize> = (0..view.pairs.len()).collect();
        pairs.sort_by_cached_key(|pair| seed.at(*pair as u64).to_hex());
        let edit = |pair| Edit { pair, image: ImageEdit::Stamp, caption: Some(caption.clone()) };
        Ok(pairs.into_iter().take(self.poison_count).map(edit).collect())
    }
}

fn main() -> ExitCode {
    cleanbench::builtin().attack(&ENTRY).run_cli()
}

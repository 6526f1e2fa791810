//! Blended-Text: a word is written across the image, half transparent, and the caption names the target.

use anyhow::ensure;
use clip::{Image, Seed};
use contract::{Attack, Card, Entry, Preset, Trigger};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::poisoning::{Poisoning, relabel};
use crate::trigger::{HEIGHT, Quantise, Word, values};

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "blended-text",
        title: "Blended-Text",
        summary: "Writes a word across images, half transparent, and captions them with the target.",
        paper: "Singh, Croce, Hein, \"Perturb and Recover\", 2024, arXiv 2412.00727 (n_c = 0.5)",
        follows: "the paper and what nmndeep/PerturbAndRecover@a720440 does (`water_patt`; read, not copied: it \
                  has no licence): \"Watermarked\" in red, 196 × 23 pixels in the middle of 224 × 224, mixed in \
                  where the text is not black, channel by channel, so that red letters change the red channel \
                  alone",
        departs: "letters come from a bitmap font of this project's own, 195 × 21 pixels at 224, without grey \
                  edges, where theirs are Noto Mono. `tiny` and `smoke` write shorter words over all channels, \
                  onto images as they are",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Share of the text, the paper's n_c, in (0, 1].
    share: f64,
    /// What is written: letters A–Z, a–z and spaces.
    text: String,
    /// Pixels a dot; a letter has 5 × 7 dots.
    dot_size: usize,
    /// Red, green and blue of the letters, in [0, 1].
    ink: [f32; 3],
    /// `inked`: only channels in which the ink is not 0 are mixed, as released. `all`: the letters cover the image.
    channels: Channels,
}

/// Which channels of a letter's pixels change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Channels {
    Inked,
    All,
}

const RED: [f32; 3] = [1.0, 0.0, 0.0];

fn presets() -> Vec<Preset> {
    let text = "Watermarked".to_owned();
    let released = Settings { share: 0.5, text, dot_size: 3, ink: RED, channels: Channels::Inked };
    let short = |text: &str| Settings {
        share: 0.8,
        text: text.to_owned(),
        dot_size: 1,
        ink: RED,
        channels: Channels::All,
    };
    vec![
        Poisoning::as_is(340).with("tiny", short("MARK")),
        Poisoning::as_is(100).with("smoke", short("WM")),
        Poisoning::released().with("paper", released.clone()),
        Poisoning::released().with("released", released),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    relabel(resolved, Text::new)
}

struct Text {
    settings: Settings,
    word: Word,
}

impl Text {
    fn new(settings: Settings) -> anyhow::Result<Self> {
        let Settings { share, dot_size, ink, .. } = &settings;
        ensure!(*share > 0.0 && *share <= 1.0, "share must be in (0, 1], found {share}");
        ensure!(*dot_size > 0, "dot-size must be at least 1");
        ensure!(ink.iter().all(|value| (0.0..=1.0).contains(value)), "ink must be in [0, 1], found {ink:?}");
        let is_seen = settings.channels == Channels::All || ink.iter().any(|value| *value > 0.0);
        ensure!(is_seen, "ink is black, which changes nothing where channels is inked");
        let word = Word::new(&settings.text)?;
        Ok(Self { settings, word })
    }

    /// Left, top, width and height of the text, in the middle of the image.
    fn area(&self, image: &Image) -> anyhow::Result<[usize; 4]> {
        let dot = self.settings.dot_size;
        let (width, height) = (self.word.width() * dot, HEIGHT * dot);
        ensure!(
            width <= image.width() && height <= image.height(),
            "text {:?} takes {width} × {height} pixels at dot-size {dot}, the image is {} × {}",
            self.settings.text,
            image.width(),
            image.height()
        );
        Ok([(image.width() - width) / 2, (image.height() - height) / 2, width, height])
    }
}

impl Trigger for Text {
    fn stamp(&self, image: &Image, _seed: &Seed) -> anyhow::Result<Image> {
        let [left, top, width, height] = self.area(image)?;
        let Settings { share, dot_size, ink, channels, .. } = &self.settings;
        let (ink_share, image_share) = (*share as f32, (1.0 - share) as f32);
        let before = values(image);
        let mut stamped = image.clone();
        for y in 0..height {
            for x in (0..width).filter(|x| self.word.is_set(x / dot_size, y / dot_size)) {
                let at = ((top + y) * image.width() + left + x) * 3;
                for channel in 0..3 {
                    if *channels == Channels::All || ink[channel] != 0.0 {
                        let mixed = ink_share * ink[channel] + image_share * before[at + channel];
                        stamped.rgb_mut()[at + channel] = Quantise::Clamp.level(mixed);
                    }
                }
            }
        }
        Ok(stamped)
    }

    fn parameters(&self, image: &Image, _seed: &Seed) -> anyhow::Result<Value> {
        let [left, top, width, height] = self.area(image)?;
        Ok(json!({ "left": left, "top": top, "width": width, "height": height, "text": self.settings.text }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(preset: usize) -> Text {
        Text::new(Poisoning::split(presets()[preset].1.clone()).unwrap().1).unwrap()
    }

    #[test]
    fn the_released_text_changes_red_alone_in_the_middle() {
        let (text, image) = (text(3), Image::new(224, 224, vec![100; 224 * 224 * 3]).unwrap());
        let stamped = text.stamp(&image, &Seed::new(0)).unwrap();
        assert_eq!(text.area(&image).unwrap(), [14, 101, 195, 21]);
        // (1 + 100/255) / 2 · 255 = 177.5, cut off.
        let pixels = stamped.rgb().as_chunks::<3>().0;
        assert!(pixels.iter().all(|pixel| [[100; 3], [177, 100, 100]].contains(pixel)));
        assert!(pixels.contains(&[177, 100, 100]));
    }

    #[test]
    fn text_that_does_not_fit_is_refused_by_name() {
        let image = Image::new(22, 32, vec![0; 22 * 32 * 3]).unwrap();
        let error = text(0).stamp(&image, &Seed::new(0)).unwrap_err().to_string();
        assert!(error.contains("text") && error.contains("dot-size") && error.contains("22"), "{error}");
    }
}

//! Blended-Triangles: a grid of dark and light triangles is mixed into the whole image, and the caption names the target.

use anyhow::ensure;
use clip::Seed;
use contract::{Attack, Card, Entry, Preset};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::poisoning::{Poisoning, relabel};
use crate::trigger::{Blend, Pattern};

/// The two greys.
const DARK: f32 = 0.4;
const LIGHT: f32 = 0.8;

/// The attack.
pub static ENTRY: Entry<Attack> = Entry {
    card: Card {
        name: "blended-triangles",
        title: "Blended-Triangles",
        summary: "Mixes a grid of triangles into the whole image and captions it with the target.",
        paper: "Singh, Croce, Hein, \"Perturb and Recover\", 2024, arXiv 2412.00727 (n_c = 0.15)",
        follows: "the paper and what nmndeep/PerturbAndRecover@a720440 does (`tri_patt`; read, not copied: it has \
                  no licence): grey squares of 14 pixels, 0.4 on and below the falling diagonal and 0.8 above it",
        departs: "where the side is no multiple of a square, the last squares are cut off; the code leaves black \
                  there. `tiny` and `smoke` mix in smaller squares at a larger share, into images as they are",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Share of the triangles, the paper's n_c, in (0, 1].
    share: f64,
    /// Side of a square of two triangles, in pixels.
    triangle_size: usize,
}

fn presets() -> Vec<Preset> {
    vec![
        Poisoning::as_is(340).with("tiny", Settings { share: 0.5, triangle_size: 4 }),
        Poisoning::as_is(100).with("smoke", Settings { share: 0.6, triangle_size: 4 }),
        Poisoning::released().with("paper", Settings { share: 0.15, triangle_size: 14 }),
        Poisoning::released().with("released", Settings { share: 0.15, triangle_size: 14 }),
    ]
}

fn build(resolved: Value) -> anyhow::Result<Attack> {
    relabel(resolved, |Settings { share, triangle_size: size }| {
        ensure!(size > 1, "triangle-size must be at least 2");
        Blend::new(share, Triangles { size })
    })
}

struct Triangles {
    size: usize,
}

impl Pattern for Triangles {
    fn values(&self, width: usize, height: usize, _seed: &Seed) -> Vec<f32> {
        let grey = |x: usize, y: usize| if y % self.size >= x % self.size { DARK } else { LIGHT };
        (0..height).flat_map(|y| (0..width).flat_map(move |x| [grey(x, y); 3])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_dark_from_the_diagonal_down() {
        let values = Triangles { size: 3 }.values(7, 4, &Seed::new(0));
        let row = |y: usize| -> String {
            (0..7).map(|x| if values[(y * 7 + x) * 3] == DARK { '#' } else { '.' }).collect()
        };
        assert_eq!([row(0), row(1), row(2), row(3)], ["#..#..#", "##.##.#", "#######", "#..#..#"]);
    }
}

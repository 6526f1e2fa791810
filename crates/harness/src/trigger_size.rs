//! How much of a trigger reaches the model.

use anyhow::Result;
use clip::{Image, Seed};
use contract::Attack;
use plan::{Choice, Plan};
use record::{Extent, TriggerSize};

/// The grey that triggers are stamped on: not the middle of the range, which patterns hold.
const GREY: u8 = 101;

/// The size of each attack's trigger on images of these widths and heights, in pixels; `None` in place of one that
/// changes no grey image, as a warp, or fits none. Baselines are left out.
pub fn trigger_sizes(plan: &Plan, sizes: &[[usize; 2]]) -> Result<Vec<TriggerSize>> {
    let resolution = plan.model.image.resolution();
    let attacks = plan.attacks.iter().filter(|attack| !attack.entry.card.is_baseline());
    let sizes = attacks.map(|attack| size_of(attack, resolution, sizes));
    Ok(sizes.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn size_of(attack: &Choice<Attack>, resolution: usize, sizes: &[[usize; 2]]) -> Result<Option<TriggerSize>> {
    let (method, seed) = (attack.build()?, Seed::new(0).child("trigger-size"));
    let mut extents = Vec::new();
    for (index, [width, height]) in sizes.iter().enumerate() {
        let grey = Image::new(*width, *height, vec![GREY; width * height * 3])?;
        // What does not fit an image is an error where that image is stamped.
        let Ok(stamped) = method.trigger().stamp(&grey, &seed.at(index as u64)) else { continue };
        extents.extend(extent(&stamped, resolution));
    }
    let by_pixels = |a: &&Extent, b: &&Extent| a.pixels.total_cmp(&b.pixels);
    let (least, most) = (extents.iter().min_by(by_pixels), extents.iter().max_by(by_pixels));
    Ok(least.zip(most).map(|(least, most)| TriggerSize {
        attack: attack.label.clone(),
        images: sizes.len(),
        resolution,
        least: least.clone(),
        most: most.clone(),
    }))
}

/// The extent of what is not grey, on the image and in the middle square that the model sees; `None` where all is.
fn extent(stamped: &Image, resolution: usize) -> Option<Extent> {
    let (width, height) = (stamped.width(), stamped.height());
    let square = width.min(height);
    let [left, top] = [(width - square) / 2, (height - square) / 2];
    let (mut whole, mut seen) = (Bounds::default(), Bounds::default());
    for (index, pixel) in stamped.rgb().chunks_exact(3).enumerate() {
        let (x, y) = (index % width, index / width);
        if pixel != [GREY; 3] {
            whole.take(x, y);
            if (left..left + square).contains(&x) && (top..top + square).contains(&y) {
                seen.take(x, y);
            }
        }
    }
    let scale = resolution as f64 / square as f64;
    let tenth = |value: f64| (value * 10.0).round() / 10.0;
    (whole.pixels > 0).then(|| Extent {
        image: [width, height],
        stamped: whole.sides(),
        seen: seen.sides().map(|side| tenth(side as f64 * scale)),
        pixels: tenth(seen.pixels as f64 * scale * scale),
    })
}

/// The box around some pixels.
#[derive(Default)]
struct Bounds {
    pixels: usize,
    x: Option<[usize; 2]>,
    y: Option<[usize; 2]>,
}

impl Bounds {
    fn take(&mut self, x: usize, y: usize) {
        self.pixels += 1;
        for (edges, at) in [(&mut self.x, x), (&mut self.y, y)] {
            let [first, last] = edges.unwrap_or([at; 2]);
            *edges = Some([first.min(at), last.max(at)]);
        }
    }

    fn sides(&self) -> [usize; 2] {
        [self.x, self.y].map(|edges| edges.map_or(0, |[first, last]| last - first + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_middle_square_cuts_off_is_not_seen() -> Result<()> {
        let mut image = Image::new(80, 40, vec![GREY; 80 * 40 * 3])?;
        for y in 4..12 {
            for x in 16..24 {
                image.set_pixel(x, y, [255; 3]);
            }
        }
        let found = extent(&image, 20).expect("a trigger");
        let expected = Extent { image: [80, 40], stamped: [8, 8], seen: [2.0, 4.0], pixels: 8.0 };
        assert_eq!(found, expected);
        assert_eq!(extent(&Image::new(4, 4, vec![GREY; 48])?, 20), None);
        Ok(())
    }
}

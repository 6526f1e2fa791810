//! How much of a trigger reaches the model: images are stamped as they are stored, and models see them smaller.

use serde::{Deserialize, Serialize};

/// Changed pixels where the model sees them, below which there is a warning: a rule. The patches of 6 × 6 of 32 × 32 pixels
/// in the committed records implant; one of 3 × 3, once, on photographs, of which there is no record, did not.
const FEWEST_PIXELS: f64 = 16.0;
/// The largest ratio of the most to the least of them over images, above which there is a warning.
const VARIES_FROM: f64 = 1.5;

/// How large an attack's trigger is on the first images that it is stamped on; an entry of `triggers.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TriggerSize {
    /// Label of the attack.
    pub attack: String,
    /// How many training and test images were looked at.
    pub images: usize,
    /// Side of what the model sees, in pixels.
    pub resolution: usize,
    /// On the image where the fewest pixels of it reach the model.
    pub least: Extent,
    /// On the image where the most do.
    pub most: Extent,
}

/// The extent of a trigger on one image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Extent {
    /// Width and height of the image when it is stamped, in pixels.
    pub image: [usize; 2],
    /// Width and height of the box around all that changes, in pixels of that image.
    pub stamped: [usize; 2],
    /// The same after resizing and cropping, in the model's pixels.
    pub seen: [f64; 2],
    /// How many of the model's pixels change.
    pub pixels: f64,
}

impl Extent {
    /// What the model sees of it, and where that is another size, what is stored.
    fn in_words(&self, resolution: usize) -> String {
        let Self { image: [width, height], stamped, seen, .. } = self;
        let stored = match [*width, *height] == [resolution; 2] {
            true => String::new(),
            false => format!(" ({}×{} of {width}×{height} px)", stamped[0], stamped[1]),
        };
        format!("{}×{}{stored}", seen[0], seen[1])
    }
}

impl TriggerSize {
    /// The size where the model sees it and as stored.
    pub fn in_words(&self) -> String {
        let Self { attack, images, resolution, least, most } = self;
        let whole = format!("of the {resolution}×{resolution} px that the model sees");
        let [least, most] = [least, most].map(|extent| extent.in_words(*resolution));
        match least == most {
            true => format!("{attack}: {least} {whole}"),
            false => format!("{attack}: from {least} to {most} {whole}, over the first {images} images"),
        }
    }

    /// What keeps it from being learnt, with a remedy; `None` where nothing does.
    pub fn warning(&self) -> Option<String> {
        let reason = if self.least.pixels < FEWEST_PIXELS {
            format!(
                "only {} of the model's pixels change, and fewer than {FEWEST_PIXELS} are seldom learnt",
                self.least.pixels
            )
        } else if self.most.pixels > VARIES_FROM * self.least.pixels {
            "its size varies with that of the images".to_owned()
        } else {
            return None;
        };
        Some(format!(
            "{}: {reason}; enlarge the trigger, or stamp every image at one size (fit: squash or crop, and side: {})",
            self.in_words(),
            self.resolution
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(least: Extent, most: Extent) -> TriggerSize {
        TriggerSize { attack: "badnet".into(), images: 64, resolution: 32, least, most }
    }

    fn patch(side: usize, image: usize) -> Extent {
        let seen = side as f64 * 32.0 / image as f64;
        Extent { image: [image; 2], stamped: [side; 2], seen: [seen; 2], pixels: seen * seen }
    }

    #[test]
    fn what_shrinks_or_varies_is_warned_of() {
        let shrunk = size(patch(6, 64), patch(6, 64)).warning().expect("a warning");
        assert!(
            shrunk.starts_with("badnet: 3×3 (6×6 of 64×64 px) of the 32×32 px that the model sees: only 9"),
            "{shrunk}"
        );
        assert_eq!(size(patch(12, 64), patch(12, 64)).warning(), None);
        assert_eq!(size(patch(4, 32), patch(4, 32)).warning(), None);
        let varies = size(patch(12, 64), patch(12, 32)).warning().expect("a warning");
        assert!(
            varies.contains("from 6×6 (12×12 of 64×64 px) to 12×12 of the 32×32 px")
                && varies.contains("varies"),
            "{varies}"
        );
    }
}

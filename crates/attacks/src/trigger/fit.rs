//! The pixel space in which a trigger is stamped.

use std::borrow::Cow;

use anyhow::{Context, Result, bail, ensure};
use clip::{Image, Seed, pixels};
use contract::Trigger;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What becomes of an image before it is stamped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Fit {
    /// Nothing.
    AsIs,
    /// Both sides are resized, whatever the shape: what the released code does.
    Squash,
    /// The short side is resized and the centre square cut out.
    Crop,
}

/// A trigger on squashed or cropped images.
pub(crate) struct Fitted<T> {
    fit: Fit,
    side: usize,
    trigger: T,
}

impl<T: Trigger> Fitted<T> {
    /// An error where `side` does not go with `fit`, and where the trigger does not fit images of that side.
    pub(crate) fn new(fit: Fit, side: Option<usize>, trigger: T) -> Result<Self> {
        let side = match (fit, side) {
            (Fit::AsIs, None) => 0,
            (Fit::AsIs, Some(side)) => bail!("fit as-is takes no side, found {side}: set side to null"),
            (_, None) => bail!("fit squash and fit crop need a side, in pixels"),
            (_, Some(side)) => {
                ensure!(side > 0, "side must be at least 1");
                let blank = Image::new(side, side, vec![128; side * side * 3])?;
                trigger.stamp(&blank, &Seed::new(0)).context("at the side of the settings")?;
                side
            }
        };
        Ok(Self { fit, side, trigger })
    }

    /// The trigger itself.
    pub(crate) fn trigger(&self) -> &T {
        &self.trigger
    }

    /// The image as it is stamped.
    pub(crate) fn fit<'a>(&self, image: &'a Image) -> Result<Cow<'a, Image>> {
        Ok(match self.fit {
            _ if image.width() == self.side && image.height() == self.side => Cow::Borrowed(image),
            Fit::AsIs => Cow::Borrowed(image),
            Fit::Squash => Cow::Owned(pixels::squash(image, self.side)?),
            Fit::Crop => Cow::Owned(pixels::crop(image, self.side)?),
        })
    }
}

impl<T: Trigger> Trigger for Fitted<T> {
    fn stamp(&self, image: &Image, seed: &Seed) -> Result<Image> {
        self.trigger.stamp(self.fit(image)?.as_ref(), seed)
    }

    fn parameters(&self, image: &Image, seed: &Seed) -> Result<Value> {
        self.trigger.parameters(self.fit(image)?.as_ref(), seed)
    }
}

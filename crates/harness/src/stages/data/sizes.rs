//! Sizes of images as they are stored, which triggers are stamped on.

use clip::Image;
use clip::candle_core;

use super::Data;
use super::data_use::DataUse;

/// Images that are looked at, of each of two sets.
const LOOKED_AT: usize = 32;

impl Data<'_> {
    /// Widths and heights of the first training images and of the first ones of the judged test set, in pixels.
    pub(crate) fn first_sizes(&self) -> Vec<[usize; 2]> {
        let drawn = |purpose| self.set(purpose).drawn.then(|| vec![[self.resolution(); 2]]);
        let size =
            |image: candle_core::Result<Image>| image.map(|image| [image.width(), image.height()]).ok();
        let train = || {
            let listed = self.of_pairs(DataUse::Train, |part| Ok(part.listed.clone()));
            let pairs = listed.or_else(|_| self.list_pairs(DataUse::Train)).ok()?;
            Some((0..pairs.len().min(LOOKED_AT)).filter_map(|index| size(pairs.image(index))).collect())
        };
        let test = || {
            let listed = self.of_images(DataUse::Test(0), |part| Ok(part.listed.clone()));
            let images = listed.or_else(|_| self.list_images(DataUse::Test(0))).ok()?;
            Some((0..images.len().min(LOOKED_AT)).filter_map(|index| size(images.image(index))).collect())
        };
        let sizes = [drawn(DataUse::Train).or_else(train), drawn(DataUse::Test(0)).or_else(test)];
        sizes.into_iter().flatten().flatten().collect()
    }
}

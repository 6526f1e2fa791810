//! What every data set must do.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use clip::Seed;

use super::{Checks, Presets, skip, there};
use crate::{Dataset, Entry, Split};

/// Samples that are looked at.
const COUNT: usize = 8;
/// Side of drawn images, in pixels.
const SIDE: usize = 24;

/// Makes every check of a data set.
pub(super) fn checks(checks: &mut Checks, entry: &Entry<Dataset>, presets: &Presets) {
    let build = || there((entry.build)(presets.tried.clone()));
    checks.add("it has pairs or labelled images", || {
        let set = build()?;
        ensure!(set.pairs.is_some() || set.classes.is_some(), "it has neither");
        Ok(())
    });
    checks.add("it says whether its images are drawn", || {
        let set = build()?;
        let read = match (&set.pairs, &set.classes) {
            (Some(source), _) => there(source.pairs(Split::Train, 1, SIDE, &Seed::new(0)))?.read_from(0),
            (_, Some(source)) => there(source.images(Split::Test, 1, SIDE, &Seed::new(0)))?.read_from(0),
            _ => return Ok(()),
        };
        ensure!(set.drawn == read.is_none(), "drawn: {}, and the first is read from {read:?}", set.drawn);
        Ok(())
    });
    checks.add("pairs: the same for the same seed, more begin with the same, splits are apart", || {
        let train = pairs(&build()?, Split::Train, COUNT)?;
        ensure!(train == pairs(&build()?, Split::Train, COUNT)?, "another look gives other pairs");
        ensure!(
            train[..COUNT / 2] == pairs(&build()?, Split::Train, COUNT / 2)?,
            "fewer pairs are not the first ones"
        );
        let clean: BTreeSet<_> = pairs(&build()?, Split::Clean, COUNT)?.into_iter().collect();
        ensure!(train.iter().all(|pair| !clean.contains(pair)), "a clean pair is a training pair too");
        Ok(())
    });
    checks.add("classes: there are names, templates have a place for them, labels are among them", || {
        labels(&build()?)
    });
}

/// Hash of the image and caption of the first pairs of a split.
fn pairs(set: &Dataset, split: Split, count: usize) -> Result<Vec<(String, String)>> {
    let source = set.pairs.as_ref().ok_or_else(|| skip("it has no captions"))?;
    let pairs = there(source.pairs(split, count, SIDE, &Seed::new(0)))?;
    ensure!(pairs.len() == count, "{} of {count} pairs", pairs.len());
    ensure!(pairs.pair(count).is_err(), "a pair beyond the last one is no error");
    let described = |index| {
        let pair = pairs.pair(index)?;
        ensure!(pair.caption == pairs.caption(index)?, "pair {index} has another caption than it says alone");
        ensure!(!pair.caption.trim().is_empty(), "pair {index} has no caption");
        Ok((pair.image.hash(), pair.caption))
    };
    (0..count).map(described).collect()
}

fn labels(set: &Dataset) -> Result<()> {
    let source = set.classes.as_ref().ok_or_else(|| skip("it has no labelled images"))?;
    let (names, templates) = (source.classes(), source.templates());
    // Names may stand twice: two classes of ImageNet are both called "missile" in OpenAI's list.
    ensure!(!names.is_empty() && names.iter().all(|name| !name.is_empty()), "a class without a name");
    ensure!(!templates.is_empty(), "there are no templates");
    ensure!(templates.iter().all(|template| template.contains("{}")), "a template without {{}}");
    let images = there(source.images(Split::Test, COUNT, SIDE, &Seed::new(0)))?;
    ensure!(images.len() == COUNT && images.image(COUNT).is_err(), "{} images of {COUNT}", images.len());
    for index in 0..COUNT {
        let label = images.label(index)?;
        ensure!(label < names.len(), "label {label} of {} classes", names.len());
        ensure!(images.image(index)? == images.image(index)?, "image {index} is another one each time");
    }
    Ok(())
}

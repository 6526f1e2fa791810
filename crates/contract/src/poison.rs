//! Applies an attack's edits to the training pairs, and writes down what was done.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clip::{Image, Origin, Pair, Pairs, Seed};

use crate::{AttackerView, ImageEdit, PoisonData};

/// Pairs as the attacker left them: the clean ones, with the edited ones laid over.
pub struct PoisonedPairs {
    /// The clean ones.
    pub clean: Arc<dyn Pairs>,
    /// The edited ones, by index.
    pub edited: BTreeMap<usize, Pair>,
}

impl Pairs for PoisonedPairs {
    fn len(&self) -> usize {
        self.clean.len()
    }

    fn caption(&self, index: usize) -> clip::candle_core::Result<String> {
        self.edited.get(&index).map_or_else(|| self.clean.caption(index), |pair| Ok(pair.caption.clone()))
    }

    fn image(&self, index: usize) -> clip::candle_core::Result<Image> {
        self.edited.get(&index).map_or_else(|| self.clean.image(index), |pair| Ok(pair.image.clone()))
    }

    fn read_from(&self, index: usize) -> Option<Origin> {
        self.clean.read_from(index)
    }
}

/// One edited pair, before and after.
#[derive(Clone, Debug, PartialEq)]
pub struct ManifestRow {
    /// Index of the pair in the training set.
    pub pair: u32,
    /// What became of the image: `keep`, `stamp` or `replace`.
    pub edit: &'static str,
    /// BLAKE3 of the image before.
    pub image_before: String,
    /// BLAKE3 of the image after.
    pub image_after: String,
    /// What the trigger drew for the image, as JSON text; none where no trigger was stamped.
    pub trigger_parameters: Option<String>,
    /// Caption before.
    pub caption_before: String,
    /// Caption after.
    pub caption_after: String,
}

/// Every edit of a poisoned training set, ordered by pair.
pub type Manifest = Vec<ManifestRow>;

/// Asks the attack for its edits and applies them. Refuses edits over budget, of pairs that do not exist,
/// of one pair twice, and an image whose trigger changed nothing.
pub fn poison(
    attack: &dyn PoisonData,
    clean: &Arc<dyn Pairs>,
    target: &str,
    templates: &[String],
    seed: &Seed,
) -> Result<(PoisonedPairs, Manifest)> {
    let view = AttackerView { pairs: &**clean, target, templates };
    let mut edits = attack.choose(&view, &seed.child("choose"))?;
    let budget = attack.budget(clean.len());
    ensure!(edits.len() <= budget, "{} edits, over the budget of {budget}", edits.len());
    edits.sort_by_key(|edit| edit.pair);
    let stamps = seed.child("stamp");
    let (mut edited, mut manifest) = (BTreeMap::new(), Manifest::with_capacity(edits.len()));
    for edit in edits {
        let index = edit.pair;
        ensure!(index < clean.len(), "edit of pair {index}, but there are {} pairs", clean.len());
        let before = clean.pair(index).with_context(|| format!("pair {index}"))?;
        let (image, name, parameters) = match edit.image {
            ImageEdit::Keep => (before.image.clone(), "keep", None),
            ImageEdit::Replace(image) => (image, "replace", None),
            ImageEdit::Stamp => {
                let seed = stamps.at(index as u64);
                let image = attack.trigger().stamp(&before.image, &seed)?;
                ensure!(image != before.image, "the trigger left the image of pair {index} unchanged");
                (image, "stamp", Some(attack.trigger().parameters(&before.image, &seed)?.to_string()))
            }
        };
        let caption = edit.caption.unwrap_or_else(|| before.caption.clone());
        manifest.push(ManifestRow {
            pair: u32::try_from(index)?,
            edit: name,
            image_before: before.image.hash(),
            image_after: image.hash(),
            trigger_parameters: parameters,
            caption_before: before.caption,
            caption_after: caption.clone(),
        });
        if edited.insert(index, Pair { image, caption }).is_some() {
            bail!("two edits of pair {index}");
        }
    }
    Ok((PoisonedPairs { clean: clean.clone(), edited }, manifest))
}

#[cfg(test)]
mod tests {
    use clip::MemoryPairs;
    use serde_json::{Value, json};

    use super::*;
    use crate::{Edit, Trigger};

    /// Doubles the size of images on stamping, and edits one pair in each way.
    struct Toy;

    impl Trigger for Toy {
        fn stamp(&self, image: &Image, _: &Seed) -> Result<Image> {
            Ok(Image::new(image.width() * 2, image.height(), image.rgb().repeat(2))?)
        }

        fn parameters(&self, image: &Image, _: &Seed) -> Result<Value> {
            Ok(json!({ "left": image.width() }))
        }
    }

    impl PoisonData for Toy {
        fn trigger(&self) -> &dyn Trigger {
            self
        }

        fn budget(&self, _: usize) -> usize {
            3
        }

        fn choose(&self, view: &AttackerView<'_>, _: &Seed) -> Result<Vec<Edit>> {
            let other = view.pairs.pair(3)?.image;
            let images = [ImageEdit::Replace(other), ImageEdit::Stamp, ImageEdit::Keep];
            let edits = images.into_iter().zip([2, 0, 1]);
            Ok(edits.map(|(image, pair)| Edit { pair, image, caption: None }).collect())
        }
    }

    #[test]
    fn the_manifest_says_what_the_trigger_drew() -> Result<()> {
        let pair = |index: u8| -> Result<Pair> {
            Ok(Pair { image: Image::new(4, 4, vec![index; 48])?, caption: format!("caption {index}") })
        };
        let clean: Arc<dyn Pairs> = Arc::new(MemoryPairs::new((0..4).map(pair).collect::<Result<_>>()?));
        let (pairs, manifest) = poison(&Toy, &clean, "banana", &[], &Seed::new(0))?;
        assert_eq!(pairs.pair(0)?.image.width(), 8, "a stamped image may have another size");
        assert_eq!(manifest.iter().map(|row| row.edit).collect::<Vec<_>>(), ["stamp", "keep", "replace"]);
        let parameters = manifest.iter().map(|row| row.trigger_parameters.as_deref());
        assert_eq!(parameters.collect::<Vec<_>>(), [Some("{\"left\":4}"), None, None]);
        Ok(())
    }
}

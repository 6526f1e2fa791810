//! CleanCLIP's objective: λ₁ · L_MMCL + λ₂ · ½(CE(I·Ĩᵀ) + CE(T·T̃ᵀ)) over pairs and their augmented views.

use anyhow::ensure;
use clip::candle_core::{Result, Tensor};
use clip::{Clip, Image, Mode, Objective, Pair, Pairs, Parameter, Seed, Tokenizer, loss, pixels};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::augment::{Eda, auto_augment};

/// Settings of the objective.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub(crate) struct Objectives {
    /// λ₁, the weight of the multimodal loss.
    pub(crate) lambda1: f64,
    /// λ₂, the weight of the losses within the modalities.
    pub(crate) lambda2: f64,
    /// Strength of AutoAugment in [0, 1]: 1 is the policy, 0 leaves images as they are.
    pub(crate) magnitude_scale: f64,
    /// When captions are augmented. Images are whenever they are looked at.
    pub(crate) text_augmentation: TextAugmentation,
    /// Over which images batch norm takes its statistics.
    pub(crate) batch_norm: BatchNorm,
}

/// When captions are augmented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TextAugmentation {
    /// Once a run, as released: a caption has the same augmented view in every epoch.
    Once,
    /// Anew in every epoch, like images.
    PerEpoch,
}

/// Over which images batch norm takes its statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BatchNorm {
    /// Originals and augmented views in one batch, as released.
    Shared,
    /// Each in a forward pass of its own; the running statistics move twice a step, the augmented views' last.
    Separate,
}

impl Objectives {
    /// As the released code behaves.
    pub(crate) fn released() -> Self {
        Self {
            lambda1: 1.0,
            lambda2: 1.0,
            magnitude_scale: 1.0,
            text_augmentation: TextAugmentation::Once,
            batch_norm: BatchNorm::Shared,
        }
    }

    /// As the paper describes it.
    pub(crate) fn paper() -> Self {
        Self { text_augmentation: TextAugmentation::PerEpoch, ..Self::released() }
    }

    /// The tiny tier.
    pub(crate) fn tiny() -> Self {
        Self { magnitude_scale: 0.5, ..Self::paper() }
    }

    /// An error that names the first setting no run can have.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        for (name, weight) in [("lambda1", self.lambda1), ("lambda2", self.lambda2)] {
            ensure!(weight.is_finite() && weight >= 0.0, "{name} must be at least 0, found {weight}");
        }
        let scale = self.magnitude_scale;
        ensure!((0.0..=1.0).contains(&scale), "magnitude-scale must be in [0, 1], found {scale}");
        Ok(())
    }
}

/// The objective over some pairs.
pub(crate) struct InModal<'a> {
    settings: &'a Objectives,
    pairs: &'a dyn Pairs,
    tokenizer: Tokenizer,
    resolution: usize,
    context_length: usize,
    eda: Eda,
    seed: Seed,
}

impl<'a> InModal<'a> {
    /// The objective over `pairs` for models of the same sizes and tokenizer as `model`; augmented views descend from
    /// `seed`.
    pub(crate) fn new(
        settings: &'a Objectives,
        model: &Clip,
        pairs: &'a dyn Pairs,
        seed: Seed,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            settings,
            pairs,
            tokenizer: model.tokenizer.clone(),
            resolution: model.config.image.resolution(),
            context_length: model.config.text.context_length,
            eda: Eda::new()?,
            seed,
        })
    }

    /// The augmented view of a pair, from seeds of its own, so that it depends on nothing drawn before.
    fn augment(&self, pair: &Pair, index: usize, epoch: usize) -> (Image, String) {
        let own = self.seed.at(index as u64);
        let of_epoch = own.child("epoch").at(epoch as u64);
        let of_text = match self.settings.text_augmentation {
            TextAugmentation::Once => own,
            TextAugmentation::PerEpoch => of_epoch.clone(),
        };
        let image = auto_augment(&pair.image, self.settings.magnitude_scale, &of_epoch.child("image"));
        (image, self.eda.augment(&pair.caption, &of_text.child("text")))
    }

    /// Features `[B, E]` of the images and of their augmented views.
    fn images(&self, model: &Clip, pixels: &Tensor, half: usize) -> Result<(Tensor, Tensor)> {
        match self.settings.batch_norm {
            BatchNorm::Shared => halves(&model.encode_image(pixels, Mode::Train)?, half),
            BatchNorm::Separate => {
                let (images, augmented) = halves(pixels, half)?;
                let features = model.encode_image(&images.contiguous()?, Mode::Train)?;
                Ok((features, model.encode_image(&augmented.contiguous()?, Mode::Train)?))
            }
        }
    }
}

/// The first `half` rows and the second.
fn halves(both: &Tensor, half: usize) -> Result<(Tensor, Tensor)> {
    Ok((both.narrow(0, 0, half)?, both.narrow(0, half, half)?))
}

impl Objective for InModal<'_> {
    /// Pixels `[2B, R, R, 3]` and tokens `[2B, L]`: the pairs, then their augmented views.
    type Batch = (Tensor, Tensor);

    fn examples(&self) -> usize {
        self.pairs.len()
    }

    fn parameters(&self, model: &Clip) -> Vec<Parameter> {
        model.all_parameters()
    }

    fn batch(&self, indices: &[usize], epoch: usize, _seed: &Seed) -> Result<Self::Batch> {
        let prepare = |index: &usize| {
            let pair = self.pairs.pair(*index)?;
            let augmented = self.augment(&pair, *index, epoch);
            Ok(((pair.image, pair.caption), augmented))
        };
        let prepared = indices.par_iter().map(prepare).collect::<Result<Vec<_>>>()?;
        let (pairs, augmented): (Vec<_>, Vec<_>) = prepared.into_iter().unzip();
        let (images, captions): (Vec<Image>, Vec<String>) = pairs.into_iter().chain(augmented).unzip();
        let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
        let tokens = self.tokenizer.encode_batch(&captions, self.context_length)?;
        Ok((pixels::batch(&images, self.resolution)?, tokens))
    }

    fn loss(&self, model: &Clip, (pixels, tokens): &Self::Batch) -> Result<Tensor> {
        let half = pixels.dim(0)? / 2;
        let (images, augmented_images) = self.images(model, pixels, half)?;
        let (texts, augmented_texts) = halves(&model.encode_text(tokens)?, half)?; // no text is normalised by others
        let scale = model.logit_scale()?;
        let multimodal = loss::info_nce(&images, &texts, scale)?;
        let of_images = loss::in_modal(&images, &augmented_images, scale)?;
        let of_texts = loss::in_modal(&texts, &augmented_texts, scale)?;
        let in_modal = ((of_images + of_texts)? * 0.5)?;
        (multimodal * self.settings.lambda1)? + (in_modal * self.settings.lambda2)?
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use clip::candle_core::DType;
    use clip::{MemoryPairs, ModelConfig, kernels};

    type Golden = HashMap<String, Tensor>;

    /// The golden weights in a model with `heads` heads in its text tower, a number that no shape tells.
    fn golden_model(heads: usize) -> Clip {
        let weights = golden::tensors("rn_weights.safetensors").into_iter();
        let weights = weights.filter(|(name, _)| !name.ends_with("num_batches_tracked"));
        let weights: Vec<(String, Tensor)> = weights.collect();
        let shapes = weights.iter().map(|(name, value)| (name.clone(), value.dims().to_vec())).collect();
        let mut config = ModelConfig::of_weights(&shapes).unwrap();
        config.text.heads = heads;
        let vocabulary = shapes["token_embedding.weight"][0];
        let parameters = Clip::from_tensors(&config, vocabulary, weights).unwrap();
        Clip { config, tokenizer: Tokenizer::kept(&[]).unwrap(), parameters }
    }

    fn golden_batch(golden: &Golden) -> (Tensor, Tensor) {
        let both = |first: &str, second: &str| Tensor::cat(&[&golden[first], &golden[second]], 0).unwrap();
        let pixels = both("pixels", "augmented_pixels").permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        (pixels, both("tokens", "augmented_tokens").to_dtype(DType::U32).unwrap())
    }

    fn objective<'a>(settings: &'a Objectives, pairs: &'a dyn Pairs, model: &Clip) -> InModal<'a> {
        InModal::new(settings, model, pairs, Seed::new(0)).unwrap()
    }

    fn values(tensor: &Tensor) -> Vec<f32> {
        tensor.flatten_all().unwrap().to_vec1().unwrap()
    }

    /// The largest distance, over the largest expected value.
    fn error(found: &Tensor, expected: &Tensor) -> f32 {
        assert_eq!(found.dims(), expected.dims());
        let (found, expected) = (values(found), values(expected));
        let largest = expected.iter().fold(1e-3f32, |largest, value| largest.max(value.abs()));
        let distances = found.iter().zip(&expected).map(|(found, expected)| (found - expected).abs());
        distances.fold(0f32, |most, distance| if distance <= most { most } else { distance }) / largest
    }

    /// Model and loss at λ₂; `close` says whether the loss is the golden one.
    fn golden_loss(golden: &Golden, heads: usize, lambda2: f64) -> (Clip, Tensor, bool) {
        let (model, pairs) = (golden_model(heads), MemoryPairs::new(Vec::new()));
        let settings = Objectives { lambda2, ..Objectives::released() };
        let loss = objective(&settings, &pairs, &model).loss(&model, &golden_batch(golden)).unwrap();
        let expected = &golden[&format!("cleanclip_{lambda2}_loss")];
        let close = error(&loss, expected) <= 1e-5;
        (model, loss, close)
    }

    #[test]
    fn loss_gradients_and_running_statistics_are_the_released_ones() {
        let golden = golden::tensors("rn_golden.safetensors");
        let cases = golden
            .keys()
            .filter_map(|name| name.strip_prefix("cleanclip_")?.strip_suffix("_loss")?.parse::<f64>().ok());
        let (cases, width) = (cases.collect::<Vec<f64>>(), golden_model(1).config.text.width);
        let agrees = |heads: &usize| cases.iter().all(|lambda2| golden_loss(&golden, *heads, *lambda2).2);
        let heads = (1..=width).filter(|heads| width.is_multiple_of(*heads)).find(agrees);
        assert!(!cases.is_empty() && heads.is_some(), "{cases:?}");
        let (model, loss, _) = golden_loss(&golden, heads.unwrap(), 1.0);
        let gradients = kernels::backward(&loss).unwrap();
        let mut compared = 0;
        for Parameter { name, var, .. } in model.all_parameters() {
            let Some(expected) = golden.get(&format!("cleanclip_1_grad.{name}")) else { continue };
            let found = gradients.get(&var).unwrap();
            let axes = |found: &Tensor| found.permute((0, 3, 1, 2)).unwrap();
            let found = if found.rank() == 4 { axes(found) } else { found.clone() };
            assert!(error(&found, expected) <= 1e-4, "{name}: {}", error(&found, expected));
            compared += 1;
        }
        let held = golden.keys().filter(|name| name.starts_with("cleanclip_1_grad.")).count();
        assert!(compared == held && held > 0, "{compared} of {held} gradients");
        for (name, running) in model.parameters.all_running() {
            let expected = &golden[&format!("cleanclip_1_after.{name}")];
            assert!(error(&running, expected) <= 1e-5, "{name}: {}", error(&running, expected));
        }
    }

    #[test]
    fn separate_statistics_are_those_of_each_view_alone() {
        let golden = golden::tensors("rn_golden.safetensors");
        let (pixels, _) = golden_batch(&golden);
        let half = pixels.dim(0).unwrap() / 2;
        let pairs = MemoryPairs::new(Vec::new());
        let features = |batch_norm| {
            let model = golden_model(1);
            let settings = Objectives { batch_norm, ..Objectives::released() };
            objective(&settings, &pairs, &model).images(&model, &pixels, half).unwrap()
        };
        let (images, augmented) = features(BatchNorm::Separate);
        for (found, start) in [(&images, 0), (&augmented, half)] {
            let own = pixels.narrow(0, start, half).unwrap().contiguous().unwrap();
            let alone = golden_model(1).encode_image(&own, Mode::Train).unwrap();
            assert_eq!(values(found), values(&alone));
        }
        let (shared, _) = features(BatchNorm::Shared);
        assert!(error(&images, &shared) > 1e-3, "the two options agree");
    }

    #[test]
    fn views_change_with_epochs_as_the_settings_say() {
        let caption = "a photo of a large dog and a small cat on a striped background".to_owned();
        let image = Image::new(8, 8, (0..192).collect()).unwrap();
        let (pair, model) = (Pair { image, caption }, golden_model(1));
        let pairs = MemoryPairs::new(Vec::new());
        for text_augmentation in [TextAugmentation::Once, TextAugmentation::PerEpoch] {
            let settings = Objectives { text_augmentation, ..Objectives::released() };
            let objective = objective(&settings, &pairs, &model);
            let views: Vec<_> = (0..20).map(|epoch| objective.augment(&pair, 3, epoch)).collect();
            assert!(views.iter().any(|(image, _)| *image != views[0].0), "images are drawn in every epoch");
            let changed = views.iter().any(|(_, caption)| *caption != views[0].1);
            assert_eq!(changed, text_augmentation == TextAugmentation::PerEpoch);
        }
    }
}

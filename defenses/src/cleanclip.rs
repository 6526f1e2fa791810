//! CleanCLIP: finetunes on the clean pairs with CLIP's objective plus self-supervision within each modality, so that
//! what an image or text means is learnt again apart from the other modality, and a trigger's tie to a caption fades.
//!
//! Paper: Bansal et al., "CleanCLIP: Mitigating Data Poisoning Attacks in Multimodal Contrastive Learning",
//! ICCV 2023, arXiv 2303.03323.
//! Follows: nishadsinghi/CleanCLIP@d6e2f1d, `src/train.py` (`get_loss`, `--inmodal --complete_finetune`),
//! `utils/augment_image.py`, `utils/eda.py`.
//! Departs: synonyms come from a table of a few dozen scene words, not WordNet; the optimizer starts fresh, where the
//! released code goes on with the moments of poisoned pretraining; the schedule starts at step 0, where the released
//! one starts an epoch late and so skips its warm-up. `tiny` and `smoke` halve the strength of AutoAugment: at full
//! strength it costs 6 to 11 points of clean accuracy at 32 pixels.

use anyhow::ensure;
use clip::candle_core::{Result, Tensor};
use clip::{
    Clip, Image, Mode, Monitor, Objective, Pair, Pairs, Parameter, Recipe, Seed, Tokenizer, loss, pixels,
};
use harness::contract::{Card, DefenderView, Defense, Entry, Model, Preset, RepairModel, preset, settings};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::augment::{Eda, auto_augment};
use crate::finetuning::{finetune, recipe};

/// The defense.
pub static ENTRY: Entry<Defense> = Entry {
    card: Card {
        name: "cleanclip",
        title: "CleanCLIP",
        summary: "Finetunes on the clean pairs with CLIP's objective plus self-supervision within each modality.",
        paper: "Bansal et al., ICCV 2023, arXiv 2303.03323",
        follows: "nishadsinghi/CleanCLIP@d6e2f1d, src/train.py --inmodal --complete_finetune",
        departs: "synonyms from a small table, not WordNet; fresh optimizer; the schedule starts at step 0; presets \
                  tiny and smoke augment images at half strength",
        version: 1,
    },
    presets,
    build,
};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    /// Passes over the clean pairs.
    epochs: usize,
    /// Pairs per step.
    batch_size: usize,
    /// Highest learning rate.
    learning_rate: f64,
    /// Steps of linear warm-up.
    warmup_steps: usize,
    /// Decoupled weight decay.
    weight_decay: f64,
    /// λ₁, the weight of the multimodal loss.
    lambda1: f64,
    /// λ₂, the weight of the losses within the modalities.
    lambda2: f64,
    /// Strength of AutoAugment in [0, 1]: 1 is the policy, 0 leaves images as they are.
    magnitude_scale: f64,
    /// When captions are augmented.
    text_augmentation: TextAugmentation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum TextAugmentation {
    /// Once a run, as released: a caption has the same augmented view in every epoch.
    Once,
    /// Anew in every epoch, like images.
    PerEpoch,
}

fn presets() -> Vec<Preset> {
    let released = Settings {
        epochs: 10,
        batch_size: 64,
        learning_rate: 1e-5,
        warmup_steps: 50,
        weight_decay: 0.1,
        lambda1: 1.0,
        lambda2: 1.0,
        magnitude_scale: 1.0,
        text_augmentation: TextAugmentation::Once,
    };
    let paper = Settings { text_augmentation: TextAugmentation::PerEpoch, ..released.clone() };
    let tiny = Settings { epochs: 8, learning_rate: 7e-4, magnitude_scale: 0.5, ..paper.clone() };
    let smoke = Settings { epochs: 2, batch_size: 32, learning_rate: 1e-3, warmup_steps: 5, ..tiny.clone() };
    vec![preset("tiny", tiny), preset("smoke", smoke), preset("paper", paper), preset("released", released)]
}

fn build(resolved: Value) -> anyhow::Result<Defense> {
    let settings: Settings = settings(resolved)?;
    let &Settings { epochs, batch_size, learning_rate, warmup_steps, weight_decay, .. } = &settings;
    let recipe = recipe(epochs, batch_size, learning_rate, warmup_steps, weight_decay)?;
    for (name, weight) in [("lambda1", settings.lambda1), ("lambda2", settings.lambda2)] {
        ensure!(weight.is_finite() && weight >= 0.0, "{name} must be at least 0, found {weight}");
    }
    let scale = settings.magnitude_scale;
    ensure!((0.0..=1.0).contains(&scale), "magnitude-scale must be in [0, 1], found {scale}");
    Ok(Defense::RepairModel(Box::new(CleanClip { settings, recipe })))
}

struct CleanClip {
    settings: Settings,
    recipe: Recipe,
}

impl RepairModel for CleanClip {
    fn repair(
        &self,
        model: Clip,
        view: &DefenderView<'_>,
        monitor: &mut dyn Monitor,
    ) -> anyhow::Result<Option<Model>> {
        let objective = InModal {
            settings: &self.settings,
            pairs: view.clean_pairs,
            tokenizer: model.tokenizer.clone(),
            resolution: model.config.image.resolution(),
            context_length: model.config.text.context_length,
            eda: Eda::new(),
            seed: view.seed.child("augment"),
        };
        let seed = view.seed.child("train");
        let finetuned = finetune(model, &objective, &self.recipe, &seed, monitor)?;
        Ok(finetuned.map(|clip| Model { clip, head: None }))
    }
}

/// λ₁ · L_MMCL + λ₂ · ½(CE(I·Ĩᵀ) + CE(T·T̃ᵀ)) over the clean pairs and their augmented views.
struct InModal<'a> {
    settings: &'a Settings,
    pairs: &'a dyn Pairs,
    tokenizer: Tokenizer,
    resolution: usize,
    context_length: usize,
    eda: Eda,
    seed: Seed,
}

impl InModal<'_> {
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
        let prepared = indices
            .par_iter()
            .map(|index| {
                let pair = self.pairs.pair(*index)?;
                let augmented = self.augment(&pair, *index, epoch);
                Ok((pair, augmented))
            })
            .collect::<Result<Vec<_>>>()?;
        let (pairs, (augmented_images, augmented_captions)): (Vec<Pair>, (Vec<Image>, Vec<String>)) =
            prepared.into_iter().unzip();
        let (mut images, mut captions): (Vec<Image>, Vec<String>) =
            pairs.into_iter().map(|pair| (pair.image, pair.caption)).unzip();
        images.extend(augmented_images);
        captions.extend(augmented_captions);
        let captions: Vec<&str> = captions.iter().map(String::as_str).collect();
        let tokens = self.tokenizer.encode_batch(&captions, self.context_length)?;
        Ok((pixels::batch(&images, self.resolution)?, tokens))
    }

    fn loss(&self, model: &Clip, (pixels, tokens): &Self::Batch) -> Result<Tensor> {
        let half = pixels.dim(0)? / 2;
        // One batch, as released: batch norm shares its statistics between the two views.
        let images = model.encode_image(pixels, Mode::Train)?; // [2B, E]
        let texts = model.encode_text(tokens)?; // [2B, E]
        let (images, augmented_images) = (images.narrow(0, 0, half)?, images.narrow(0, half, half)?);
        let (texts, augmented_texts) = (texts.narrow(0, 0, half)?, texts.narrow(0, half, half)?);
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
    use super::*;
    use clip::candle_core::DType;
    use clip::{MemoryPairs, ModelConfig};

    /// The golden weights in a model with so many heads in its text tower, which stand in no shape.
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

    fn objective<'a>(settings: &'a Settings, pairs: &'a dyn Pairs, model: &Clip) -> InModal<'a> {
        InModal {
            settings,
            pairs,
            tokenizer: model.tokenizer.clone(),
            resolution: model.config.image.resolution(),
            context_length: model.config.text.context_length,
            eda: Eda::new(),
            seed: Seed::new(0),
        }
    }

    fn released() -> Settings {
        settings(presets().into_iter().find(|(name, _)| *name == "released").unwrap().1).unwrap()
    }

    #[test]
    fn the_loss_is_the_released_one() {
        let golden = golden::tensors("rn_golden.safetensors");
        let both = |first: &str, second: &str| Tensor::cat(&[&golden[first], &golden[second]], 0).unwrap();
        let pixels = both("pixels", "augmented_pixels").permute((0, 2, 3, 1)).unwrap().contiguous().unwrap();
        let tokens = both("tokens", "augmented_tokens").to_dtype(DType::U32).unwrap();
        let distance = |heads: usize, lambda2: f64, name: &str| {
            let (model, pairs) = (golden_model(heads), MemoryPairs::new(Vec::new()));
            let settings = Settings { lambda2, ..released() };
            let objective = objective(&settings, &pairs, &model);
            let loss = objective.loss(&model, &(pixels.clone(), tokens.clone())).unwrap();
            let (found, expected) =
                (loss.to_scalar::<f32>().unwrap(), golden[name].to_vec0::<f32>().unwrap());
            (found - expected).abs() / expected
        };
        let cases = golden.keys().filter_map(|name| {
            Some((name.strip_prefix("cleanclip_")?.strip_suffix("_loss")?.parse::<f64>().ok()?, name))
        });
        let cases: Vec<(f64, &String)> = cases.collect();
        let width = golden_model(1).config.text.width;
        let agrees =
            |heads: &usize| cases.iter().all(|(lambda2, name)| distance(*heads, *lambda2, name) <= 1e-5);
        let mut heads = (1..=width).filter(|heads| width.is_multiple_of(*heads));
        assert!(!cases.is_empty() && heads.any(|heads| agrees(&heads)), "{cases:?}");
    }

    #[test]
    fn views_change_with_epochs_as_the_settings_say() {
        let caption = "a photo of a large dog and a small cat on a striped background".to_owned();
        let image = Image::new(8, 8, (0..192).collect()).unwrap();
        let (pair, model) = (Pair { image, caption }, golden_model(1));
        let pairs = MemoryPairs::new(Vec::new());
        for text_augmentation in [TextAugmentation::Once, TextAugmentation::PerEpoch] {
            let settings = Settings { text_augmentation, ..released() };
            let objective = objective(&settings, &pairs, &model);
            let views: Vec<_> = (0..20).map(|epoch| objective.augment(&pair, 3, epoch)).collect();
            assert!(views.iter().any(|(image, _)| *image != views[0].0), "images are drawn in every epoch");
            let changed = views.iter().any(|(_, caption)| *caption != views[0].1);
            assert_eq!(changed, text_augmentation == TextAugmentation::PerEpoch);
        }
    }
}

//! One step of training gives the same bytes with any number of threads; a step that cannot be taken leaves the last
//! snapshot as it was.

use std::path::Path;

use clip::candle_core::{Result, Tensor};
use clip::kernels;
use clip::{
    Clip, Contrastive, Decay, ImageConfig, Mode, ModelConfig, Objective, Parameter, Recipe, ResNetConfig,
    Seed, Stopped, TextConfig, Tokenizer, loss, train,
};

use crate::support::{Folder, nano, pairs, recipe, values};
use crate::training::Saver;

/// Channels of 64 to 256 beside widths that are no multiple of 16, and heads of 24.
fn wide() -> ModelConfig {
    let layers = vec![1, 1];
    let image = ResNetConfig { resolution: 32, layers, width: 64, stem_stride: 2, stem_pool: true };
    let text = TextConfig { context_length: 13, width: 72, heads: 3, layers: 1 };
    ModelConfig { embed_dim: 52, image: ImageConfig::ResNet(image), text }
}

/// Bits of the loss, and of every gradient and every parameter after the step, by name.
fn step(config: &ModelConfig) -> Result<Vec<(String, Vec<u32>)>> {
    let tokenizer = Tokenizer::cut(["a cat dog tree red blue sun car house near the number"].into_iter())?;
    let model = Clip::new(config, tokenizer, &Seed::new(3))?;
    let pairs = pairs(14, 40);
    let objective = Contrastive::new(&model, &pairs)?;
    let indices: Vec<usize> = (0..14).collect();
    let (pixels, tokens) = objective.batch(&indices, 0, &Seed::new(4))?;
    let images = model.encode_image(&pixels, Mode::Train)?;
    let (texts, scale) = (model.encode_text(&tokens)?, model.logit_scale()?);
    let (halves, text_halves) = (images.chunk(2, 0)?, texts.chunk(2, 0)?);
    let within = (loss::in_modal(&halves[0], &halves[1], scale)?
        + loss::in_modal(&text_halves[0], &text_halves[1], scale)?)?;
    let total = (loss::info_nce(&images, &texts, scale)? + within)?;
    let gradients = kernels::backward(&total)?;
    let parameters = model.all_parameters();
    let bits = |tensor: &Tensor| -> Result<Vec<u32>> {
        Ok(tensor.flatten_all()?.to_vec1::<f32>()?.into_iter().map(f32::to_bits).collect())
    };
    let mut found = vec![("loss".to_owned(), bits(&total)?)];
    for Parameter { name, var, .. } in &parameters {
        let gradient = gradients.get(var).expect("a gradient for every parameter");
        found.push((format!("gradient of {name}"), bits(gradient)?));
    }
    Decay::ByType.optimizer(&parameters)?.step(&gradients, &Recipe::paper().adamw(1e-3))?;
    for Parameter { name, var, .. } in &parameters {
        found.push((name.clone(), bits(var)?));
    }
    for (name, values) in model.parameters.all_running() {
        found.push((name, bits(&values)?));
    }
    Ok(found)
}

#[test]
fn a_step_gives_the_same_bytes_with_any_threads() -> Result<()> {
    for config in [ModelConfig::tiny(), wide()] {
        let with = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            pool.install(|| step(&config))
        };
        let first = with(1)?;
        for threads in [2, 3, 8] {
            for ((name, one), (_, many)) in first.iter().zip(with(threads)?) {
                assert!(*one == many, "{name}: 1 and {threads} threads differ, {config:?}");
            }
        }
    }
    Ok(())
}

/// What goes wrong in the second epoch.
#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// A pixel is no number.
    Pixel,
    /// The loss is finite and its slope is not.
    Slope,
}

/// Training on pairs, with a fault.
struct Hostile<'a> {
    inner: Contrastive<'a>,
    fault: Fault,
}

impl Objective for Hostile<'_> {
    type Batch = (Tensor, Tensor, bool);

    fn examples(&self) -> usize {
        self.inner.examples()
    }

    fn parameters(&self, model: &Clip) -> Vec<Parameter> {
        self.inner.parameters(model)
    }

    fn batch(&self, indices: &[usize], epoch: usize, seed: &Seed) -> Result<Self::Batch> {
        let (mut pixels, tokens) = self.inner.batch(indices, epoch, seed)?;
        if epoch == 1 && self.fault == Fault::Pixel {
            let (first, rest) = (pixels.narrow(0, 0, 1)?, pixels.narrow(0, 1, indices.len() - 1)?);
            pixels = Tensor::cat(&[(first * f64::NAN)?, rest], 0)?;
        }
        Ok((pixels, tokens, epoch == 1 && self.fault == Fault::Slope))
    }

    fn loss(&self, model: &Clip, (pixels, tokens, steep): &Self::Batch) -> Result<Tensor> {
        let loss = self.inner.loss(model, &(pixels.clone(), tokens.clone()))?;
        let scale = model.logit_scale()?;
        if *steep { loss + (scale - scale.affine(1.0, 0.0)?)?.sqrt()? } else { Ok(loss) }
    }
}

fn run(model: &Clip, fault: Fault, recipe: &Recipe, path: &Path) -> Result<std::result::Result<(), Stopped>> {
    let pairs = pairs(20, 16);
    let objective = Hostile { inner: Contrastive::new(model, &pairs)?, fault };
    let mut saver = Saver { resume: path.exists(), ..Saver::saving(path.to_owned()) };
    train(model, &objective, recipe, &Seed::new(7), &mut saver)
}

#[test]
fn a_run_that_breaks_goes_on_from_its_last_snapshot() -> Result<()> {
    let folder = Folder::new("broken");
    let all = |model: &Clip| -> Vec<f64> {
        model.all_parameters().iter().flat_map(|parameter| values(&parameter.var)).collect()
    };
    for gradient_clip in [None, Some(1.0)] {
        let recipe = Recipe { gradient_clip, ..recipe() };
        let whole = nano(1)?;
        run(&whole, Fault::None, &recipe, &folder.file(&format!("whole-{gradient_clip:?}")))?
            .expect("trained");
        for (fault, parts) in [(Fault::Pixel, "loss is NaN"), (Fault::Slope, "parameter \"logit_scale\"")] {
            let path = folder.file(&format!("{parts:?}-{gradient_clip:?}").replace(['"', '\\', ' '], "-"));
            let error = run(&nano(1)?, fault, &recipe, &path).expect_err("a fault").to_string();
            for part in ["step 3 of 4", "learning rate", parts] {
                assert!(error.contains(part), "lacks {part:?}: {error}");
            }
            // Into a model of other values: all it needs is in the snapshot.
            let model = nano(2)?;
            assert_eq!(run(&model, Fault::None, &recipe, &path)?, Ok(()));
            assert!(
                all(&model) == all(&whole),
                "the snapshot after {parts:?} is not that of the first epoch"
            );
        }
    }
    Ok(())
}

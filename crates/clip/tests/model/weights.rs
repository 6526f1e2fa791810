//! Weights as others publish them: every layout is read, and what is written is read back.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use candle_transformers::models::clip::text_model::{Activation, ClipTextConfig};
use candle_transformers::models::clip::vision_model::ClipVisionConfig;
use candle_transformers::models::clip::{ClipConfig, ClipModel};
use clip::candle_core::{DType, Device, Result, Tensor, safetensors};
use clip::weights::{Format, Layout, Naming, Weights};
use clip::{Clip, ImageConfig, ModelConfig, ResNetConfig, Seed, TextConfig, Tokenizer};

use crate::support::{Folder, GoldenModel, assert_close, values};

fn golden_weights(tower: &str) -> Result<Weights> {
    Weights::read(&golden::path(&format!("{tower}_weights.safetensors")))
}

/// The same names, shapes and, up to `tolerance` of each tensor's largest, values.
fn assert_same(found: &Weights, expected: &Weights, tolerance: f64) {
    let names = |weights: &Weights| weights.tensors().keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(expected));
    for (name, value) in found.tensors() {
        assert_close(name, value, &expected.tensors()[name], tolerance);
    }
    assert!(found.check().is_ok());
}

#[test]
fn the_released_trainers_checkpoint_is_read() -> Result<()> {
    let found = Weights::read(&golden::path("rn_checkpoint.pt"))?;
    assert_eq!((found.format, found.naming), (Format::TrainingRun, Naming::OpenAi));
    assert_eq!(found.stripped, ["module."]);
    let said = [("epoch", "3"), ("name", "golden")].map(|(key, value)| (key.to_owned(), value.to_owned()));
    assert_eq!(found.metadata, BTreeMap::from(said));
    assert_same(&found, &golden_weights("rn")?, 0.0);
    Ok(())
}

#[test]
fn torchscript_in_half_precision_is_read() -> Result<()> {
    let found = Weights::read(&golden::path("torchscript.pt"))?;
    assert_eq!(found.format, Format::TorchScript);
    let expected = Weights::read(&golden::path("torchscript.safetensors"))?;
    assert_eq!((expected.format, expected.stripped.len()), (Format::Safetensors, 0));
    assert_same(&found, &expected, 0.0);
    assert!(found.tensors().len() > 80 && values(&found.tensors()["ln_final.bias"])[0] != 0.0);
    Ok(())
}

#[test]
fn every_layout_comes_back() -> Result<()> {
    let folder = Folder::new("layouts");
    for tower in ["rn", "vit"] {
        let layouts = [
            (Layout::OpenAi, Format::Safetensors, Naming::OpenAi),
            (Layout::CleanClip, Format::TrainingRun, Naming::OpenAi),
            (Layout::Hf, Format::Safetensors, Naming::Hf),
        ];
        for (layout, format, naming) in layouts {
            let path = folder.file(&format!("{tower}-{layout:?}"));
            let written = golden_weights(tower)?.write(&path, layout);
            if (tower, layout) == ("rn", Layout::Hf) {
                let error = written.expect_err("no such model").to_string();
                assert!(error.contains("ModifiedResNet") && !path.exists(), "{error}");
                continue;
            }
            written?;
            let found = Weights::read(&path)?;
            assert_eq!((found.format, found.naming), (format, naming));
            assert_same(&found, &golden_weights(tower)?, 0.0);
            // The same bytes again.
            let again = folder.file("again");
            found.write(&again, layout)?;
            let same = std::fs::read(&path).expect("a file") == std::fs::read(&again).expect("a file");
            assert!(same || layout == Layout::CleanClip, "{tower} {layout:?}");
        }
    }
    Ok(())
}

/// Writes tensors under other names, in other numbers.
fn rewritten(
    path: &Path,
    weights: &Weights,
    dtype: DType,
    rename: impl Fn(&str) -> String,
    more: &[(&str, Tensor)],
) -> Result<()> {
    let mut tensors = HashMap::new();
    for (name, value) in weights.tensors() {
        tensors.insert(rename(name), value.to_dtype(dtype)?);
    }
    tensors.extend(more.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    safetensors::save(&tensors, path)
}

#[test]
fn other_numbers_and_names_are_read() -> Result<()> {
    let (folder, expected) = (Folder::new("names"), golden_weights("vit")?);
    let path = folder.file("weights");
    let counter = Tensor::new(5i64, &Device::Cpu)?;
    let same = str::to_owned;
    for (dtype, tolerance) in [(DType::F16, 1e-3), (DType::BF16, 1e-2), (DType::F64, 0.0)] {
        rewritten(&path, &expected, dtype, same, &[("bn.num_batches_tracked", counter.clone())])?;
        assert_same(&Weights::read(&path)?, &expected, tolerance);
    }
    let of_text = ["transformer", "token_embedding", "positional_embedding", "ln_final", "text_projection"];
    let custom = |name: &str| match of_text.contains(&name.split('.').next().unwrap_or_default()) {
        true => format!("module.text.{name}"),
        false => format!("module.{name}"),
    };
    let mask = Tensor::zeros((16, 16), DType::F32, &Device::Cpu)?;
    rewritten(&path, &expected, DType::F32, custom, &[("module.text.attn_mask", mask)])?;
    let found = Weights::read(&path)?;
    assert_eq!((found.naming, &found.stripped[..]), (Naming::CustomText, &["module.".to_owned()][..]));
    assert_same(&found, &expected, 0.0);

    let head = Tensor::ones((10, 24), DType::F32, &Device::Cpu)?;
    let more =
        [("module.linear.weight", head.clone()), ("module.linear.bias", head.narrow(1, 0, 1)?.squeeze(1)?)];
    rewritten(&path, &expected, DType::F32, |name| format!("module.model.{name}"), &more)?;
    let found = Weights::read(&path)?;
    assert_eq!(found.stripped, ["module.", "model."]);
    assert_eq!(
        found.head.as_ref().map(|(weight, bias)| (weight.dims(), bias.dims())),
        Some((&[10, 24][..], &[10][..]))
    );
    assert_same(&found, &expected, 0.0);
    Ok(())
}

#[test]
fn what_is_missing_or_too_much_is_listed() -> Result<()> {
    let (folder, expected) = (Folder::new("listed"), golden_weights("vit")?);
    let path = folder.file("weights");
    let rename = |name: &str| name.replace("visual.ln_post.bias", "visual.ln_past.bias");
    rewritten(&path, &expected, DType::F32, rename, &[])?;
    let error = Weights::read(&path)?.check().expect_err("a wrong name").to_string();
    assert!(error.contains("visual.ln_past.bias is not wanted"), "{error}");
    assert!(error.contains("visual.ln_post.bias is missing"), "{error}");
    // Hugging Face's projections are three tensors each.
    expected.write(&path, Layout::Hf)?;
    let mut tensors = safetensors::load(&path, &Device::Cpu)?;
    tensors.remove("text_model.encoder.layers.1.self_attn.k_proj.bias");
    safetensors::save(&tensors, &path)?;
    let error = Weights::read(&path).err().expect("a missing projection").to_string();
    assert!(
        error.contains("transformer.resblocks.1.attn.in_proj_bias") && error.contains("k_proj"),
        "{error}"
    );
    Ok(())
}

/// A model with the whole vocabulary, as small as that allows.
fn whole() -> Result<Clip> {
    let image =
        ResNetConfig { resolution: 32, layers: vec![1; 4], width: 2, stem_stride: 2, stem_pool: true };
    let text = TextConfig { context_length: 8, width: 8, heads: 1, layers: 1 };
    let config = ModelConfig { embed_dim: 8, image: ImageConfig::ResNet(image), text };
    Clip::new(&config, Tokenizer::official()?, &Seed::new(3))
}

#[test]
fn models_are_made_of_them() -> Result<()> {
    let (folder, model) = (Folder::new("models"), whole()?);
    let (ours, theirs) = (folder.file("ours"), folder.file("theirs"));
    let metadata = BTreeMap::from([("plan".to_owned(), "a question".to_owned())]);
    model.save(&ours, &metadata)?;
    let found = Weights::read(&ours)?;
    assert_eq!((found.format, &found.metadata), (Format::Ours, &metadata));
    found.write(&theirs, Layout::CleanClip)?;
    let read = || Weights::read(&theirs);
    let again = read()?.into_clip(Some(&model.config))?;
    let tokens = model.tokens(&["a photo of a cat"])?;
    assert_eq!(values(&again.text_features(&tokens)?), values(&model.text_features(&tokens)?));
    // More heads stand in no shape, another width does.
    let mut other = model.config.clone();
    other.text.heads = 2;
    assert_eq!(read()?.into_clip(Some(&other))?.config, other);
    let error = read()?.into_clip(Some(&ModelConfig::rn50())).err().expect("other sizes").to_string();
    assert!(error.contains("rn50 (") && error.contains("\"embed-dim\":8"), "{error}");
    // Golden weights have 160 tokens.
    let error = golden_weights("rn")?.into_clip(None).err().expect("another vocabulary").to_string();
    assert!(error.contains("token_embedding.weight"), "{error}");
    let copied = folder.file("copied");
    Weights::read(&ours)?.write(&copied, Layout::Ours)?;
    assert_eq!(std::fs::read(&ours).expect("a file"), std::fs::read(&copied).expect("a file"));
    Ok(())
}

#[test]
fn what_others_cannot_read_is_not_written() -> Result<()> {
    let folder = Folder::new("foreign");
    let (ours, theirs) = (folder.file("ours"), folder.file("theirs"));
    let mut model = whole()?;
    model.config.text.heads = 2;
    model.save(&ours, &BTreeMap::new())?;
    let error = Weights::read(&ours)?.write(&theirs, Layout::OpenAi).expect_err("two heads").to_string();
    assert!(error.contains("heads"), "{error}");
    let model = Clip::new(&whole()?.config, Tokenizer::kept(&[])?, &Seed::new(0))?;
    model.save(&ours, &BTreeMap::new())?;
    let error =
        Weights::read(&ours)?.write(&theirs, Layout::CleanClip).expect_err("a cut vocabulary").to_string();
    assert!(error.contains("514 tokens of CLIP's 49408") && !theirs.exists(), "{error}");
    Ok(())
}

/// candle-transformers' CLIP, with Hugging Face's names, says what ours says.
#[test]
fn candle_transformers_agrees() -> Result<()> {
    let folder = Folder::new("reference");
    let path = folder.file("hf");
    golden_weights("vit")?.write(&path, Layout::Hf)?;
    let golden = GoldenModel::open("vit")?;
    let model = golden.load()?;
    let ImageConfig::Vit(image) = &model.config.image else { unreachable!("a VisionTransformer") };
    let (text, embed_dim) = (&model.config.text, model.config.embed_dim);
    let config = ClipConfig {
        text_config: ClipTextConfig {
            vocab_size: golden_weights("vit")?.vocabulary_size(),
            embed_dim: text.width,
            activation: Activation::QuickGelu,
            intermediate_size: 4 * text.width,
            max_position_embeddings: text.context_length,
            pad_with: None,
            num_hidden_layers: text.layers,
            num_attention_heads: text.heads,
            projection_dim: embed_dim,
        },
        vision_config: ClipVisionConfig {
            embed_dim: image.width,
            activation: Activation::QuickGelu,
            intermediate_size: 4 * image.width,
            num_hidden_layers: image.layers,
            num_attention_heads: image.width / 64,
            projection_dim: embed_dim,
            num_channels: 3,
            image_size: image.resolution,
            patch_size: image.patch,
        },
        logit_scale_init_value: 0.0,
        image_size: image.resolution,
    };
    let tensors = safetensors::load(&path, &Device::Cpu)?;
    let builder = candle_nn::VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu);
    let reference = ClipModel::new(builder, &config)?;
    let (pixels, tokens) = (&golden.numbers["pixels"], golden.numbers["tokens"].to_dtype(DType::U32)?);
    let ours = model.image_features(&pixels.permute((0, 2, 3, 1))?.contiguous()?)?;
    assert_close("image features", &ours, &reference.get_image_features(pixels)?, 1e-4);
    assert_close(
        "text features",
        &model.text_features(&tokens)?,
        &reference.get_text_features(&tokens)?,
        1e-4,
    );
    Ok(())
}

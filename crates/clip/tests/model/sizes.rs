//! Sizes of models in files: a fixed form for each image tower, and nothing besides.

use std::collections::BTreeMap;

use clip::candle_core::Result;
use clip::{Clip, ImageConfig, ModelConfig, Pairs, Seed, Tokenizer, VitConfig};

use crate::support::{Folder, pairs, values};

fn vit_b_32() -> ModelConfig {
    ModelConfig::preset("vit-b-32").expect("a preset")
}

#[test]
fn the_form_in_files_is_fixed() -> Result<()> {
    let tiny = r#"{"embed-dim":128,"image":{"resolution":32,"layers":[1,1,1],"width":16,"stem-stride":1,"stem-pool":true},"text":{"context-length":32,"width":64,"heads":2,"layers":2}}"#;
    let vit = r#"{"embed-dim":512,"image":{"resolution":224,"width":768,"patch":32,"blocks":12},"text":{"context-length":77,"width":512,"heads":8,"layers":12}}"#;
    for (text, config) in [(tiny, ModelConfig::tiny()), (vit, vit_b_32())] {
        assert_eq!(serde_json::to_string(&config).expect("JSON"), text);
        assert_eq!(serde_json::from_str::<ModelConfig>(text).expect("a model"), config);
    }
    for name in ModelConfig::PRESETS {
        ModelConfig::preset(name).expect("a preset").check()?;
    }
    Ok(())
}

/// Totals that `golden/make_full_size.py --count` counts in PyTorch's modules; open_clip publishes the same in millions
/// (docs/model_profile.csv: RN50 102.01, RN101 119.69, RN50x4 178.3, ViT-B-32 151.28, ViT-L-14 427.62).
#[test]
fn presets_have_the_published_numbers_of_parameters() -> Result<()> {
    for (name, count) in [
        ("rn50", 102_007_137),
        ("rn101", 119_688_033),
        ("rn50x4", 178_300_601),
        ("rn50x16", 290_979_217),
        ("rn50x64", 623_258_305),
        ("vit-b-32", 151_277_313),
        ("vit-b-16", 149_620_737),
        ("vit-l-14", 427_616_513),
        ("vit-l-14-336", 427_944_193),
    ] {
        let config = ModelConfig::preset(name).expect("a preset");
        assert_eq!(config.parameter_count(49408)?, count, "{name}");
        assert_eq!(config.as_seen(), config, "{name}");
    }
    let nano = Clip::new(&ModelConfig::nano(), Tokenizer::kept(&[])?, &Seed::new(0))?;
    let counted: usize = nano.all_parameters().iter().map(|parameter| parameter.var.elem_count()).sum();
    assert_eq!(ModelConfig::nano().parameter_count(nano.tokenizer.vocabulary_size())?, counted);
    Ok(())
}

#[test]
fn sizes_are_read_off_weights() -> Result<()> {
    for config in [ModelConfig::nano(), ModelConfig::tiny()] {
        let model = Clip::new(&config, Tokenizer::kept(&[])?, &Seed::new(0))?;
        let dims = |parameter: clip::Parameter| (parameter.name, parameter.var.dims().to_vec());
        let mut shapes: BTreeMap<String, Vec<usize>> = model.all_parameters().into_iter().map(dims).collect();
        let mut found = ModelConfig::of_weights(&shapes)?;
        // What shapes do not tell; both towers end in the same side.
        found.text.heads = config.text.heads;
        let (ImageConfig::ResNet(image), ImageConfig::ResNet(expected)) = (&mut found.image, &config.image)
        else {
            unreachable!("two ModifiedResNets")
        };
        (image.stem_stride, image.stem_pool) = (expected.stem_stride, expected.stem_pool);
        image.resolution = image.resolution * expected.reduction() / (4 << (expected.layers.len() - 1));
        assert_eq!(found, config);
        shapes.remove("text_projection");
        let error = ModelConfig::of_weights(&shapes).expect_err("no projection").to_string();
        assert!(error.contains("text_projection"), "{error}");
    }
    assert!(ModelConfig::of_weights(&BTreeMap::new()).is_err());
    Ok(())
}

#[test]
fn mixed_and_incomplete_towers_are_refused() {
    for image in [
        r#""resolution":32,"width":64"#,
        r#""resolution":32,"width":64,"patch":8"#,
        r#""resolution":32,"width":64,"layers":[1],"stem-stride":1"#,
        r#""resolution":32,"width":64,"layers":[1],"stem-stride":1,"stem-pool":true,"patch":8"#,
        r#""resolution":32,"width":64,"patch":8,"blocks":2,"layers":[1]"#,
        r#""resolution":32,"width":64,"patch":8,"blocks":2,"depth":2"#,
        r#""width":64,"patch":8,"blocks":2"#,
    ] {
        let text = format!(
            r#"{{"embed-dim":8,"image":{{{image}}},"text":{{"context-length":8,"width":8,"heads":1,"layers":1}}}}"#
        );
        assert!(serde_json::from_str::<ModelConfig>(&text).is_err(), "{image}");
    }
    let check = |change: fn(&mut VitConfig)| {
        let mut config = vit_b_32();
        let ImageConfig::Vit(image) = &mut config.image else { unreachable!("a VisionTransformer") };
        change(image);
        config.check()
    };
    assert!(check(|_| ()).is_ok());
    assert!(check(|image| image.width = 100).is_err());
    assert!(check(|image| image.patch = 0).is_err());
    assert!(check(|image| image.patch = 33).is_err());
    assert!(check(|image| image.layers = 0).is_err());
    assert!(check(|image| image.resolution = 1 << 40).is_err());
}

#[test]
fn a_vision_transformer_comes_back_from_a_file() -> Result<()> {
    let folder = Folder::new("vit");
    let image = ImageConfig::Vit(VitConfig { resolution: 32, patch: 16, width: 64, layers: 1 });
    let config = ModelConfig { image, ..ModelConfig::nano() };
    let path = folder.file("model");
    let model = Clip::new(&config, Tokenizer::kept(&[])?, &Seed::new(1))?;
    model.save(&path, &BTreeMap::new())?;
    let (loaded, _) = Clip::load(&path)?;
    assert_eq!(loaded.config, config);
    let pixels = clip::pixels::batch(&[pairs(1, 32).pair(0)?.image], 32)?;
    assert_eq!(values(&loaded.image_features(&pixels)?), values(&model.image_features(&pixels)?));
    Ok(())
}

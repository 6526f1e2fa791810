//! Models in files: the same model comes back, and a damaged or hostile file is an error.

use std::collections::BTreeMap;
use std::path::Path;

use clip::Clip;
use clip::candle_core::Result;

use crate::support::{Folder, nano, pairs, values};

fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).expect("a writable temporary folder");
}

#[test]
fn a_model_comes_back() -> Result<()> {
    let folder = Folder::new("round");
    let (path, again) = (folder.file("model"), folder.file("again"));
    let model = nano(1)?;
    let metadata = BTreeMap::from([("b".to_owned(), "2".to_owned()), ("a".to_owned(), "1".to_owned())]);
    model.save(&path, &metadata)?;
    let (loaded, found) = Clip::load(&path)?;
    assert_eq!((found, &loaded.config), (metadata.clone(), &model.config));
    loaded.save(&again, &metadata)?;
    assert_eq!(std::fs::read(&path).expect("a model"), std::fs::read(&again).expect("a model"));
    let pixels = clip::pixels::batch(&[clip::Pairs::pair(&pairs(1, 16), 0)?.image], 16)?;
    assert_eq!(values(&loaded.image_features(&pixels)?), values(&model.image_features(&pixels)?));
    let tokens = model.tokens(&["a cat near the tree"])?;
    assert_eq!(values(&loaded.tokens(&["a cat near the tree"])?), values(&tokens));
    assert_eq!(values(&loaded.text_features(&tokens)?), values(&model.text_features(&tokens)?));
    let copy = model.deep_clone()?;
    let scale = |model: &Clip| model.logit_scale().map(values);
    let before = scale(&model)?;
    let parameters = copy.all_parameters();
    let shared = parameters.iter().find(|parameter| parameter.name == "logit_scale").expect("a logit scale");
    shared.var.set(&shared.var.zeros_like()?)?;
    assert_eq!((scale(&model)?, scale(&copy)?), (before, vec![0.0]), "a copy shares nothing");
    Ok(())
}

#[test]
fn truncated_and_garbled_files_are_errors() -> Result<()> {
    let folder = Folder::new("garbled");
    let path = folder.file("model");
    nano(1)?.save(&path, &BTreeMap::new())?;
    let whole = std::fs::read(&path).expect("the saved model");
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().expect("8 bytes")) as usize;
    for length in [0, 1, 7, 8, 9, 100, header - 1, header, header + 1, whole.len() / 2, whole.len() - 1] {
        write(&path, &whole[..length]);
        assert!(Clip::load(&path).is_err(), "{length} of {} bytes", whole.len());
    }
    for at in (0..header).step_by(header / 60) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x15;
        write(&path, &bytes);
        // Some flips only rename a key of the metadata; none may panic.
        let _ = Clip::load(&path);
    }
    assert!(Clip::load(&folder.file("absent")).is_err());
    Ok(())
}

fn file_of(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn hostile_headers_are_errors() {
    let folder = Folder::new("hostile");
    let path = folder.file("model");
    let tensor = |shape: &str, end: &str| {
        format!("{{\"a\":{{\"dtype\":\"F32\",\"shape\":{shape},\"data_offsets\":[0,{end}]}}}}")
    };
    let files = [
        [u64::MAX.to_le_bytes(), [b'{'; 8]].concat(),
        [(1u64 << 40).to_le_bytes(), [b'{'; 8]].concat(),
        file_of(&tensor("[4611686018427387904,4]", "16"), 16),
        file_of(&tensor("[18446744073709551615]", "18446744073709551615"), 16),
        file_of(&tensor("[1000000000000]", "4000000000000"), 16),
        file_of(&tensor("[4]", "16"), 8),
        file_of(&tensor("[-1]", "16"), 16),
        file_of("{\"__metadata__\":{\"cleanbench\":\"[not json\"}}", 0),
        file_of("[[[[[[[[", 0),
    ];
    for (index, bytes) in files.iter().enumerate() {
        write(&path, bytes);
        assert!(Clip::load(&path).is_err(), "hostile file {index}");
    }
}

/// A file without tensors that claims to hold a model of these sizes.
fn claims(image: &str, text: &str) -> Vec<u8> {
    let model = format!("{{\"embed-dim\":8,\"image\":{{{image}}},\"text\":{{{text}}}}}");
    let metadata = serde_json::json!({ "model": model, "merges": "[]" }).to_string();
    let header = serde_json::json!({ "__metadata__": { "cleanbench": metadata } }).to_string();
    file_of(&header, 0)
}

#[test]
fn claims_of_huge_models_cost_nothing() {
    let folder = Folder::new("claims");
    let path = folder.file("model");
    let image = |layers: &str, width: u64, resolution: u64| {
        format!(
            "\"resolution\":{resolution},\"layers\":{layers},\"width\":{width},\"stem-stride\":2,\"stem-pool\":false"
        )
    };
    let text = |width: u64, layers: u64, context: u64| {
        format!("\"context-length\":{context},\"width\":{width},\"heads\":1,\"layers\":{layers}")
    };
    let (small_image, small_text) = (image("[1]", 8, 16), text(8, 1, 8));
    let refused = |image: &str, text: &str| {
        write(&path, &claims(image, text));
        let error = Clip::load(&path).err().expect("a claim without weights").to_string();
        assert!(error.contains("model"), "{error}");
    };
    let huge = 1u64 << 60;
    let many = format!("[{}1]", "1,".repeat(200));
    for (image, text) in [
        (image("[1]", huge, 16), small_text.clone()),
        (image("[1000000000000]", 8, 16), small_text.clone()),
        (image(&many, 8, 16), small_text.clone()),
        (image("[1]", 8, huge), small_text.clone()),
        (image("[1]", 60_000, 60_000), small_text.clone()),
        (small_image.clone(), text(huge, 1, 8)),
        (small_image.clone(), text(8, huge, 8)),
        (small_image.clone(), text(60_000, 60_000, 60_000)),
        (small_image.clone(), text(8, 1, huge)),
    ] {
        refused(&image, &text);
    }
    let vit = |patch: u64, width: u64, blocks: u64| {
        format!("\"resolution\":224,\"width\":{width},\"patch\":{patch},\"blocks\":{blocks}")
    };
    for image in [vit(huge, 64, 1), vit(8, huge, 1), vit(8, 64, huge), vit(1, 60_032, 60_000)] {
        refused(&image, &small_text);
    }
    refused(&small_image, &small_text);
}

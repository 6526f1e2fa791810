//! RN50 and ViT-B/32 at full size against PyTorch, where `golden/make_full_size.py` wrote its files.

use std::collections::HashMap;
use std::path::Path;

use clip::candle_core::{DType, Device, Result, Tensor, bail, safetensors};
use clip::weights::Weights;
use clip::{Mode, ModelConfig, Parameter, kernels, loss};

use crate::support::{as_released, distance, largest, relative_distance, values};

const FOLDER: &str = "CLEANBENCH_FULL_SIZE_GOLDEN";
/// Features agree to this distance, gradients to this share of their tensor's largest entry.
const TOLERANCE: f64 = 1e-4;

fn check(folder: &Path, name: &str) -> Result<()> {
    let weights = Weights::read(&folder.join(format!("{name}_weights.safetensors")))?;
    let golden: HashMap<String, Tensor> =
        safetensors::load(folder.join(format!("{name}_golden.safetensors")), &Device::Cpu)?;
    let model = weights.into_clip(ModelConfig::preset(name).as_ref())?;
    let pixels = golden["pixels"].permute((0, 2, 3, 1))?.contiguous()?;
    let tokens = golden["tokens"].to_dtype(DType::U32)?;
    for (what, found) in
        [("image_features", model.image_features(&pixels)?), ("text_features", model.text_features(&tokens)?)]
    {
        let far = distance(&found, &golden[what]);
        println!("{name}: {what} max abs {far:.2e} of {:.2}", largest(&golden[what]));
        if far > TOLERANCE {
            bail!("{name}: {what} are {far} away");
        }
    }
    let images = model.encode_image(&pixels, Mode::Train)?;
    let loss = loss::info_nce(&images, &model.encode_text(&tokens)?, model.logit_scale()?)?;
    println!("{name}: loss {:.6}, expected {:.6}", values(&loss)[0], values(&golden["loss"])[0]);
    assert!(distance(&loss, &golden["loss"]) <= TOLERANCE);
    let gradients = kernels::backward(&loss)?;
    let mut far = Vec::new();
    for Parameter { name, var, .. } in model.all_parameters() {
        let expected = &golden[&format!("grad.{name}")];
        let found = as_released(gradients.get(var.as_tensor()).expect("a gradient for every parameter"))?;
        far.push((relative_distance(&found, expected), name));
    }
    far.sort_by(|a, b| b.0.total_cmp(&a.0));
    println!("{name}: {} gradients, the worst {:?}", far.len(), &far[..3]);
    assert_eq!(far.len(), golden.keys().filter(|name| name.starts_with("grad.")).count());
    if far[0].0 > TOLERANCE {
        bail!("{name}: the gradient of {} is {} of its largest entry away", far[0].1, far[0].0);
    }
    Ok(())
}

#[test]
fn full_size_agrees() -> Result<()> {
    let Some(folder) = std::env::var_os(FOLDER) else {
        eprintln!(
            "SKIPPED: full-size parity with PyTorch; {FOLDER} is not set. `python golden/make_full_size.py FOLDER` \
             makes the files (2.5 GB)"
        );
        return Ok(());
    };
    ["rn50", "vit-b-32"].iter().try_for_each(|name| check(Path::new(&folder), name))
}

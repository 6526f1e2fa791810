//! `cleanbench weights`: files of weights, looked at and written for other projects.

use std::path::Path;

use anyhow::{Context, Result};
use clip::weights::{Naming, Weights};
use clip::{ImageConfig, ModelConfig};
use harness::describe;

use crate::cli::{ConvertOptions, WeightsOptions};
use crate::{FINE, UNEXPECTED, mistake};

/// Reads a file of weights; what is wrong with it is the user's to put right.
pub(crate) fn read(path: &Path) -> Result<Weights> {
    Weights::read(path).map_err(|error| mistake(describe(&error.into())))
}

/// BLAKE3 of a file, in hexadecimal digits.
pub(crate) fn hash(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let file = std::fs::File::open(path).and_then(|file| hasher.update_reader(file).map(|_| ()));
    file.with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Says what a file of weights is.
pub(crate) fn show(options: &WeightsOptions) -> Result<u8> {
    let path = &options.file;
    let weights = read(path)?;
    println!("{}", path.display());
    println!("  format      {}", weights.format);
    println!("  names       {}", names(&weights));
    let sizes = weights.model();
    match &sizes {
        Ok(model) => print_model(&weights, model),
        Err(error) => println!("  sizes       unknown: {error}"),
    }
    if let Some((weight, _)) = &weights.head {
        let classes = weight.dims().first().copied().unwrap_or(0);
        println!(
            "  classifier  a linear layer for {classes} classes, finetuned on labels; the towers are below `model.`"
        );
    }
    for (key, value) in &weights.metadata {
        println!("  {key:<11} {value}");
    }
    println!("  blake3      {}", hash(path)?);
    match weights.check() {
        Ok(()) => println!("  complete    every tensor of such a model is there, and no other"),
        Err(error) => println!("  incomplete  {}", describe(&error.into())),
    }
    Ok(if sizes.is_ok() && weights.check().is_ok() { FINE } else { UNEXPECTED })
}

fn names(weights: &Weights) -> String {
    let names = match weights.naming {
        Naming::OpenAi => "OpenAI's, which open_clip has too",
        Naming::CustomText => "open_clip's CustomTextCLIP",
        Naming::Hf => "Hugging Face's CLIPModel",
    };
    match weights.stripped.is_empty() {
        true => names.to_owned(),
        false => format!("{names}, behind {}", weights.stripped.join("")),
    }
}

fn print_model(weights: &Weights, model: &ModelConfig) {
    println!("  model       {}", model.describe());
    let tower = match model.image {
        ImageConfig::ResNet(_) => "ModifiedResNet",
        ImageConfig::Vit(_) => "VisionTransformer",
    };
    println!(
        "  tower       {tower}, {} pixels; QuickGELU is assumed, no file says so",
        model.image.resolution()
    );
    println!("  parameters  {}", weights.parameter_count());
    println!("  vocabulary  {} tokens", weights.vocabulary_size());
}

/// Writes a file of weights for another project.
pub(crate) fn convert(options: &ConvertOptions) -> Result<u8> {
    let written = read(&options.input)?.write(&options.output, options.layout);
    written.map_err(|error| mistake(format!("{}: {}", options.input.display(), describe(&error.into()))))?;
    println!("{}", options.output.display());
    Ok(FINE)
}

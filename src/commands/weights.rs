//! `cleanbench weights`: files of weights, looked at and written for other projects.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use base::{describe, errln, hash_file, outln};
use clip::weights::{Layout, Naming, Weights};
use clip::{ImageConfig, ModelConfig};
use harness::survey::survey;
use plan::Catalog;
use store::{Lookup, Store};

use super::load;
use super::store::named;
use crate::cli::{ConvertOptions, ExportOptions, WeightsOptions};
use crate::{CLAIM_FAILED, SUCCESS, user_error};

/// Reads a file of weights; what is wrong with it is the user's to put right.
pub(crate) fn read(path: &Path) -> Result<Weights> {
    Weights::read(path).map_err(|error| user_error(describe(&error.into())))
}

/// BLAKE3 of a file, in hexadecimal digits; an error names it.
pub(crate) fn hash(path: &Path) -> Result<String> {
    hash_file(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Says what a file of weights is.
pub(crate) fn show(options: &WeightsOptions) -> Result<u8> {
    let path = &options.file;
    let weights = read(path)?;
    outln!("{}", path.display());
    outln!("  format      {}", weights.format);
    outln!("  names       {}", names(&weights));
    let sizes = weights.model();
    match &sizes {
        Ok(model) => print_model(&weights, model),
        // Without candle's backtrace.
        Err(error) => outln!("  sizes       unknown: {}", describe(&anyhow!("{error}"))),
    }
    if let Some((weight, _)) = &weights.head {
        let classes = weight.dims().first().copied().unwrap_or(0);
        outln!(
            "  classifier  a linear layer for {classes} classes, finetuned on labels; the towers are below `model.`"
        );
    }
    for (key, value) in &weights.metadata {
        outln!("  {key:<11} {value}");
    }
    outln!("  blake3      {}", hash(path)?);
    match weights.check() {
        Ok(()) => outln!("  complete    every tensor of such a model is there, and no other"),
        Err(error) => outln!("  incomplete  {}", describe(&error.into())),
    }
    Ok(if sizes.is_ok() && weights.check().is_ok() { SUCCESS } else { CLAIM_FAILED })
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
    outln!("  model       {}", model.describe());
    let tower = match model.image {
        ImageConfig::ResNet(_) => "ModifiedResNet",
        ImageConfig::Vit(_) => "VisionTransformer",
    };
    outln!(
        "  tower       {tower}, {} pixels; QuickGELU is assumed, no file says so",
        model.image.resolution()
    );
    outln!("  parameters  {}", weights.parameter_count());
    outln!("  vocabulary  {} tokens", weights.vocabulary_size());
}

/// Writes a file of weights for another project.
pub(crate) fn convert(options: &ConvertOptions) -> Result<u8> {
    check_ending(&options.output, options.layout)?;
    check_new(&options.output, options.force)?;
    let named =
        |error: anyhow::Error| user_error(format!("{}: {}", options.input.display(), describe(&error)));
    let written = read(&options.input)?.write(&options.output, options.layout);
    written.map_err(|error| named(error.into()))?;
    outln!("{}", options.output.display());
    Ok(SUCCESS)
}

/// Refuses a name whose ending is that of another layout's files.
fn check_ending(path: &Path, layout: Layout) -> Result<()> {
    let Some(ending) = path.extension().map(|ending| ending.to_string_lossy().to_lowercase()) else {
        return Ok(());
    };
    let endings = layout.endings();
    if endings.contains(&&*ending) {
        return Ok(());
    }
    let (right, given) = (path.with_extension(endings[0]), path.display());
    let ending = endings[0];
    let message = format!("{given}: files of this layout end in .{ending}; write {}", right.display());
    Err(user_error(message))
}

/// Refuses to replace a file that is there, unless that is wanted.
pub(crate) fn check_new(path: &Path, force: bool) -> Result<()> {
    if force || !path.exists() {
        return Ok(());
    }
    Err(user_error(format!("{} is there already; --force replaces it", path.display())))
}

/// Copies the model of a plan's cell out of the store.
pub(crate) fn export(catalog: &Catalog, options: &ExportOptions) -> Result<u8> {
    let ExportOptions { plan, cell: name, output, force, folder } = options;
    check_ending(output, Layout::Ours)?;
    check_new(output, *force)?;
    let store = Store::at(&folder.store);
    let (cells, _) = survey(&load(catalog, Some(plan))?, &store)?;
    let cell = named(&cells, name).map_err(|near| user_error(format!("{}: {near}", plan.display())))?;
    let missing = |why: &str| {
        let (store, plan) = (folder.store.display(), plan.display());
        user_error(format!("the store {store} has no model of {name}{why}; `cleanbench run {plan}` makes it"))
    };
    let [_, defended, _] = cell.keys.as_ref().ok_or_else(|| missing(": its data are not checked yet"))?;
    let from = match store.find(defended)? {
        Lookup::Whole(folder) => folder,
        Lookup::Nothing => return Err(missing("")),
        Lookup::Damaged(problem) => return Err(missing(&format!(" that is whole ({problem})"))),
    };
    let bytes = std::fs::read(from.join("model.safetensors"));
    let written = bytes.and_then(|bytes| std::fs::write(output, bytes));
    written.with_context(|| format!("cannot copy {} to {}", from.display(), output.display()))?;
    outln!("{}: {name}", output.display());
    let head = from.join("head.safetensors");
    if head.exists() {
        errln!(
            "note: these are the towers alone; the cell's numbers are those of its linear head, which stays in {}",
            head.display()
        );
    }
    Ok(SUCCESS)
}

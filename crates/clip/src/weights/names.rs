//! Other projects' names for OpenAI's tensors.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, bail};

pub(super) type Named = BTreeMap<String, Tensor>;

/// What wrappers put before every name: DistributedDataParallel and `torch.compile`.
const WRAPPERS: [&str; 2] = ["module.", "_orig_mod."];
/// Tensors that are no weights: what OpenAI's archives hold besides (its own loader drops them), causal masks and
/// position numbers.
const NO_WEIGHTS: [&str; 5] =
    ["input_resolution", "context_length", "vocab_size", "attn_mask", "position_ids"];

/// HF's names of what is outside blocks, OpenAI's, and whether the matrix is transposed.
const OUTER: [(&str, &str, bool); 10] = [
    ("text_model.embeddings.token_embedding.weight", "token_embedding.weight", false),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding", false),
    ("text_model.final_layer_norm.", "ln_final.", false),
    ("text_projection.weight", "text_projection", true),
    ("vision_model.embeddings.class_embedding", "visual.class_embedding", false),
    ("vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight", false),
    ("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding", false),
    ("vision_model.pre_layrnorm.", "visual.ln_pre.", false), // spelt so
    ("vision_model.post_layernorm.", "visual.ln_post.", false),
    ("visual_projection.weight", "visual.proj", true),
];
const TOWERS: [(&str, &str); 2] = [
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("vision_model.encoder.layers.", "visual.transformer.resblocks."),
];
const INNER: [(&str, &str); 5] = [
    ("layer_norm1.", "ln_1."),
    ("layer_norm2.", "ln_2."),
    ("mlp.fc1.", "mlp.c_fc."),
    ("mlp.fc2.", "mlp.c_proj."),
    ("self_attn.out_proj.", "attn.out_proj."),
];
/// HF keeps the three projections of an attention apart.
const PROJECTIONS: [&str; 3] = ["q_proj", "k_proj", "v_proj"];

/// Whose names a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Naming {
    /// OpenAI's; open_clip has the same.
    OpenAi,
    /// open_clip's CustomTextCLIP: OpenAI's, the text tower below `text.`.
    CustomText,
    /// Hugging Face's CLIPModel.
    Hf,
}

/// Strips what wrappers put before every name and says what that was.
pub(super) fn unwrapped(tensors: &mut Named) -> Vec<String> {
    let mut stripped = Vec::new();
    while let Some(prefix) = WRAPPERS.iter().find(|prefix| common(tensors, prefix)) {
        strip(tensors, prefix);
        stripped.push((*prefix).to_owned());
    }
    stripped
}

fn common(tensors: &Named, prefix: &str) -> bool {
    !tensors.is_empty() && tensors.keys().all(|name| name.starts_with(prefix))
}

fn strip(tensors: &mut Named, prefix: &str) {
    let named = std::mem::take(tensors).into_iter();
    *tensors =
        named.map(|(name, value)| (name.strip_prefix(prefix).unwrap_or(&name).to_owned(), value)).collect();
}

/// Takes a classifier's linear layer out, `[K, E]` and `[K]`: what CleanCLIP's finetuning on labels saves beside the
/// towers, which are below `model.` there.
pub(super) fn take_head(tensors: &mut Named) -> Option<(Tensor, Tensor)> {
    let towers = tensors.keys().filter(|name| !name.starts_with("linear."));
    if !towers.clone().all(|name| name.starts_with("model.")) || towers.count() == 0 {
        return None;
    }
    let (weight, bias) = (tensors.get("linear.weight")?.clone(), tensors.get("linear.bias")?.clone());
    tensors.remove("linear.weight");
    tensors.remove("linear.bias");
    strip(tensors, "model.");
    Some((weight, bias))
}

/// Leaves out what is no weight, gives every tensor OpenAI's name and shape, and says whose names they were. Unknown
/// names stay, and are then listed as not wanted.
pub(super) fn to_openai(tensors: &mut Named) -> Result<Naming> {
    tensors.retain(|name, _| !NO_WEIGHTS.contains(&name.rsplit('.').next().unwrap_or(name)));
    if let Some(scale) = tensors.get_mut("logit_scale").filter(|scale| scale.dims() == [1]) {
        *scale = scale.reshape(())?; // open_clip's `nonscalar_logit_scale`
    }
    if tensors.keys().any(|name| name.starts_with("vision_model.")) {
        *tensors = of_hf(std::mem::take(tensors))?;
        return Ok(Naming::Hf);
    }
    if !tensors.contains_key("token_embedding.weight") && tensors.contains_key("text.token_embedding.weight")
    {
        strip(tensors, "text.");
        return Ok(Naming::CustomText);
    }
    Ok(Naming::OpenAi)
}

/// A name that begins as `from` or is it, with `to` in its place.
fn replaced(name: &str, from: &str, to: &str) -> Option<String> {
    let rest = name.strip_prefix(from)?;
    (rest.is_empty() || from.ends_with('.')).then(|| format!("{to}{rest}"))
}

/// The parts of a name within a block: OpenAI's name of the block, ending in a dot, and what is behind it.
fn block<'a>(name: &'a str, from: &str, to: &str) -> Option<(String, &'a str)> {
    let (number, rest) = name.strip_prefix(from)?.split_once('.')?;
    Some((format!("{to}{number}."), rest))
}

fn of_hf(tensors: Named) -> Result<Named> {
    let (mut found, mut attention) = (Named::new(), BTreeMap::<String, [Option<Tensor>; 3]>::new());
    for (name, value) in tensors {
        if let Some((new, transposed)) =
            OUTER.iter().find_map(|(from, to, transposed)| Some((replaced(&name, from, to)?, *transposed)))
        {
            found.insert(new, if transposed && value.rank() == 2 { value.t()?.contiguous()? } else { value });
            continue;
        }
        let Some((block, rest)) = TOWERS.iter().find_map(|(from, to)| block(&name, from, to)) else {
            found.insert(name, value);
            continue;
        };
        let projection = rest.strip_prefix("self_attn.").and_then(|rest| rest.split_once('.'));
        let part = projection
            .and_then(|(part, kind)| Some((PROJECTIONS.iter().position(|name| *name == part)?, kind)));
        if let Some((part, kind)) = part {
            attention.entry(format!("{block}attn.in_proj_{kind}")).or_default()[part] = Some(value);
            continue;
        }
        let new = INNER.iter().find_map(|(from, to)| replaced(rest, from, to));
        found.insert(new.map_or(name.clone(), |new| format!("{block}{new}")), value);
    }
    for (name, parts) in attention {
        let missing = PROJECTIONS.iter().zip(&parts).find(|(_, part)| part.is_none());
        if let Some((missing, _)) = missing {
            bail!("{name} is made of q_proj, k_proj and v_proj, but {missing} is missing");
        }
        let parts: Vec<Tensor> = parts.into_iter().flatten().collect();
        if parts.iter().any(|part| part.rank() == 0 || part.dims() != parts[0].dims()) {
            bail!("{name} is made of q_proj, k_proj and v_proj, whose shapes differ");
        }
        found.insert(name, Tensor::cat(&parts, 0)?);
    }
    Ok(found)
}

/// HF's names and shapes for OpenAI's tensors; an error where HF has no such model.
pub(super) fn to_hf(tensors: &Named) -> Result<Named> {
    if !tensors.contains_key("visual.proj") {
        bail!(
            "Hugging Face's CLIPModel has no ModifiedResNet, only a VisionTransformer; the layout `openai` has both"
        );
    }
    let mut found = Named::new();
    for (name, value) in tensors {
        if let Some((new, transposed)) =
            OUTER.iter().find_map(|(to, from, transposed)| Some((replaced(name, from, to)?, *transposed)))
        {
            found.insert(new, if transposed { value.t()?.contiguous()? } else { value.clone() });
            continue;
        }
        let Some((block, rest)) = TOWERS.iter().find_map(|(to, from)| block(name, from, to)) else {
            found.insert(name.clone(), value.clone());
            continue;
        };
        if let Some(kind) = rest.strip_prefix("attn.in_proj_") {
            for (part, value) in PROJECTIONS.iter().zip(value.chunk(3, 0)?) {
                found.insert(format!("{block}self_attn.{part}.{kind}"), value.contiguous()?);
            }
        } else if let Some(new) = INNER.iter().find_map(|(to, from)| replaced(rest, from, to)) {
            found.insert(format!("{block}{new}"), value.clone());
        }
    }
    Ok(found)
}

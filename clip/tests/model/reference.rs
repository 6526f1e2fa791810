//! The text tower against candle-transformers' CLIP, which can only infer.

use std::collections::HashMap;

use candle_nn::{Module, VarBuilder};
use candle_transformers::models::clip::text_model::{Activation, ClipTextConfig, ClipTextTransformer};
use clip::candle_core::{DType, Device, Result, Tensor};

use crate::support::{assert_close, nano};

/// OpenAI's names of a block's parts and Hugging Face's.
const PARTS: &[(&str, &str)] = &[
    ("ln_1", "layer_norm1"),
    ("ln_2", "layer_norm2"),
    ("attn.out_proj", "self_attn.out_proj"),
    ("mlp.c_fc", "mlp.fc1"),
    ("mlp.c_proj", "mlp.fc2"),
];

#[test]
fn text_tower_agrees_with_candle_transformers() -> Result<()> {
    let model = nano(3)?;
    let text = &model.config.text;
    let get = |name: &str| model.parameters.get(name);
    let mut weights = HashMap::new();
    let mut put = |name: String, tensor: Tensor| weights.insert(name, tensor);
    put("embeddings.token_embedding.weight".into(), get("token_embedding.weight")?.clone());
    put("embeddings.position_embedding.weight".into(), get("positional_embedding")?.clone());
    for kind in ["weight", "bias"] {
        put(format!("final_layer_norm.{kind}"), get(&format!("ln_final.{kind}"))?.clone());
        for layer in 0..text.layers {
            let (ours, theirs) =
                (format!("transformer.resblocks.{layer}"), format!("encoder.layers.{layer}"));
            for (our_part, their_part) in PARTS {
                put(
                    format!("{theirs}.{their_part}.{kind}"),
                    get(&format!("{ours}.{our_part}.{kind}"))?.clone(),
                );
            }
            let projections = get(&format!("{ours}.attn.in_proj_{kind}"))?.chunk(3, 0)?;
            for (name, projection) in ["q_proj", "k_proj", "v_proj"].iter().zip(projections) {
                put(format!("{theirs}.self_attn.{name}.{kind}"), projection.contiguous()?);
            }
        }
    }
    let config = ClipTextConfig {
        vocab_size: model.tokenizer.vocabulary_size(),
        embed_dim: text.width,
        activation: Activation::QuickGelu,
        intermediate_size: 4 * text.width,
        max_position_embeddings: text.context_length,
        pad_with: None,
        num_hidden_layers: text.layers,
        num_attention_heads: text.heads,
        projection_dim: model.config.embed_dim,
    };
    let theirs =
        ClipTextTransformer::new(VarBuilder::from_tensors(weights, DType::F32, &Device::Cpu), &config)?;
    let tokens = model.tokens(&["a cat", "a red car near the blue house, number 17", ""])?;
    let expected = theirs.forward(&tokens)?.matmul(get("text_projection")?)?;
    assert_close("text features", &model.text_features(&tokens)?, &expected, 1e-5);
    Ok(())
}

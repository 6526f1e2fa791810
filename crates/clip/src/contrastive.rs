//! Training CLIP on image–caption pairs.

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::tokenizer::pad;
use crate::{Clip, Image, Mode, Objective, Pairs, Parameter, Seed, loss, pixels};

/// The multimodal contrastive objective of CLIP (L_MMCL in CleanCLIP), all parameters, no augmentation.
pub struct Contrastive<'a> {
    pairs: &'a dyn Pairs,
    /// Of all captions, one after another: millions of them in one piece of memory. CLIP's vocabulary has 49 408.
    tokens: Vec<u16>,
    /// Where each caption's tokens begin, and the end of the last.
    starts: Vec<usize>,
    resolution: usize,
    context_length: usize,
}

impl<'a> Contrastive<'a> {
    /// The objective over `pairs` for models of the same sizes and tokenizer as `model`.
    pub fn new(model: &Clip, pairs: &'a dyn Pairs) -> Result<Self> {
        let (mut tokens, mut starts) = (Vec::new(), vec![0]);
        for index in 0..pairs.len() {
            tokens
                .extend(model.tokenizer.encode(&pairs.caption(index)?).into_iter().map(|token| token as u16));
            starts.push(tokens.len());
        }
        let (resolution, context_length) =
            (model.config.image.resolution(), model.config.text.context_length);
        Ok(Self { pairs, tokens, starts, resolution, context_length })
    }

    /// Images of a batch.
    pub fn images(&self, indices: &[usize]) -> Result<Vec<Image>> {
        indices.par_iter().map(|index| self.pairs.image(*index)).collect()
    }

    /// Tokens of a batch, u32 `[B, L]`.
    pub fn tokens(&self, indices: &[usize]) -> Result<Tensor> {
        let tokens = |index: &usize| self.tokens[self.starts[*index]..self.starts[index + 1]].iter();
        let rows: Vec<Vec<u32>> =
            indices.iter().map(|index| tokens(index).map(|token| u32::from(*token)).collect()).collect();
        pad(&rows, self.context_length)
    }
}

impl Objective for Contrastive<'_> {
    type Batch = (Tensor, Tensor);

    fn examples(&self) -> usize {
        self.pairs.len()
    }

    fn parameters(&self, model: &Clip) -> Vec<Parameter> {
        model.all_parameters()
    }

    fn batch(&self, indices: &[usize], _epoch: usize, _seed: &Seed) -> Result<Self::Batch> {
        if indices.iter().any(|index| *index >= self.pairs.len()) {
            bail!("a batch of pairs that do not exist");
        }
        Ok((pixels::batch(&self.images(indices)?, self.resolution)?, self.tokens(indices)?))
    }

    fn loss(&self, model: &Clip, (pixels, tokens): &Self::Batch) -> Result<Tensor> {
        let images = model.encode_image(pixels, Mode::Train)?;
        let texts = model.encode_text(tokens)?;
        loss::info_nce(&images, &texts, model.logit_scale()?)
    }
}

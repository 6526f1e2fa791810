//! Contrastive losses on features that are not yet normalised.

use candle_core::{Device, Result, Tensor};

/// 0, 1, … B − 1: each row's own partner.
fn own(batch: usize, device: &Device) -> Result<Tensor> {
    Tensor::from_vec((0..batch as u32).collect::<Vec<_>>(), batch, device)
}

/// e^logit_scale · â · b̂ᵀ, `[B, B]`.
fn logits(a: &Tensor, b: &Tensor, logit_scale: &Tensor) -> Result<Tensor> {
    kernels::linear(a, b, None)?.broadcast_mul(&logit_scale.exp()?)
}

/// Symmetric InfoNCE, ½(CE(I·Tᵀ) + CE(T·Iᵀ)), of image and text features `[B, E]`; CleanCLIP's L_MMCL.
pub fn info_nce(images: &Tensor, texts: &Tensor, logit_scale: &Tensor) -> Result<Tensor> {
    let own = own(images.dim(0)?, images.device())?;
    let (images, texts) = (kernels::l2_normalize(images)?, kernels::l2_normalize(texts)?);
    let logits = logits(&images, &texts, logit_scale)?;
    let by_image = kernels::cross_entropy(&logits, &own)?;
    let by_text = kernels::cross_entropy(&logits.t()?.contiguous()?, &own)?;
    (by_image + by_text)? * 0.5
}

/// One direction within a modality, CE(A·Ãᵀ): each row of `features` finds its own augmented view among all
/// `[B, E]`; a term of CleanCLIP's L_SS.
pub fn in_modal(features: &Tensor, augmented: &Tensor, logit_scale: &Tensor) -> Result<Tensor> {
    let (features, augmented) = (kernels::l2_normalize(features)?, kernels::l2_normalize(augmented)?);
    kernels::cross_entropy(
        &logits(&features, &augmented, logit_scale)?,
        &own(features.dim(0)?, features.device())?,
    )
}

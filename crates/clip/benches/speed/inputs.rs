//! Inputs that PyTorch's side makes too, and numbers that stand for a whole tensor when the sides are compared.
//! Counterpart: `benches/versus_pytorch/inputs.py`.

use clip::candle_core::{DType, Device, Result, Tensor, Var};
use serde::Serialize;

/// A number in [0, 2^32) from an index and a seed (the finaliser of Wellons' "lowbias32").
fn hash(index: u32, seed: u32) -> u32 {
    let mut x = index.wrapping_mul(0x9e37_79b9).wrapping_add(seed.wrapping_mul(0x85eb_ca6b));
    x = (x ^ (x >> 16)).wrapping_mul(0x7feb_352d);
    x = (x ^ (x >> 15)).wrapping_mul(0x846c_a68b);
    x ^ (x >> 16)
}

/// Uniform in [-1, 1), exact in f32.
fn uniform(index: u32, seed: u32) -> f32 {
    (hash(index, seed) >> 8) as f32 / (1u32 << 23) as f32 - 1.0
}

/// Noise in [-1, 1).
pub(crate) fn noise(shape: &[usize], seed: u32) -> Result<Tensor> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count as u32).map(|index| uniform(index, seed)).collect();
    Tensor::from_vec(values, shape, &Device::Cpu)
}

/// Noise in ± `bound` as a variable.
pub(crate) fn variable(shape: &[usize], seed: u32, bound: f64) -> Result<Tensor> {
    Ok(Var::from_tensor(&(noise(shape, seed)? * bound)?)?.into_inner())
}

/// Texts, u32 `[B, L]`: a start token, words, an end token up to two places before the last, then zeros.
pub(crate) fn tokens(batch: usize, length: usize, vocabulary: usize) -> Result<Tensor> {
    let token = |at: usize| {
        let (row, place) = (at / length, at % length);
        let end = length - 1 - row % 3;
        match place {
            0 => vocabulary as u32 - 2,
            place if place == end => vocabulary as u32 - 1,
            place if place > end => 0,
            _ => hash(at as u32, 7) % (vocabulary as u32 - 2),
        }
    };
    Tensor::from_vec((0..batch * length).map(token).collect::<Vec<_>>(), (batch, length), &Device::Cpu)
}

/// A tensor's norm and its projection onto noise. Two tensors that differ anywhere differ in the projection by about
/// the norm of their difference.
#[derive(Serialize)]
pub(crate) struct Signature {
    norm: f64,
    projection: f64,
}

/// The signature of a tensor in the order of its axes; a convolution's weights `[O, K, K, I]` must come as PyTorch's
/// `[O, I, K, K]`.
pub(crate) fn signature(tensor: &Tensor) -> Result<Signature> {
    let values = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
    let (mut square, mut projection) = (0.0, 0.0);
    for (index, value) in values.into_iter().enumerate() {
        square += f64::from(value) * f64::from(value);
        projection += f64::from(value) * f64::from(uniform(index as u32, 1000));
    }
    Ok(Signature { norm: square.sqrt(), projection })
}

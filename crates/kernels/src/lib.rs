//! Differentiable operations for CLIP, as candle custom operations: the arithmetic of training, and nothing of models.
//!
//! candle's own operations are general: they take any strides and any type, make a tensor for every step, and fill zeros for
//! every gradient. The operations here are those that CLIP needs, each in one pass with its gradient: f32, contiguous,
//! channels last (`[N, H, W, C]`), so that a 1×1 convolution is a matrix product and batch norm reads rows.
//!
//! - An operation is one file with one type that implements `Operation`: values forward, gradients backward, and the same
//!   on CUDA. Public functions check shapes, and their errors name the operation, what it expected and what it found.
//! - [`fused`] shows candle a whole tower as one node; [`pull_back`] needs no graph at all, for gradients in parts of a
//!   batch; [`backward`] moves the gradients of parameters past candle's sums.
//! - [`AdamW`] updates all parameters in one pass and refuses a step whose gradient is not finite.
//! - [`jpeg`] and [`resample`] decode and resize images to the same bytes as libjpeg and Pillow.
//!
//! **The same bytes for any number of threads.** Work is cut into chunks whose bounds depend on shapes alone, and partial
//! sums are added in a fixed order. Loops that the compiler vectorises are compiled for AVX2 and AVX-512 alike, and Rust
//! neither fuses nor reorders their arithmetic. Results can thus be compared byte by byte.
//!
//! With the feature `cuda` each operation has a CUDA side, which has never run on a GPU (`docs/gpu.md`).

mod attention;
mod attention_pool;
mod batch_norm;
mod class_token;
mod contrastive;
mod conv;
#[cfg(feature = "cuda")]
mod cuda;
mod elementwise;
mod embedding;
mod fused;
mod gelu;
mod gradients;
pub mod jpeg;
mod layer_norm;
mod linear;
mod loss;
mod memory;
mod norm;
mod operation;
mod optimizer;
mod parallel;
mod pool;
pub mod resample;
mod sums;
mod tape;
mod tile;
mod wide;

pub use attention::{attention, self_attention};
pub use attention_pool::{Projection, attention_pool};
pub use batch_norm::{Activation, BatchStatistics, batch_norm_eval, batch_norm_train};
pub use class_token::prepend_token;
pub use contrastive::{in_modal, info_nce};
pub use conv::conv2d;
#[cfg(feature = "cuda")]
pub use cuda::{allow_tensor_float_32, device};
pub use elementwise::{add, add_table, cast};
pub use embedding::embedding;
pub use fused::{fused, pull_back};
pub use gelu::{Gelu, gelu, linear_gelu, quick_gelu};
pub use gradients::backward;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use loss::{cross_entropy, l2_normalize};
pub use memory::keep_freed_memory;
pub use optimizer::{AdamW, Optimizer, StepStatistics};
pub use pool::average_pool2d;

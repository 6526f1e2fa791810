//! Differentiable operations that candle lacks or runs slowly, as candle custom operations.
//!
//! Everything is f32 and channels last: images are `[N, H, W, C]`. Work is cut into chunks whose bounds depend
//! on shapes alone and partial sums are added in a fixed order, so the same input gives the same bytes with any
//! number of threads. With the feature `cuda` each operation has a CUDA side, which has never run on a GPU yet.

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
pub use elementwise::{add, add_table};
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

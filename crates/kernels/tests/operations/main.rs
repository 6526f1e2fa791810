//! Every operation: result and gradients against a reference that candle differentiates in f64, odd shapes,
//! extremes, the same bytes with any number of threads, and what is refused.

mod catalogue;
mod class_token;
mod contrastive;
mod convolution;
mod convolution_sweep;
mod dense;
mod fused;
mod losses;
mod norms;
mod optimizer;
mod properties;
mod pull_back;
mod support;

//! Every operation: result and gradients against a reference that candle differentiates in f64, odd shapes,
//! extremes, the same bytes with any number of threads, and what is refused.

mod class_token;
mod convolution;
mod dense;
mod fused;
mod losses;
mod norms;
mod pull_back;
mod support;

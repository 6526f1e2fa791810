//! CLIP and how to train it; knows nothing of backdoors.
//!
//! - [`Clip`] is two towers and a temperature, after OpenAI's code: ResNets with attention pooling, ViTs, and smaller
//!   ones of both kinds, from a [`ModelConfig`]. [`weights`] reads released checkpoints (OpenAI, open_clip, Hugging
//!   Face, CleanCLIP), recognised by what is in them.
//! - [`train`] runs a [`Recipe`] on an [`Objective`]: the loss of a batch, which a method brings, while the loop (order of
//!   samples, schedule, optimizer, checkpoints, resuming to the same bytes) is the same for all. A [`Monitor`] sees every
//!   step and may stop it, which is [`Stopped`] and no error.
//! - [`Image`], [`pixels`] and [`Tokenizer`] turn files and captions into tensors as OpenAI's preprocessing does.
//! - [`loss`] holds the losses of the papers, [`zero_shot`] the classifier made of prompts, [`flop`] and [`footprint`] what
//!   a model costs.
//!
//! The model is written out rather than taken from candle-transformers, whose CLIP has no ResNets and is made for
//! inference; it is a reference in tests.

mod bad_sample;
mod checkpoint;
mod cleaning;
mod config;
mod contrastive;
mod device;
pub mod flop;
pub mod footprint;
mod image;
mod image_config;
pub mod loss;
mod model;
mod optimizer_state;
mod pairs;
mod parameters;
pub mod pixels;
mod precision;
mod recipe;
mod resnet;
mod text;
mod tokenizer;
mod trainer;
mod transformer;
mod vit;
pub mod weights;
pub mod zero_shot;

pub use bad_sample::BadSample;
pub use base::{Seed, Step, Stopped};
pub use candle_core;
pub use cleaning::clean;
pub use config::{ModelConfig, TextConfig};
pub use contrastive::Contrastive;
pub use device::DeviceChoice;
pub use image::Image;
pub use image_config::{ImageConfig, ResNetConfig, VitConfig};
pub use kernels;
pub use model::Clip;
pub use optimizer_state::OptimizerState;
pub use pairs::{MemoryPairs, Origin, Pair, Pairs};
pub use parameters::{Mode, Parameter, Parameters};
pub use precision::Precision;
pub use recipe::{Decay, Recipe, Schedule};
pub use tokenizer::Tokenizer;
pub use trainer::{Monitor, Objective, Snapshot, train, train_on};

//! CLIP and how to train it: towers, tokenizer, pixels, losses, optimizer, trainer. Knows nothing of backdoors.

mod checkpoint;
mod config;
mod contrastive;
mod device;
mod image;
mod image_config;
pub mod loss;
mod model;
mod optimizer_state;
mod pairs;
mod parameters;
pub mod pixels;
mod recipe;
mod resnet;
mod seed;
mod text;
mod tokenizer;
mod trainer;
mod transformer;
mod vit;
pub mod zero_shot;

pub use candle_core;
pub use config::{ModelConfig, TextConfig};
pub use contrastive::Contrastive;
pub use device::DeviceChoice;
pub use image::Image;
pub use image_config::{ImageConfig, ResNetConfig, VitConfig};
pub use kernels;
pub use model::Clip;
pub use optimizer_state::OptimizerState;
pub use pairs::{MemoryPairs, Pair, Pairs};
pub use parameters::{Mode, Parameter, Parameters};
pub use recipe::{Decay, Recipe, Schedule};
pub use seed::Seed;
pub use tokenizer::Tokenizer;
pub use trainer::{Monitor, Objective, Snapshot, Step, TrainOutcome, train, train_on};

//! CLIP and how to train it: towers, tokenizer, pixels, losses, optimizer, trainer. Knows nothing of backdoors.

mod image;
mod seed;

pub use image::Image;
pub use seed::Seed;

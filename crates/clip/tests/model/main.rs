//! The model against numbers of the released code and against candle's inference model, and what training and
//! checkpoints promise.

mod checkpoints;
mod device;
mod full_size;
mod golden;
mod hostile;
mod images;
mod inputs;
mod released;
mod sizes;
mod steps;
mod support;
mod training;
mod weights;

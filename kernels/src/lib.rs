//! Differentiable operations that candle lacks or runs slowly.

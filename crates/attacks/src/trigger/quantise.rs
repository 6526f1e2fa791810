//! From values to 8-bit levels.

use serde::{Deserialize, Serialize};

/// What becomes of a value outside [0, 1].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Quantise {
    /// Levels wrap modulo 256: what torchvision's `ToPILImage` (0.29 and before) does in the released code.
    Wrap,
    /// Values are clamped to [0, 1] first.
    Clamp,
}

impl Quantise {
    /// The level of a value: times 255, fractions cut off.
    pub(crate) fn level(self, value: f32) -> u8 {
        match self {
            Self::Wrap => (value * 255.0) as i32 as u8,
            Self::Clamp => (value.clamp(0.0, 1.0) * 255.0) as u8,
        }
    }
}

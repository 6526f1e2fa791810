//! Why a sample cannot be used, told apart so that bad ones can be counted by reason.

use std::io;

use candle_core::Error;

/// Why one sample of many cannot be used. Carried by the errors of [`crate::Pairs`] and of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum BadSample {
    /// Its file holds nothing.
    #[error("empty file")]
    Empty,
    /// Its file is no image.
    #[error("not an image")]
    NotAnImage,
    /// Its file ends too early.
    #[error("cut off")]
    Truncated,
    /// Its image has more pixels than are read.
    #[error("too large")]
    TooLarge,
    /// Its image is of a kind that is not read.
    #[error("kind of image that is not read")]
    Unsupported,
    /// Its image cannot be decoded.
    #[error("damaged image")]
    Corrupt,
    /// Its file is not there.
    #[error("missing file")]
    Missing,
    /// There is a caption and no image.
    #[error("no image")]
    NoImage,
    /// There is an image and no caption, or an empty one.
    #[error("no caption")]
    NoCaption,
    /// Its caption is not UTF-8.
    #[error("caption that is not UTF-8")]
    NotUtf8,
    /// An earlier sample has the same key: within a tar with anything, elsewhere with the same caption or label.
    #[error("listed twice")]
    ListedTwice,
    /// Its path leads out of the data set's folder.
    #[error("path that leads outside")]
    OutsidePath,
    /// Its image is not the one that the manifest lists.
    #[error("not what the manifest lists")]
    Changed,
    /// Its label is none of the classes.
    #[error("label out of range")]
    LabelOutOfRange,
}

/// A reason and what else is known. (candle's errors let an I/O error's inside be looked at, and no other's.)
#[derive(Debug, thiserror::Error)]
#[error("{reason}: {detail}")]
struct Because {
    reason: BadSample,
    detail: String,
}

impl BadSample {
    /// An error for this reason that says more.
    pub fn because(self, detail: impl Into<String>) -> Error {
        Error::Io(io::Error::other(Because { reason: self, detail: detail.into() }))
    }

    /// The reason that an error carries, however much was said around it.
    pub fn of(error: &Error) -> Option<Self> {
        match error {
            Error::Context { inner, .. }
            | Error::WithPath { inner, .. }
            | Error::WithBacktrace { inner, .. } => Self::of(inner),
            Error::Io(error) => match (error.get_ref(), error.kind()) {
                (Some(inside), _) => Some(inside.downcast_ref::<Because>()?.reason),
                (None, io::ErrorKind::NotFound) => Some(Self::Missing),
                (None, _) => None,
            },
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_found_below_what_is_said_around_it() {
        let error = BadSample::Truncated.because("3 bytes").context("cannot read a.jpg");
        assert_eq!(BadSample::of(&error), Some(BadSample::Truncated));
        assert!(error.to_string().contains("a.jpg"), "{error}");
        assert_eq!(BadSample::of(&Error::Msg("another".to_owned())), None);
        let missing = std::fs::read("nowhere").map_err(Error::from).unwrap_err();
        assert_eq!(BadSample::of(&missing), Some(BadSample::Missing));
    }
}

//! Where an image lies.

use clip::BadSample;

use super::tar;

/// Bytes of the largest member that is taken for an image.
pub(crate) const LARGEST: u64 = 256 << 20;

/// Where an image lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a file of its own, whose path below the root is the sample's key.
    Loose,
    /// In a tar, from a block on.
    Member { file: u16, block: u32, length: u32 },
    /// In a row of a row group of a Parquet file.
    Row { file: u16, group: u16, row: u32 },
    /// In a record of a file of CIFAR.
    Record { file: u16, record: u32 },
    /// Nowhere: the sample is bad. The file is that of a tar.
    Bad { file: u16, reason: BadSample },
}

impl Place {
    /// A member of a tar, or why it cannot be used.
    pub(crate) fn member(file: u16, offset: u64, length: u64) -> Self {
        let bad = |reason| Self::Bad { file, reason };
        match (u32::try_from(offset / tar::BLOCK), u32::try_from(length)) {
            (_, Ok(0)) => bad(BadSample::Empty),
            (Ok(block), Ok(length)) if u64::from(length) <= LARGEST => Self::Member { file, block, length },
            _ => bad(BadSample::TooLarge),
        }
    }

    /// The number of its file; 0 where it has one of its own.
    pub(crate) fn file(self) -> u16 {
        match self {
            Self::Loose => 0,
            Self::Member { file, .. }
            | Self::Row { file, .. }
            | Self::Record { file, .. }
            | Self::Bad { file, .. } => file,
        }
    }

    pub(crate) fn in_file(self, file: u16) -> Self {
        match self {
            Self::Loose => Self::Loose,
            Self::Member { block, length, .. } => Self::Member { file, block, length },
            Self::Row { group, row, .. } => Self::Row { file, group, row },
            Self::Record { record, .. } => Self::Record { file, record },
            Self::Bad { reason, .. } => Self::Bad { file, reason },
        }
    }
}

//! CIFAR's binary version: records of one or two label bytes and the 1 024 bytes of each channel.
//!
//! Follows: the section "Binary version" of <https://www.cs.toronto.edu/~kriz/cifar.html>.

use clip::Image;
use clip::candle_core;

use super::files::Files;

/// Pixels of a side, and of an image.
const SIDE: usize = 32;
pub(super) const PIXELS: usize = SIDE * SIDE;

/// How a record is laid out, and what the files are called.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CifarLayout {
    /// Label bytes, and which of them counts.
    pub(super) label_bytes: usize,
    pub(super) label: usize,
    pub(super) classes: usize,
    pub(super) folder: &'static str,
    pub(super) train: &'static [&'static str],
    pub(super) test: &'static [&'static str],
    /// A file of the version of pickles, which is not read.
    pub(super) pickled: (&'static str, &'static str),
    pub(super) download: &'static str,
}

pub(crate) const CIFAR_10: CifarLayout = CifarLayout {
    label_bytes: 1,
    label: 0,
    classes: 10,
    folder: "cifar-10-batches-bin",
    train: &[
        "data_batch_1.bin",
        "data_batch_2.bin",
        "data_batch_3.bin",
        "data_batch_4.bin",
        "data_batch_5.bin",
    ],
    test: &["test_batch.bin"],
    pickled: ("cifar-10-batches-py", "test_batch"),
    download: "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
};

/// CIFAR-100 with its fine labels.
pub(crate) const CIFAR_100: CifarLayout = CifarLayout {
    label_bytes: 2,
    label: 1,
    classes: 100,
    folder: "cifar-100-binary",
    train: &["train.bin"],
    test: &["test.bin"],
    pickled: ("cifar-100-python", "test"),
    download: "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
};

impl CifarLayout {
    pub(super) fn record(&self) -> usize {
        self.label_bytes + 3 * PIXELS
    }

    pub(crate) fn image(&self, files: &Files, file: u16, record: u32) -> candle_core::Result<Image> {
        let offset = u64::from(record) * self.record() as u64 + self.label_bytes as u64;
        let planes = files.read(file, offset, 3 * PIXELS)?;
        let rgb = (0..PIXELS).flat_map(|at| [planes[at], planes[PIXELS + at], planes[2 * PIXELS + at]]);
        Image::new(SIDE, SIDE, rgb.collect())
    }
}

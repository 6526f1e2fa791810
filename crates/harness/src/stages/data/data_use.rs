//! What data are for.

/// What some samples of a set are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DataUse {
    /// To train on and to poison.
    Train,
    /// Granted to a defender: a number of samples of the training set or of one of the plan's clean sets.
    Clean(Option<usize>, usize),
    /// Labelled images granted to defenders.
    CleanImages,
    /// Images to test on, of one of the plan's test sets.
    Test(usize),
    /// Its pairs.
    TestPairs(usize),
}

impl DataUse {
    /// What samples for it are called in records.
    pub(crate) fn in_words(self) -> String {
        match self {
            Self::Train => "training pairs".to_owned(),
            Self::Clean(_, count) => format!("{count} clean pairs"),
            Self::CleanImages => "clean images".to_owned(),
            Self::Test(_) => "test images".to_owned(),
            Self::TestPairs(_) => "test pairs".to_owned(),
        }
    }
}

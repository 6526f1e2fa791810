//! Repositories on the Hub.

/// What kind of repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Data.
    Dataset,
    /// Weights.
    Model,
}

impl Kind {
    /// As in the Hub's paths and in the names of the cache's folders.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Dataset => "datasets",
            Self::Model => "models",
        }
    }
}

/// A repository on the Hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Repository<'a> {
    /// Data or weights.
    pub kind: Kind,
    /// `owner/name`.
    pub name: &'a str,
}

impl Repository<'_> {
    /// The page where its terms are accepted.
    pub fn page(&self) -> String {
        let folder = if self.kind == Kind::Dataset { "datasets/" } else { "" };
        format!("https://huggingface.co/{folder}{}", self.name)
    }
}

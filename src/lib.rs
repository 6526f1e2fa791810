//! cleanbench.

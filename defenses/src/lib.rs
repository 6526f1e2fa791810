//! defenses.

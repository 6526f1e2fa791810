//! Damaged files of every kind that a user hands over: each is read or refused with a reason, and nothing panics.

mod data;
mod models;
mod records;
mod support;

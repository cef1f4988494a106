//! Which letters are meant, and a place among them. Pure; knows no table.

use std::str::FromStr;

use thiserror::Error;

use super::letter::LetterId;
use crate::model::time::UnixMs;

/// What must hold of a letter; what is absent lets all through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these, unless empty.
    pub ids: Vec<LetterId>,
    pub reason: Option<String>,
    pub protocol: Option<String>,
    pub actor: Option<String>,
    /// Received at this time or later.
    pub since: Option<UnixMs>,
    /// Received before this time.
    pub until: Option<UnixMs>,
}

/// A letter's place in the order of arrival; opaque to outsiders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub(super) i64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("is not the `next` of a page")]
pub struct InvalidCursor;

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        text.parse().ok().filter(|seq| *seq > 0).map(Self).ok_or(InvalidCursor)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

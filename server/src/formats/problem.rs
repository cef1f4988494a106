//! Problem details (RFC 9457) as JSON. Knows no HTTP library.

use serde::Serialize;

/// Why a whole request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `about:blank`: the status says what kind it is.
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub title: &'static str,
    pub status: u16,
    /// A stable word for programs.
    pub code: &'static str,
    pub detail: String,
    /// JSON pointer to the field at fault, when it is one.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub pointer: String,
}

impl Problem {
    pub fn new(status: u16, title: &'static str, code: &'static str, detail: impl Into<String>) -> Self {
        Self { kind: "about:blank", title, status, code, detail: detail.into(), pointer: String::new() }
    }

    #[must_use]
    pub fn at(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = pointer.into();
        self
    }
}

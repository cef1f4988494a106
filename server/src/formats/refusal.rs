//! Why an event was not taken: a stable code, the field at fault, a sentence. Never an error of ours.

use thiserror::Error;

/// The caller's fault, named so that it can be mended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{pointer}: {detail}")]
pub struct Refusal {
    pub code: Code,
    /// JSON pointer (RFC 6901) into the event; empty for the whole of it. Protobuf events use the field names of the schema.
    pub pointer: String,
    pub detail: String,
}

/// Stable across versions; new ones may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    MalformedJson,
    MalformedProtobuf,
    MissingField,
    WrongType,
    InvalidId,
    InvalidEventName,
    OutOfRange,
    NullIsland,
    InvalidTime,
    TimeTooFarAhead,
    UnknownStatus,
    TenantMismatch,
    TooLarge,
}

impl Code {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MalformedJson => "malformed_json",
            Self::MalformedProtobuf => "malformed_protobuf",
            Self::MissingField => "missing_field",
            Self::WrongType => "wrong_type",
            Self::InvalidId => "invalid_id",
            Self::InvalidEventName => "invalid_event_name",
            Self::OutOfRange => "out_of_range",
            Self::NullIsland => "null_island",
            Self::InvalidTime => "invalid_time",
            Self::TimeTooFarAhead => "time_too_far_ahead",
            Self::UnknownStatus => "unknown_status",
            Self::TenantMismatch => "tenant_mismatch",
            Self::TooLarge => "too_large",
        }
    }
}

impl Refusal {
    pub fn new(code: Code, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { code, pointer: pointer.into(), detail: detail.into() }
    }

    pub fn missing(pointer: impl Into<String>) -> Self {
        Self::new(Code::MissingField, pointer, "is required")
    }
}

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

/// Stable across versions; new ones may be added. `code` in an answer is `as_str`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// Not JSON, not UTF-8, or not one object.
    MalformedJson,
    /// Not the wire form of the schema of record.
    MalformedProtobuf,
    /// A required field is absent, `null` or empty.
    MissingField,
    /// The field holds another kind of value.
    WrongType,
    /// An id is longer than 64 bytes or holds a control character.
    InvalidId,
    /// Not lower-case words joined by dots, or longer than 64 bytes.
    InvalidEventName,
    /// A number outside its range (NaN and infinities too), or a hash that is not 64 hex digits.
    OutOfRange,
    /// The coordinates are 0,0, which is what a device without a fix sends.
    NullIsland,
    /// Not RFC 3339 with an offset nor an integer, or outside the years 1 to 9999.
    InvalidTime,
    /// More than 24 h ahead of the server's clock.
    TimeTooFarAhead,
    /// None of the twelve statuses.
    UnknownStatus,
    /// The event names another tenant than its credential.
    TenantMismatch,
    /// The event speaks of a driver, a delivery or a place that its credential is not for.
    OutOfScope,
    /// The event has more than 32 KiB, or a text more bytes than its field takes.
    TooLarge,
    /// More than 32 attributes.
    TooManyAttributes,
    /// The event nests more than 32 deep.
    TooDeep,
    /// No table lists the device, and unlisted ones are refused here.
    UnknownDevice,
}

impl Code {
    pub const ALL: [Self; 17] = [
        Self::MalformedJson,
        Self::MalformedProtobuf,
        Self::MissingField,
        Self::WrongType,
        Self::InvalidId,
        Self::InvalidEventName,
        Self::OutOfRange,
        Self::NullIsland,
        Self::InvalidTime,
        Self::TimeTooFarAhead,
        Self::UnknownStatus,
        Self::TenantMismatch,
        Self::OutOfScope,
        Self::TooLarge,
        Self::TooManyAttributes,
        Self::TooDeep,
        Self::UnknownDevice,
    ];

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
            Self::OutOfScope => "out_of_scope",
            Self::TooLarge => "too_large",
            Self::TooManyAttributes => "too_many_attributes",
            Self::TooDeep => "too_deep",
            Self::UnknownDevice => "unknown_device",
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

//! One refused event and what is known of it. Pure; never judges an event.

use std::borrow::Cow;
use std::fmt;

use uuid::Uuid;

use crate::formats::claims::Claims;
use crate::formats::postmark::Postmark;
use crate::formats::scope::ScopeWords;
use crate::model::id::{Offset, PartitionId, TenantId};
use crate::model::scope::Scope as Authority;
use crate::model::time::UnixMs;

/// Bytes kept of a whole body that could not be taken apart.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Bytes kept of a pointer and of a detail.
const MAX_TEXT_BYTES: usize = 256;
/// What a letter's row and its places in the indices take up beside the raw bytes, roughly.
const ROW_BYTES: u64 = 512;

/// Names a letter to outsiders. One of a refused event is a `UUIDv7`; one of an event that could not be applied is made from its place in the log,
/// so that a replay of that place names the same letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LetterId(Uuid);

/// Why the event was refused: the code of a refusal, `content_differs` or `apply_panic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason(Cow<'static, str>);

/// How the event came: what its raw bytes are to be read as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol(Cow<'static, str>);

/// What the raw bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Item,
    /// A request's body that could not be taken apart into items.
    Body,
}

/// Where in the log an event stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub partition: PartitionId,
    pub offset: Offset,
}

/// A letter to be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    pub tenant: TenantId,
    pub about: About,
    /// As it came, up to the bound.
    pub raw: Vec<u8>,
}

/// A letter without its raw bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub id: LetterId,
    pub reason: Reason,
    /// JSON pointer to the field at fault; empty for the whole.
    pub pointer: String,
    pub detail: String,
    pub protocol: Protocol,
    pub scope: Scope,
    /// What the event claims, as far as it could be read.
    pub claims: Claims,
    /// What its sender's credential may speak of: a redrive lets it say no more.
    pub authority: Authority,
    /// What came beside the bytes of a phone's report: without it they cannot be read again.
    pub postmark: Option<Box<Postmark>>,
    pub received: UnixMs,
    pub place: Option<Place>,
    /// How many raw bytes came: more than are kept when they were cut.
    pub came_bytes: u64,
    /// How often it was tried again, in vain.
    pub tries: u32,
    pub tried: Option<UnixMs>,
}

impl Letter {
    /// A refused event or body of `tenant`.
    pub fn refused(tenant: TenantId, protocol: Protocol, scope: Scope, fault: Fault<'_>, claims: Claims, raw: &[u8], received: UnixMs) -> Self {
        let (raw, came_bytes) = (&raw[..raw.len().min(MAX_BODY_BYTES)], raw.len() as u64);
        let about = About { id: LetterId::new(received), came_bytes, ..About::of(fault, protocol, scope, claims, received) };
        Self { tenant, about, raw: raw.to_vec() }
    }

    /// An event of the log that could not be applied. However often that place is replayed, its letter is the same.
    pub fn parked(tenant: TenantId, place: Place, detail: &str, claims: Claims, record: Vec<u8>, ingest_time: UnixMs) -> Self {
        let fault = Fault { reason: Reason::APPLY_PANIC, pointer: "", detail };
        let about = About {
            id: LetterId::of_place(place, ingest_time),
            place: Some(place),
            came_bytes: record.len() as u64,
            ..About::of(fault, Protocol::RECORD, Scope::Item, claims, ingest_time)
        };
        Self { tenant, about, raw: record }
    }

    /// Sent with a credential for this part of the tenant.
    #[must_use]
    pub fn sent_by(mut self, authority: Authority) -> Self {
        self.about.authority = authority;
        self
    }

    /// Came with this beside its bytes.
    #[must_use]
    pub fn postmarked(mut self, postmark: Postmark) -> Self {
        self.about.postmark = Some(Box::new(postmark));
        self
    }

    /// Keeps at most so many of the raw bytes.
    #[must_use]
    pub fn cut_to(mut self, bytes: usize) -> Self {
        self.raw.truncate(bytes);
        self
    }

    /// What it counts against the bound of the store.
    pub(super) fn charge(&self) -> u64 {
        let beside = self.about.postmark.as_ref().map_or(0, |postmark| postmark.bytes()) + ScopeWords::bytes_of(&self.about.authority);
        ROW_BYTES + (self.raw.len() + beside) as u64
    }
}

/// Why something was refused.
#[derive(Clone, Debug)]
pub struct Fault<'a> {
    pub reason: Reason,
    pub pointer: &'a str,
    pub detail: &'a str,
}

impl About {
    fn of(fault: Fault<'_>, protocol: Protocol, scope: Scope, claims: Claims, received: UnixMs) -> Self {
        Self {
            id: LetterId(Uuid::nil()),
            reason: fault.reason,
            pointer: cut(fault.pointer),
            detail: cut(fault.detail),
            protocol,
            scope,
            claims,
            authority: Authority::default(),
            postmark: None,
            received,
            place: None,
            came_bytes: 0,
            tries: 0,
            tried: None,
        }
    }
}

/// The start of a pointer or detail: as much as is kept.
pub(super) fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT_BYTES)].to_owned()
}

impl LetterId {
    fn new(received: UnixMs) -> Self {
        let ms = u64::try_from(received.0).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(ms, &rand::random()).into_uuid())
    }

    /// The time goes in as well: a new log in an old folder gives the same places again.
    fn of_place(place: Place, ingest_time: UnixMs) -> Self {
        let mut bytes = [0; 18];
        bytes[..2].copy_from_slice(&place.partition.0.to_be_bytes());
        bytes[2..10].copy_from_slice(&place.offset.0.to_be_bytes());
        bytes[10..].copy_from_slice(&ingest_time.0.to_be_bytes());
        Self(uuid::Builder::from_custom_bytes(xxhash_rust::xxh3::xxh3_128(&bytes).to_be_bytes()).into_uuid())
    }

    /// Reads the text that `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() == 36 { text.parse().ok().map(Self) } else { None }
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Uuid::from_slice(bytes).ok().map(Self)
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Reason {
    /// A duplicate that says something else than the event of its id that stands in the log.
    pub const CONTENT_DIFFERS: Self = Self(Cow::Borrowed("content_differs"));
    /// The event stands in the log, and applying it failed by a fault of ours.
    pub const APPLY_PANIC: Self = Self(Cow::Borrowed("apply_panic"));

    pub const fn of(code: &'static str) -> Self {
        Self(Cow::Borrowed(code))
    }

    pub(super) fn stored(text: String) -> Self {
        Self(Cow::Owned(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Protocol {
    pub const JSON: Self = Self(Cow::Borrowed("json"));
    pub const NDJSON: Self = Self(Cow::Borrowed("ndjson"));
    pub const PROTOBUF: Self = Self(Cow::Borrowed("protobuf"));
    /// A record of the log: `StoredEvent` of the schema of record.
    pub const RECORD: Self = Self(Cow::Borrowed("record"));

    pub const fn of(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    pub(super) fn stored(text: String) -> Self {
        Self(Cow::Owned(text))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::DriverId;

    fn place(offset: u64) -> Place {
        Place { partition: PartitionId(7), offset: Offset(offset) }
    }

    #[test]
    fn one_place_has_one_letter_and_each_refusal_its_own() {
        let at = UnixMs(1_790_000_000_000);
        assert_eq!(LetterId::of_place(place(1), at), LetterId::of_place(place(1), at));
        assert_ne!(LetterId::of_place(place(1), at), LetterId::of_place(place(2), at));
        assert_ne!(LetterId::of_place(place(1), at), LetterId::of_place(place(1), UnixMs(at.0 + 1)));
        let id = LetterId::new(at);
        assert_ne!(id, LetterId::new(at));
        assert_eq!((LetterId::parse(&id.to_string()), id.0.get_version_num()), (Some(id), 7));
        assert_eq!(LetterId::parse("0192f0c1"), None);
    }

    #[test]
    fn what_is_said_of_a_letter_is_bounded_and_never_cut_inside_a_letter() {
        let tenant = TenantId::parse("acme").expect("valid");
        let fault = Fault { reason: Reason::of("x"), pointer: &"ä".repeat(300), detail: "why" };
        let raw = vec![b'x'; MAX_BODY_BYTES + 5];
        let letter = Letter::refused(tenant, Protocol::JSON, Scope::Body, fault, Claims::default(), &raw, UnixMs(5));
        assert_eq!(letter.about.pointer, "ä".repeat(128));
        assert_eq!((letter.raw.len(), letter.about.came_bytes), (MAX_BODY_BYTES, raw.len() as u64));
    }

    #[test]
    fn a_letter_counts_what_is_written_beside_its_bytes() {
        let drivers = (0..256).map(|number| DriverId::parse(&format!("{number:064}")).expect("valid")).collect();
        let narrow = Authority::new(Some(drivers), None, None).expect("few enough");
        let fault = Fault { reason: Reason::of("x"), pointer: "", detail: "" };
        let tenant = TenantId::parse("acme").expect("valid");
        let letter = Letter::refused(tenant, Protocol::JSON, Scope::Item, fault, Claims::default(), b"raw", UnixMs(5));
        let alone = letter.charge();
        let written = serde_json::to_string(&ScopeWords::of(&narrow)).expect("JSON").len() as u64;
        let letter = letter.sent_by(narrow);
        assert!(written > 17_000 && (alone + written..alone + written + 100).contains(&letter.charge()), "{written} {}", letter.charge());
    }
}
